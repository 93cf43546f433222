"""One grading a session, and the table at the end."""

from pathlib import Path

import pytest

from . import options
from .checks import CHECKS, chosen
from .grading import grade
from .report import table, write_gradescope, write_results
from .sessions import GraderError
from .submission import SubmissionError

PROJECT = Path(__file__).parent.parent.parent
GRADES, LIMITS = pytest.StashKey(), pytest.StashKey()


def in_folder_of_call(config, name):
    """The path given for an option, or None; pytest itself may have changed the folder since."""
    value = config.getoption(name)
    return None if value is None else config.invocation_params.dir / value


def pytest_configure(config):
    if not config.pluginmanager.hasplugin(f"tests.{options.__name__}"):
        raise pytest.UsageError(f"put {Path(__file__).parent} first: pytest has read the settings of another folder")
    submission, results = in_folder_of_call(config, "--submission"), in_folder_of_call(config, "--gradescope")
    if submission and not submission.exists():
        raise pytest.UsageError(f"--submission: there is no {submission}")
    try:
        chosen(config.option.questions)
        config.stash[LIMITS] = options.limits_of(config.option, results)
    except ValueError as problem:
        raise pytest.UsageError(str(problem)) from None
    if submission:  # the table says it all
        config.option.tbstyle, config.option.reportchars = "no", "N"


@pytest.fixture(autouse=True)
def few_images():
    """Nor is anything measured or drawn here: without the fixtures of tests/conftest.py it starts in half the time."""


@pytest.fixture(autouse=True)
def save_figure():
    """See few_images."""


@pytest.fixture(scope="session")
def grades(request):
    config, items = request.config, request.session.items
    asked = {item.callspec.params["check"] for item in items if item.path.parent == Path(__file__).parent}
    wanted = {check.function for check in asked}
    checks = [check for check in CHECKS if check in asked or (check.function in wanted and not check.marks)]
    results = in_folder_of_call(config, "--gradescope")
    try:
        result = grade(in_folder_of_call(config, "--submission") or PROJECT, checks=checks, **config.stash[LIMITS])
    except (GraderError, SubmissionError) as problem:
        if results:
            write_results(results, 0, [str(problem)])
        pytest.exit(f"error: {problem}", returncode=4)
    config.stash[GRADES] = result
    if results:
        write_gradescope(results, result)
    return result


def pytest_collection_modifyitems(config, items):
    """Leave out the questions that are not to be graded."""
    checks = {check.name for check in chosen(config.getoption("--questions"))}
    here = Path(__file__).parent
    items[:] = [item for item in items if item.path.parent != here or item.callspec.params["check"].name in checks]


def pytest_terminal_summary(terminalreporter, config):
    if GRADES in config.stash:
        terminalreporter.section(f"marks of {config.getoption('--submission') or 'this project'}")
        for line in table(config.stash[GRADES]):
            terminalreporter.write_line(line)
