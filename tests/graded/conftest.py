"""The options of the graded suite, one grading a session, and the table at the end."""

from pathlib import Path

import pytest

from .grading import grade
from .report import table, write_gradescope

PROJECT = Path(__file__).parent.parent.parent
GRADES = pytest.StashKey()


def pytest_addoption(parser):
    group = parser.getgroup("graded suite")
    group.addoption("--submission", metavar="DIR", help="grade DIR/q1_solution.py and DIR/q2_solution.py, not this project")
    group.addoption("--gradescope", metavar="FILE", help="write the marks to FILE as Gradescope's results.json")
    group.addoption("--time-limit", metavar="SECONDS", type=float, default=10.0, help="for each check (default 10)")


def option(config, name, default=None):
    """An option's value: pytest only knows the options of this file when its folder is on the command line."""
    return config.getoption(name, default)


def in_folder_of_call(config, name):
    """The path given for an option, or None; pytest itself may have changed the folder since."""
    value = option(config, name)
    return None if value is None else config.invocation_params.dir / value


def pytest_configure(config):
    submission, results = in_folder_of_call(config, "--submission"), in_folder_of_call(config, "--gradescope")
    if submission and not submission.is_dir():
        raise pytest.UsageError(f"--submission: there is no folder {submission}")
    if results and not results.parent.is_dir():
        raise pytest.UsageError(f"--gradescope: there is no folder {results.parent}")
    if option(config, "--time-limit", 10.0) <= 0:
        raise pytest.UsageError("--time-limit: must be above 0")
    if submission:  # the table says it all
        config.option.tbstyle, config.option.reportchars = "no", "N"


@pytest.fixture(scope="session")
def grades(request):
    config = request.config
    result = grade(in_folder_of_call(config, "--submission") or PROJECT, option(config, "--time-limit", 10.0))
    config.stash[GRADES] = result
    if results := in_folder_of_call(config, "--gradescope"):
        write_gradescope(results, result)
    return result


def pytest_terminal_summary(terminalreporter, config):
    if GRADES in config.stash:
        terminalreporter.section(f"marks of {option(config, '--submission') or 'this project'}")
        for line in table(config.stash[GRADES]):
            terminalreporter.write_line(line)
