"""The house rules: importing does nothing, no option is dead, and the README names only what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import vae

PROJECT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(PROJECT).with_suffix("").parts)
    for pattern in ("*.py", "experiments/*.py", "benchmarks/*.py")
    for path in PROJECT.glob(pattern)
    if path.stem != "__main__"
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


def test_presets_set_the_same_options_and_all_of_them_are_read():
    source = Path(vae.__file__).read_text()
    assert vae.PRESETS["tuned"].keys() == vae.PRESETS["handout"].keys()
    for name in vae.PRESETS["tuned"]:
        assert f'options["{name}"]' in source, name
        assert f'"--{name.replace("_", "-")}"' in source, name


@pytest.mark.parametrize("line", re.findall(r"^python q1_solution\.py.*$", README, flags=re.MULTILINE))
def test_commands_of_the_readme_are_understood(line):
    vae.parse(line.split("#")[0].split()[2:])


def test_files_named_in_the_readme_exist():
    names = set(re.findall(r"\b[\w./-]+\.(?:py|md|txt|toml)\b", README))
    assert names
    assert [name for name in sorted(names) if not (PROJECT / name).exists()] == []
