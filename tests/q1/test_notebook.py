"""The notebook runs alone, trains to the script's digits, and takes its functions and networks from the modules."""

import inspect
import json
import re
import shutil
import subprocess
import sys

import pytest

import model
import q1_samplers
import q1_solution
from tests.conftest import PROJECT

nbformat = pytest.importorskip("nbformat")  # requirements-dev.txt
nbclient = pytest.importorskip("nbclient")
refresh_notebook = pytest.importorskip("refresh_notebook")

NOTEBOOK = nbformat.read(PROJECT / "vae.ipynb", as_version=4)
CELLS = refresh_notebook.code_cells(NOTEBOOK)
SETUP = CELLS[0].source


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A folder that holds the notebook and nothing else."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folder = tmp_path / "alone"
    folder.mkdir()
    shutil.copy(PROJECT / "vae.ipynb", folder)
    return folder


def start(folder, source=SETUP, before="", python=sys.executable):
    """Run the setup cell in a fresh interpreter in `folder`, as a restarted runtime does; returns output and errors.

    before: code that comes first. After it all, the output has the folders of q1_solution and of experiments.
    """
    where = "for name in ('q1_solution', 'experiments'): print(Path(importlib.util.find_spec(name).origin).parent)"
    command = [python, "-c", f"{before}\n{source}\n{where}"]
    process = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return process.stdout, process.stderr


COLAB = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')"  # no files.upload in it
LACKING = """
import importlib.util, subprocess
find_spec, run = importlib.util.find_spec, subprocess.run
importlib.util.find_spec = lambda name, *package: None if name == "pooch" else find_spec(name, *package)
subprocess.run = lambda command, **options: print("ran", command[1:])
"""


def test_alone_in_a_folder_it_runs_from_top_to_bottom_and_gives_the_digits_of_the_script(
    alone, tmp_path, monkeypatch, q1
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(alone / "vae.ipynb", as_version=4)
    parameters = refresh_notebook.parameters(notebook)
    parameters.source += f"\nEPOCHS, K, SEED, DATA_DIR = 2, 5, 3, {str(tmp_path / 'data')!r}"
    parameters.source += f"\nimport q1_samplers\nq1_samplers.SHA256 = {q1_samplers.SHA256}"
    notebook.cells.append(nbformat.v4.new_code_cell("print(history, train_elbo, valid_elbo, mean)"))
    nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(alone)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    assert re.match(r"modules: in vae_modules-[0-9a-f]{8}\n", text)
    assert "binarized-mnist: 300 digits for training" in text
    assert len(re.findall(r"^exact \d+\.\d   Monte Carlo \d+\.\d \+- \d+\.\d nats$", text, flags=re.MULTILINE)) == 3
    assert re.search(r"from logits: +(-\d+\.\d{3}) nats\n.* answers to 1\.1 and 1\.4: \1 nats\n", text)
    assert "\nELBO >= -102: no\n" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    assert not [output.text for output in outputs if output.get("name") == "stderr"]

    run = tmp_path / "run"
    assert q1("--epochs", 2, "--seed", 3, "--num-samples", 5, "--device", "cpu", "--run-dir", run)[0] == 0
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    metrics = json.loads((run / "metrics.json").read_text())
    trained = [entry["valid_elbo"] for entry in log], log[-1]["train_elbo"]
    assert text.splitlines()[-1] == " ".join(
        map(str, [*trained, metrics["valid_elbo"], metrics["test_log_likelihood"]])
    )


def test_in_the_repository_it_takes_the_modules_beside_it():
    before = sorted(PROJECT.iterdir())
    assert start(PROJECT) == (f"modules: beside this notebook\n{PROJECT}\n{PROJECT / 'experiments'}\n", "")
    assert sorted(PROJECT.iterdir()) == before


def test_in_colab_it_unpacks_once_and_keeps_what_a_user_changes(alone):
    output, errors = start(alone, before=COLAB)
    (folder,) = alone.glob("vae_modules-*")
    where = f"{folder}\n{folder / 'experiments'}\n"
    assert (output, errors) == (f"modules: in {folder.name}\n{where}", "")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")} == refresh_notebook.carried(
        NOTEBOOK
    ).keys()

    (folder / "model.py").write_text("mine = 1\n")
    (alone / "unrelated").mkdir()
    output, errors = start(alone, before=COLAB)
    assert (output, errors) == (f"modules: in {folder.name}\nkept as you changed it: model.py\n{where}", "")
    assert (folder / "model.py").read_text() == "mine = 1\n"


