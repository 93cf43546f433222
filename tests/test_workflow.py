"""The GitHub workflow: on every supported Python, by commands that exist here and whose options are understood."""

import os
import re

import pytest
from conftest import PROJECT
from test_house import EXPERIMENTS, README

from experiments.harness.options import parse

WORKFLOW = (PROJECT / ".github/workflows/test.yml").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ +- run: (.+)$", WORKFLOW, flags=re.MULTILINE)


def test_it_runs_what_a_change_must_pass_and_the_commands_of_the_readme():
    assert ".ci/run" in COMMANDS
    assert os.access(PROJECT / ".ci/run", os.X_OK)
    for command in ("pytest", "python q1_solution.py", "python q2_solution.py", "python q3_solution.py"):
        assert f"    {command}" in README
        assert any(run.startswith(command) for run in COMMANDS), command


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_name_files_and_options_that_exist(command):
    assert [name for name in re.findall(r"[\w.-]+\.(?:py|txt)\b", command) if not (PROJECT / name).exists()] == []
    if command.startswith("python "):
        _, script, *arguments = command.split()
        parse(arguments, "test", EXPERIMENTS[script].presets)


def test_every_supported_python_has_a_job():
    minors = [int(minor) for minor in re.findall(r'"3\.(\d+)"', re.search(r"python: \[(.+)\]", WORKFLOW)[1])]
    (least,) = re.findall(r"sys\.version_info < \(3, (\d+)\)", (PROJECT / "Makefile").read_text())
    assert minors == list(range(int(least), 14))


def test_it_is_yaml_of_the_form_that_github_reads():
    content = pytest.importorskip("yaml").safe_load(WORKFLOW)
    assert {"name", "permissions", "jobs"} <= content.keys()
    assert all({"runs-on", "strategy", "steps"} <= job.keys() for job in content["jobs"].values())
    assert [step["run"] for job in content["jobs"].values() for step in job["steps"] if "run" in step] == COMMANDS
