"""The door to grading/: its options, one grading a session, and the table at the end."""

import os
import sys
from pathlib import Path

import pytest

from grading.__main__ import OPTIONS, limits_of
from grading.checks import CHECKS, chosen
from grading.grading import grade
from grading.report import table
from grading.sessions import NO_FORK, GraderError
from grading.submission import SubmissionError

HERE = Path(__file__).parent
GRADES = pytest.StashKey()


def pytest_addoption(parser, pluginmanager):
    group = parser.getgroup("grading")
    group.addoption("--submission", metavar="PATH", help="grade that folder, archive or .ipynb, not this project")
    for name, about in OPTIONS.items():
        group.addoption(name, **about)
    # pytest takes what follows --submission for tests until it knows the option: a conftest.py there stays unread
    if any(argument.startswith("--submission") for argument in sys.argv):
        os.environ["SUBMISSION_GIVEN"] = "yes"  # for pytest-xdist's workers, too
    pluginmanager._noconftest = "SUBMISSION_GIVEN" in os.environ


def submission_of(config):
    given = config.option.submission  # from the folder of the call, which pytest may have changed since
    return config.invocation_params.dir / Path(given).expanduser() if given else HERE.parent.parent


def pytest_configure(config):
    if not submission_of(config).exists():
        raise pytest.UsageError(f"--submission: there is no {submission_of(config)}")
    try:
        chosen(config.option.questions), limits_of(config.option)
    except ValueError as problem:
        raise pytest.UsageError(str(problem)) from None
    if config.option.submission:  # the table says it all
        config.option.tbstyle, config.option.reportchars = "no", "N"


@pytest.fixture(scope="session")
def grades(request, pytestconfig):
    if not hasattr(os, "fork"):
        pytest.skip(NO_FORK)
    tested = {item.callspec.params["check"] for item in request.session.items if item.path.parent == HERE}
    functions = {check.function for check in tested}
    checks = [check for check in CHECKS if check in tested or (check.function in functions and not check.marks)]
    try:
        pytestconfig.stash[GRADES] = grade(submission_of(pytestconfig), checks=checks, **limits_of(pytestconfig.option))
    except (GraderError, SubmissionError) as problem:
        pytest.exit(f"error: {problem}", returncode=4)
    return pytestconfig.stash[GRADES]


def pytest_collection_modifyitems(config, items):
    """Leave out the questions that are not to be graded."""
    checks = chosen(config.option.questions)
    items[:] = [item for item in items if item.path.parent != HERE or item.callspec.params["check"] in checks]


def pytest_terminal_summary(terminalreporter, config):
    if GRADES in config.stash:
        terminalreporter.section(f"marks of {config.option.submission or 'this project'}")
        terminalreporter.write_line("\n".join(table(config.stash[GRADES])))
