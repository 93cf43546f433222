"""Each command ends with the exit code of its own main, as a shell is to see it."""

import runpy
import sys

import pytest
from conftest import PROJECT

from experiments import divergences, vae, wgan

SCRIPTS = {"q1_solution": vae, "q2_solution": divergences, "q3_solution": wgan}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("code", [0, 2, 130])
def test_script_ends_with_its_experiments_exit_code(script, code, monkeypatch):
    monkeypatch.setattr(SCRIPTS[script], "main", lambda: code)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(PROJECT / f"{script}.py"), run_name="__main__")
    assert stop.value.code == code


@pytest.mark.filterwarnings("ignore:'.*' found in sys.modules")
@pytest.mark.parametrize("module", ["report", "experiments.wgan.classifier"])
def test_module_ends_with_the_code_of_a_mistake(module, tmp_path, monkeypatch, capsys):
    """The report passes on that of the first question, the others have their own."""
    monkeypatch.setattr(vae, "main", lambda argv: 2)
    monkeypatch.setattr(sys, "argv", [module])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert stop.value.code == 2
