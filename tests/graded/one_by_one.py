"""The judge's end of the line where there is no fork (Windows): an interpreter for each call.

Slower, without a limit on memory, and what a submission leaves running is not found.
"""

import subprocess
import sys

from . import wire
from .judge import Answer, Lost
from .sessions import START, WORKER, TooSlow, Worker, environment, load_request


class OneByOne(Worker):
    """A worker that is started for each call."""

    def start(self):
        self.empty_folder()

    def load(self, file, functions, time_limit, seconds):
        self.empty_folder()
        return LoadedOnce(self, load_request(self.files, file, functions, time_limit))

    def end_file(self, patience=0.0):
        """Nothing runs between calls."""


class LoadedOnce:
    """A file that is loaded for each call again."""

    def __init__(self, worker, request):
        self.worker, self.functions, self.ended = worker, request.pop("functions"), None
        self.request, self.missing, self.problem, self.defined = request, [], None, []
        header, _ = self.run({"function": None}, [], request["time_limit"])
        self.defined, self.missing, self.problem = header["defined"], header["missing"], header["problem_of_file"]

    def run(self, request, tensors, seconds):
        command = [sys.executable, "-B", str(WORKER), "once"]
        payload = wire.pack({**request, "load": self.request, "functions": self.functions}, tensors)
        options = {"cwd": self.worker.work, "env": environment(self.worker.work), "start_new_session": True}
        try:
            done = subprocess.run(command, input=payload, capture_output=True, timeout=START + seconds, **options)
        except subprocess.TimeoutExpired:
            raise TooSlow(f"gave no answer within {seconds:g} seconds") from None
        if not done.stdout:
            raise Lost(f"ended the whole process, exit code {done.returncode}")
        return wire.unpack(done.stdout)

    def ask(self, function, request, tensors, seconds):
        try:
            return Answer.read(*self.run({**request, "function": function}, tensors, seconds))
        except ValueError:
            raise Lost("wrote what is no answer") from None

    def alive(self):
        return True

    def close(self):
        """Nothing is left open."""
