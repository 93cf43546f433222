"""Load a submission's file as it is, with stand-ins for modules that it imports and that are not there.

Only an import written in the submission's own folder gets a stand-in, and only outside of `try`: torch itself tries imports
that may fail, and so does a submission that has an answer of its own to a missing module.
"""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import signal
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

from .calling import raised


class StandIn(types.ModuleType):
    """A module in which every name exists, can be called and does nothing."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


class LastResort(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what no other finder does, for files of one folder."""

    def __init__(self, folder):
        self.folder, self.missing = folder, []

    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top not in self.missing:
            if not self.wanted():
                return None
            self.missing.append(top)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        """A stand-in has nothing to run."""

    def wanted(self):
        frame = sys._getframe(2)
        while frame and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        path = Path(frame.f_code.co_filename) if frame else Path()
        return path.is_relative_to(self.folder) and not inside_try(path, frame.f_lineno)


def inside_try(path, line):
    """Whether that line of a file stands in the body of a try with handlers."""
    tries = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Try) and node.handlers]
    return any(statement.lineno <= line <= statement.end_lineno for node in tries for statement in node.body)


class TooLong(BaseException):
    """Importing takes too long; no Exception, so that the submission does not catch it by chance."""


def load(folder, file, time_limit):
    """The module as far as it could be loaded, the modules that it misses, and what stopped it, as raised() says, or None."""
    path = Path(folder, file)
    module = types.ModuleType("_submission_" + path.stem)  # private: not __main__, and no other module of the submission
    module.__file__ = str(path)
    module.get_ipython = MagicMock()  # in what was a notebook, magics are calls of it
    sys.path.insert(0, str(folder))
    sys.modules[module.__name__] = module
    finder = LastResort(Path(folder))
    sys.meta_path.append(finder)
    problem = execute(module, path, time_limit)
    return module, finder.missing, problem


def execute(module, path, time_limit):
    """Run the file in the module; what stopped it half-way, or None."""

    def ring(signum, frame):
        raise TooLong

    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, time_limit)
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except BaseException as problem:
        return raised(problem)
    finally:
        if hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, 0)
