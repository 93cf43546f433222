"""The house rules: importing does nothing, no option is dead, and the README names only what is there."""

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import (
    divergences,
    vae,
    vae_evaluation,
    vae_learner,
    wgan,
    wgan_data,
    wgan_evaluation,
    wgan_learner,
    wgan_options,
)
from experiments.options import Options, parse
from report import __main__ as report

PROJECT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(PROJECT).with_suffix("").parts)
    for pattern in ("*.py", "experiments/*.py", "report/*.py", "benchmarks/*.py")
    for path in PROJECT.glob(pattern)
    if path.stem not in ("__main__", "jax_vae")  # a command, and what needs a package that is no dependency
)
PACKAGES = {name for name in MODULES if name.endswith("__init__")}
README = (PROJECT / "README.md").read_text()


def test_importing_has_no_effect(tmp_path):
    code = (
        "import sys, torch; before = torch.get_rng_state();"
        f"[__import__(name) for name in {MODULES}];"
        "assert torch.equal(before, torch.get_rng_state());"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(PROJECT)!r}); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


PRESETS = {
    "q1_solution.py": vae.PRESETS,
    "q2_solution.py": divergences.PRESETS["segments"],
    "q3_solution.py": wgan.PRESETS,
}
SOURCES = {
    "q1_solution.py": [vae, vae_evaluation, vae_learner],
    "q2_solution.py": [divergences],
    "q3_solution.py": [wgan, wgan_data, wgan_evaluation, wgan_learner, wgan_options],
}
SHARED = {field.name for field in dataclasses.fields(Options)}


@pytest.mark.parametrize("script", PRESETS)
def test_every_option_is_read(script):
    source = "".join(Path(module.__file__).read_text() for module in SOURCES[script])
    options = PRESETS[script]["tuned"]
    names = {field.name for field in dataclasses.fields(options)} - SHARED
    assert len(names) >= 8
    assert [name for name in sorted(names) if not re.search(rf"(options|asked|recorded)\.{name}\b", source)] == []
    assert {preset: options.preset for preset, options in PRESETS[script].items()} == {"tuned": "tuned", "handout": "handout"}


SHARED_ROOMS = ("options", "run", "training", "cuda_graph", "data", "figures", "measures", "likelihood", "exploration")
EXPERIMENTS = {"vae", "vae_learner", "vae_evaluation", "divergences", "wgan", "wgan_learner", "wgan_options", "wgan_evaluation"}


def imported(path):
    """The modules of the project that a file imports at its top level."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(MODULES)


def test_what_is_shared_imports_no_experiment_and_nothing_runs_in_circles():
    imports = {name: imported(PROJECT / f"{name.replace('.', '/')}.py") for name in MODULES if name not in PACKAGES}
    for room in SHARED_ROOMS:
        assert not imports[f"experiments.{room}"] & {f"experiments.{name}" for name in EXPERIMENTS}, room
    assert imports["q1_solution"] == imports["q2_solution"] == set()
    while leaves := [name for name, used in imports.items() if not used & imports.keys()]:
        for name in leaves:
            del imports[name]
    assert imports == {}


@pytest.mark.parametrize("line", re.findall(r"^ *python q\d_solution\.py.*$", README, flags=re.MULTILINE))
def test_commands_of_the_readme_are_understood(line):
    _, script, *arguments = line.split("#")[0].split()
    parse(arguments, "test", PRESETS[script])


def test_the_makefile_passes_options_that_the_report_knows():
    options = re.findall(r"--[\w-]+", (PROJECT / "Makefile").read_text().split("-m report")[1].split("test:")[0])
    assert options
    report.parse([word for option in options for word in (option, "7")])


def test_files_named_in_the_readme_exist():
    names = set(re.findall(r"\b[\w./-]+\.(?:py|md|txt|toml)\b", README))
    assert names
    assert [name for name in sorted(names) if not (PROJECT / name).exists()] == []
