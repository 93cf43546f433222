"""Load a submission's file as far as it goes, with stand-ins for modules that it imports and that are not there."""

import ast
import importlib.abc
import importlib.machinery
import inspect
import signal
import sys
import traceback
import types
from pathlib import Path
from unittest.mock import MagicMock

import torch

from .calling import raised


class Nothing(MagicMock):
    """Whatever a missing module holds: it does nothing; a decorator gives the function back, a loop over it runs."""

    def _get_child_mock(self, **options):  # __iter__ and the like are no decorators
        return (MagicMock if str(options.get("name")).startswith("__") else Nothing)(**options)

    def __call__(self, *arguments, **options):
        first = arguments[0] if arguments else None
        if inspect.isroutine(first) or inspect.isclass(first):
            return first
        result = Nothing()
        if isinstance(first, int):  # trange(n)
            first = range(*arguments)
        if hasattr(first, "__iter__"):  # tqdm(y)
            result.__iter__.side_effect = lambda: iter(first)
            result.__len__.side_effect = lambda: len(first)
        result.__enter__.return_value = result
        return result


class StandIn(types.ModuleType):
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing(name=f"{self.__name__}.{name}")


class LastResort(importlib.abc.MetaPathFinder, importlib.abc.Loader):
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
        """Whether the import stands in that folder, and in no try with handlers: torch tries imports that may fail."""
        frame = sys._getframe(2)
        while frame and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        path = Path(frame.f_code.co_filename) if frame else Path()
        if not path.is_relative_to(self.folder):
            return False
        tries = [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Try) and node.handlers]
        tried = [statement for node in tries for statement in node.body]
        return not any(statement.lineno <= frame.f_lineno <= statement.end_lineno for statement in tried)


class TooLong(BaseException):
    """Importing takes too long; no Exception, so that the submission does not catch it by chance."""


def load(root, file, needed, time_limit):
    """The module as far as it could be loaded; what is to be said of it: modules that it misses, lines that stopped it.

    needed: lines of the statements still run once one has stopped; -1 first where no others are to run at all.
    """
    path = Path(root, file)
    module = types.ModuleType(f"_submission_{path.stem}")  # not __main__, and no other module of the submission
    module.__file__ = str(path)
    module.get_ipython = MagicMock()  # in what was a notebook, magics are calls of it
    folders = [folder for folder in path.parents if folder.is_relative_to(root)]  # its own first
    sys.path[:0] = map(str, folders)
    sys.modules[module.__name__] = module
    finder, about = LastResort(Path(root)), {"compiled": False}
    sys.meta_path.append(finder)

    def uncompiled(model=None, **options):
        about["compiled"] = True
        return uncompiled if model is None else model

    torch.compile = uncompiled  # it takes minutes, and a compiler
    torch.set_default_device = lambda device: None  # there is only one here
    stopped = execute(module, path, needed, time_limit)
    return module, {**about, "missing": finder.missing, "stopped": stopped}


def execute(module, path, needed, time_limit):
    """Run a file in the module, only what is needed once a statement has stopped; line and problem of each that did."""

    def ring(signum, frame):
        raise TooLong

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, time_limit)
    stopped = []
    try:
        body = ast.parse(path.read_bytes()).body
        future = [statement for statement in body if getattr(statement, "module", "") == "__future__"]
        for statement in body:
            if (stopped or -1 in needed) and statement.lineno not in needed:
                continue
            try:
                exec(compile(ast.Module([*future, statement], []), str(path), "exec"), vars(module))
            except BaseException as problem:
                frames = traceback.extract_tb(problem.__traceback__)
                lines = [statement.lineno, *(frame.lineno for frame in frames if frame.filename == str(path))]
                stopped.append([lines[-1], *raised(problem)])
                if sum(name == "TooLong" for _, name, _ in stopped) > 1:
                    break
                if isinstance(problem, TooLong):
                    signal.setitimer(signal.ITIMER_REAL, time_limit)
    except TooLong:
        stopped.append([0, "TooLong", ""])  # it rang between two statements
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return stopped