def test_another_copy_goes_to_another_folder_and_a_half_unpacked_one_counts_for_nothing(alone):
    start(alone)
    (first,) = alone.glob("vae_modules-*")
    (first / "model.py").write_text("mine = 1\n")
    notebook = nbformat.from_dict(NOTEBOOK)
    other = refresh_notebook.pack({**refresh_notebook.carried(notebook), "model.py": "newer = 1\n"})
    source = refresh_notebook.COPY.sub(f'COPY = "{other}"', SETUP)
    output, _ = start(alone, source)
    second = alone / output.split()[2]
    assert second != first
    assert ((first / "model.py").read_text(), (second / "model.py").read_text()) == ("mine = 1\n", "newer = 1\n")

    partial = second.rename(f"{second}.partial")
    (partial / "model.py").write_text("newe")
    start(alone, source)
    assert (second / "model.py").read_text() == "newer = 1\n"
    assert not partial.exists()


def test_lacking_packages_are_installed_in_colab_and_named_elsewhere(alone):
    output, _ = start(alone, before=COLAB + LACKING)
    assert output.startswith("ran ['-m', 'pip', 'install', '-q', 'pooch']\nmodules: in vae_modules-")
    output, errors = start(alone, before=LACKING)
    assert output == ""
    assert errors.endswith("pip install pooch\n")


def test_the_copy_is_of_the_modules_as_they_are():
    carried = refresh_notebook.carried(NOTEBOOK)
    assert {"q1_solution.py", "q1_samplers.py", "model.py", "experiments/vae/train.py"} <= carried.keys()
    assert not [name for name in carried if re.search("q2|q3|wgan|divergences", name)]
    assert carried == refresh_notebook.modules(NOTEBOOK), "the copy in vae.ipynb is stale: make notebook"
    assert len(SETUP) < 40_000


def test_a_stale_copy_is_noticed_and_refreshed():
    notebook = nbformat.from_dict(NOTEBOOK)
    stale = refresh_notebook.pack({**refresh_notebook.carried(notebook), "model.py": "old = 1\n", "gone.py": ""})
    cell = refresh_notebook.code_cells(notebook)[0]
    cell.source = refresh_notebook.COPY.sub(f'COPY = "{stale}"', SETUP)
    assert refresh_notebook.carried(notebook) != refresh_notebook.modules(notebook)
    refresh_notebook.refresh(notebook)
    assert refresh_notebook.carried(notebook) == refresh_notebook.modules(NOTEBOOK)


def test_notebook_defines_nothing_that_is_imported():
    source = "\n".join(cell.source for cell in CELLS)
    assert re.findall(r"^\s*(?:def|class) ", source, flags=re.MULTILINE) == []
    assert "from q1_solution import" in source
    assert "from model import VAE" in source
    assert not re.search(r"\b(?:input|files\.upload)\(", source)


def test_the_source_that_it_shows_is_that_of_the_modules_as_they_are():
    shown = "".join(output.get("data", {}).get("text/plain", "") for cell in CELLS for output in cell.outputs)
    likelihoods = (q1_solution.log_likelihood_bernoulli, q1_solution.log_likelihood_normal, q1_solution.log_mean_exp)
    divergences = (q1_solution.kl_gaussian_gaussian_analytic, q1_solution.kl_gaussian_gaussian_mc)
    for part in (*likelihoods, *divergences, model.Encoder, model.Decoder, model.VAE):
        assert inspect.getsource(part).strip() in shown, f"vae.ipynb shows an old {part.__name__}: make notebook"


def test_notebook_ships_with_the_outputs_of_a_whole_run_on_the_published_data():
    assert (PROJECT / "vae.ipynb").stat().st_size < 500_000
    assert [cell.execution_count for cell in CELLS] == list(range(1, len(CELLS) + 1))
    outputs = [output for cell in CELLS for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    text = "".join(output.get("text", "") for output in outputs)
    assert text.startswith("modules: beside this notebook\n")
    assert not re.search(r"(?:^|[\s'\"(=])(?:/|[A-Z]:\\)\w", text)  # no path of the machine that it ran on
    assert "binarized-mnist: 50,000 digits for training" in text
    assert "\nELBO >= -102: yes\n" in text
