"""The house rules: importing does nothing, no option is dead, and the README names only what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import divergences, report, vae, wgan

PROJECT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(PROJECT).with_suffix("").parts)
    for pattern in ("*.py", "experiments/*.py", "benchmarks/*.py")
    for path in PROJECT.glob(pattern)
    if path.stem not in ("__main__", "jax_vae")  # a command, and what needs a package that is no dependency
)
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


PRESETS = {vae: vae.PRESETS, divergences: divergences.PRESETS["segments"], wgan: wgan.PRESETS}


@pytest.mark.parametrize("experiment", PRESETS)
def test_presets_set_the_same_options_and_all_of_them_are_read(experiment):
    source, presets = Path(experiment.__file__).read_text(), PRESETS[experiment]
    assert presets["tuned"].keys() == presets["handout"].keys()
    for name in presets["tuned"]:
        assert f'options["{name}"]' in source, name
        assert f'"--{name.replace("_", "-")}"' in source, name


def test_every_family_has_the_same_options():
    assert {tuple(sorted(preset)) for family in divergences.PRESETS.values() for preset in family.values()} == {
        tuple(sorted(divergences.HANDOUT))
    }


PARSERS = {"q1_solution.py": vae.parse, "q2_solution.py": divergences.parse, "q3_solution.py": wgan.parse}


@pytest.mark.parametrize("line", re.findall(r"^ *python q\d_solution\.py.*$", README, flags=re.MULTILINE))
def test_commands_of_the_readme_are_understood(line):
    _, script, *arguments = line.split("#")[0].split()
    PARSERS[script](arguments)


def test_the_makefile_passes_options_that_the_report_knows():
    options = re.findall(r"--[\w-]+", (PROJECT / "Makefile").read_text().split("experiments.report")[1].split("test:")[0])
    assert options
    report.parse([word for option in options for word in (option, "7")])


def test_files_named_in_the_readme_exist():
    names = set(re.findall(r"\b[\w./-]+\.(?:py|md|txt|toml)\b", README))
    assert names
    assert [name for name in sorted(names) if not (PROJECT / name).exists()] == []
