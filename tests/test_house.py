"""How the house is kept: importing does nothing, imports go one way, no option is dead, pages name what is there."""

import ast
import dataclasses
import importlib
import os
import re
import runpy
import subprocess
import sys

import pytest

from experiments.divergences.train import PRESETS as DIVERGENCES
from experiments.harness.options import Options, parse
from experiments.vae.train import PRESETS as VAES
from experiments.wgan.classifier import ClassifierOptions
from experiments.wgan.options import PRESETS as WGANS
from report import __main__ as report
from tests.conftest import MAIN, PROJECT

PATHS = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
    for pattern in ("*.py", "experiments/**/*.py", "report/*.py", "benchmarks/*.py")
    for path in sorted(PROJECT.glob(pattern))
    if path.stem not in ("__main__", "jax_vae")  # a command, and what needs a package that is no dependency
}
EXPERIMENTS = {"vae", "divergences", "wgan"}
OPTIONS = {"q1_solution.py": VAES, "q2_solution.py": DIVERGENCES, "q3_solution.py": WGANS}
README, WORKFLOW, MAKEFILE = (
    (PROJECT / name).read_text(encoding="utf-8") for name in ("README.md", ".github/workflows/test.yml", "Makefile")
)
JOBS = re.findall(r"^ +- run: (.+)$", WORKFLOW, flags=re.MULTILINE)

IMPORT_ALL = """
import signal, sys, torch
sys.path.insert(0, {project!r})
before = torch.get_rng_state(), [signal.getsignal(number) for number in signal.Signals]
for name in {names}:
    __import__(name)
assert torch.equal(before[0], torch.get_rng_state())
assert before[1] == [signal.getsignal(number) for number in signal.Signals]
assert "matplotlib.pyplot" not in sys.modules
from experiments.harness import plotting
plotting.save(plotting.Figure(), plotting.Path({figure!r}))
"""


def test_importing_has_no_effect_and_figures_need_no_backend_of_the_environment(tmp_path):
    code = IMPORT_ALL.format(project=str(PROJECT), names=list(PATHS), figure=str(tmp_path / "figure.png"))
    (tmp_path / "here").mkdir()
    environment = {**os.environ, "MPLBACKEND": "module://no_such_package.backend_inline"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list((tmp_path / "here").iterdir()) == []
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def is_command(statement):
    """Whether it is `if __name__ == "__main__":`, which may import what runs."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def imported(name):
    """The modules of the project that a module imports, in functions too."""
    statements = [part for part in ast.parse(PATHS[name].read_text(encoding="utf-8")).body if not is_command(part)]
    found = set()
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {other for other in found & PATHS.keys() if PATHS[other].stem != "__init__"}


IMPORTS = {name: imported(name) for name in PATHS}


def room(name):
    """The folder below experiments, or what a module at the top is called."""
    return name.split(".")[1] if name.startswith("experiments.") else name.split(".")[0]


TOP = {name for name in PATHS if name.endswith(("_samplers", "_solution")) or name == "model"}
ALLOWED = {"q1_solution": set(), "q2_solution": set(), "q3_solution": {"q2_solution"}, "harness": {"harness"}}
ALLOWED |= {name: TOP | {"harness", name} for name in EXPERIMENTS}


@pytest.mark.parametrize("name", [name for name in PATHS if name in TOP or name.startswith("experiments.")])
def test_a_module_imports_only_its_own_room_and_what_is_above(name):
    assert {room(other) for other in IMPORTS[name]} <= ALLOWED.get(room(name), TOP - {"q3_solution", "model"})


def test_no_imports_run_in_circles():
    left = dict(IMPORTS)
    while leaves := [name for name, used in left.items() if not used & left.keys()]:
        for name in leaves:
            del left[name]
    assert left == {}


@pytest.mark.parametrize("name", [name for name in PATHS if name.startswith("experiments.harness")])
def test_the_harness_knows_no_experiment(name):
    source = PATHS[name].read_text(encoding="utf-8")
    assert (
        re.findall(
            rf"\b(?:{'|'.join(EXPERIMENTS)}|classifier|q[123]|curves\.csv|generator\.pt)\b", source, re.IGNORECASE
        )
        == []
    )


@pytest.mark.parametrize("name", ["q1_solution", "q2_solution", "q3_solution"])
def test_a_solution_begins_with_its_imports_and_ends_with_the_two_lines_of_its_command(name):
    documentation, first, *_, last = ast.parse(PATHS[name].read_text(encoding="utf-8")).body
    assert isinstance(documentation, ast.Expr)
    assert isinstance(first, (ast.Import, ast.ImportFrom))
    assert is_command(last)
    assert len(last.body) == 2


@pytest.mark.parametrize("options", [*(presets["tuned"] for presets in OPTIONS.values()), ClassifierOptions()])
def test_every_option_is_read_by_its_experiment(options):
    folder = PATHS[type(options).__module__].parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    names = {field.name for field in dataclasses.fields(options)} - {f.name for f in dataclasses.fields(Options)}
    unread = [name for name in sorted(names - {"action"}) if not re.search(rf"\boptions\.{name}\b", source)]
    assert unread == []


@pytest.mark.parametrize("presets", OPTIONS.values(), ids=OPTIONS)
def test_the_handout_preset_is_written_out_in_full(presets):
    """So that no change of a tuned default reaches it."""
    fields = [f for f in dataclasses.fields(presets["tuned"]) if f.metadata["scope"] in ("run", "length")]
    lacking = {field.name for field in fields if field.metadata["handout"] is None}
    assert lacking <= {"preset", "seed", "dataset", "family", "thetas"}


@pytest.mark.parametrize(
    "line", re.findall(r"^ *(python q\d_solution\.py.*)$", "\n".join([README, *JOBS]), re.MULTILINE)
)
def test_commands_of_the_readme_and_of_the_workflow_are_understood(line):
    _, script, *arguments = line.split("#")[0].split()
    parse(arguments, "test", OPTIONS[script])


@pytest.mark.parametrize("text", [README, *JOBS], ids=["README.md", *JOBS])
def test_files_that_are_named_exist(text):
    names = set(re.findall(r"(?<![\w./-])[\w][\w./-]*\.(?:py|md|txt|toml)\b", text))
    assert [name for name in sorted(names) if not (PROJECT / name).exists()] == []


def test_the_makefile_passes_options_that_the_report_knows():
    options = re.findall(r"--[\w-]+", MAKEFILE.split("-m report")[1].split("test:")[0])
    assert options
    report.parse([word for option in options for word in (option, "7")])


def test_the_workflow_runs_the_tests_and_the_three_commands_on_every_supported_python():
    for command in (".ci/run", "pytest", "python q1_solution.py", "python q2_solution.py", "python q3_solution.py"):
        assert any(job.startswith(command) for job in JOBS), command
    assert os.access(PROJECT / ".ci/run", os.X_OK)
    minors = [int(minor) for minor in re.findall(r'"3\.(\d+)"', re.search(r"python: \[(.+)\]", WORKFLOW)[1])]
    (least,) = re.findall(r"sys\.version_info < \(3, (\d+)\)", MAKEFILE)
    assert minors == list(range(int(least), 14))


@pytest.mark.parametrize(("script", "module"), [*zip(OPTIONS, MAIN.values())])
@pytest.mark.parametrize("code", [0, 2, 130])
def test_script_ends_with_the_exit_code_of_its_experiment(script, module, code, monkeypatch):
    monkeypatch.setattr(importlib.import_module(module), "main", lambda *_: code)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(PROJECT / script), run_name="__main__")
    assert stop.value.code == code
