"""The door to grading/: its options, one grading a session, and the table at the end."""

import os
import sys
from pathlib import Path

import pytest

from grading.checks import CHECKS, chosen
from grading.grading import grade
from grading.options import OPTIONS, limits_of
from grading.report import table, write_gradescope, write_results
from grading.sessions import NO_FORK, GraderError
from grading.submission import SubmissionError

HERE = Path(__file__).parent
GRADES, LIMITS = pytest.StashKey(), pytest.StashKey()


def pytest_addoption(parser, pluginmanager):
    group = parser.getgroup("grading")
    group.addoption("--submission", metavar="PATH", help="grade that folder, archive or .ipynb, not this project")
    for name, about in OPTIONS.items():
        group.addoption(name, **about)
    # pytest takes what follows --submission for tests until it knows the option: a conftest.py there stays unread
    if any(argument.startswith("--submission") for argument in sys.argv):
        os.environ["SUBMISSION_GIVEN"] = "yes"  # pytest-xdist's workers know it by their environment alone
    pluginmanager._noconftest = "SUBMISSION_GIVEN" in os.environ


def in_folder_of_call(config, name):
    """The path given for an option, or None; pytest itself may have changed the folder since."""
    value = config.getoption(name)
    return None if value is None else config.invocation_params.dir / Path(value).expanduser()


def pytest_configure(config):
    submission, results = in_folder_of_call(config, "--submission"), in_folder_of_call(config, "--gradescope")
    if submission and not submission.exists():
        raise pytest.UsageError(f"--submission: there is no {submission}")
    try:
        chosen(config.option.questions)
        config.stash[LIMITS] = limits_of(config.option, results)
    except ValueError as problem:
        raise pytest.UsageError(str(problem)) from None
    if submission:  # the table says it all
        config.option.tbstyle, config.option.reportchars = "no", "N"


@pytest.fixture(scope="session")
def grades(request):
    if not hasattr(os, "fork"):
        pytest.skip(NO_FORK)
    config = request.config
    tested = {item.callspec.params["check"] for item in request.session.items if item.path.parent == HERE}
    functions = {check.function for check in tested}
    checks = [check for check in CHECKS if check in tested or (check.function in functions and not check.marks)]
    results = in_folder_of_call(config, "--gradescope")
    submission = in_folder_of_call(config, "--submission") or HERE.parent.parent
    try:
        result = grade(submission, checks=checks, **config.stash[LIMITS])
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
    items[:] = [item for item in items if item.path.parent != HERE or item.callspec.params["check"].name in checks]


def pytest_terminal_summary(terminalreporter, config):
    if GRADES in config.stash:
        terminalreporter.section(f"marks of {config.getoption('--submission') or 'this project'}")
        for line in table(config.stash[GRADES]):
            terminalreporter.write_line(line)
