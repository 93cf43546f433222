"""The judge's end of the line to a worker, whose answers may be late, cut short or made up: these cost the call."""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import wire
from .judge import Answer, Lost, plain
from .processes import remove

WORKER = Path(__file__).with_name("worker.py")
START = 60  # seconds that a worker may take to import torch
AS_ROOT = "warning: no other user can be had here, submissions run as root: see grading/README.md"
NO_FORK = "grading needs Linux or macOS, or a container or WSL on Windows: grading/README.md"
GRACE = 2  # seconds in which a process that is well says what became of the one below it


class GraderError(Exception):
    """The grading itself does not work, whatever the submission; the message says why, in one line."""


class TooSlow(Lost):
    """Lost for want of time."""


class Worker:
    """A process that loads files, with a folder for the submission and one for what it writes."""

    def __init__(self):
        self.scratch = Path(tempfile.mkdtemp(prefix="graded-"))
        self.scratch.chmod(0o711)
        self.files, self.work = self.scratch / "submission", self.scratch / "work"
        self.process, self.control, self.user = None, None, None

    def start(self):
        """A worker that has read no other submission; with a session of its own, so no keyboard interrupts it."""
        self.stop()
        self.fresh_folder()
        self.control, theirs = socket.socketpair()
        settings = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": "", "TORCHDYNAMO_DISABLE": "1"}
        work = str(self.work)
        settings |= {"HOME": work, "TMPDIR": work, "MPLCONFIGDIR": f"{work}/matplotlib"}
        command = [sys.executable, "-B", str(WORKER), str(theirs.fileno()), work]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        alone = {"env": os.environ | settings, "pass_fds": [theirs.fileno()], "start_new_session": True}
        with theirs:
            self.process = subprocess.Popen(command, **pipes, **alone)
        try:
            self.user = wire.receive(self.control, time.monotonic() + START)[0]["user"]
        except (EOFError, OSError, ValueError):
            self.process.kill()
            said = self.process.communicate()[1].decode(errors="replace").strip().splitlines() or ["nothing"]
            raise GraderError(f"the worker does not start with {sys.executable}; it says: {plain(said[-1])}") from None
        if os.geteuid() == 0 and not self.user and sys.stderr:
            print(AS_ROOT, file=sys.stderr)
        self.fresh_folder()

    def fresh_folder(self):
        """A copy of the submission to work in, with the fonts that matplotlib would else look for, for seconds."""
        remove(self.work)
        shutil.copytree(self.files, self.work) if self.files.exists() else self.work.mkdir()
        fonts = list(Path.home().glob(".cache/matplotlib/fontlist-*.json"))
        if fonts:
            (self.work / "matplotlib").mkdir(exist_ok=True)
            shutil.copy(fonts[-1], self.work / "matplotlib")
        if self.user:
            for path in (self.work, *self.work.rglob("*")):
                os.chown(path, self.user, self.user)

    def load(self, path, functions, needed, time_limit, seconds):
        """A file of the submission, loaded in a process of its own; one that has ended meanwhile is started again."""
        self.end_file()
        self.fresh_folder()
        where = {"root": str(self.files), "file": str(path.relative_to(self.files))}
        load = {**where, "functions": functions, "needed": needed, "time_limit": time_limit}
        for _ in range(2):
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    if self.process is None or self.process.poll() is not None:
                        self.start()
                    wire.send(self.control, {"load": load, "seconds": seconds + 60}, descriptors=[theirs.fileno()])
                return LoadedFile(self, ours, time_limit)
            except OSError:
                ours.close()
                self.stop()
        raise GraderError("the worker ends as soon as it is started")

    def end_file(self, patience=0.0):
        """End every process of the submission; how the one that loaded the file ended, if it did by itself."""
        if self.control is None:  # the worker has been stopped, and its processes with it
            return None
        with contextlib.suppress(OSError, EOFError, ValueError):
            wire.send(self.control, {"patience": patience})
            return wire.receive(self.control, time.monotonic() + 30)[0]["ended"]
        self.stop()
        return None

    def stop(self):
        """Let the worker end by itself, with what it has started, as it does without a line; then make sure."""
        control, process = self.control, self.process  # taken first, since another thread may stop it, too
        self.control = self.process = self.user = None
        if control:
            control.close()
        if process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE * 10)
            process.kill()
            process.wait()
            process.stderr.close()

    def close(self):
        self.stop()
        remove(self.scratch)


class LoadedFile:
    """The process that has loaded one file, and below it, for the function that is asked, the one that calls it."""

    def __init__(self, worker, connection, time_limit):
        self.worker, self.connection, self.function, self.calls = worker, connection, None, None
        self.defined, self.missing, self.stopped, self.compiled, self.ended = [], [], [], False, None
        try:
            loaded = wire.receive(connection, time.monotonic() + 2 * time_limit + GRACE)[0]
            self.defined = [str(name) for name in loaded["defined"]]
            self.missing = [plain(name, 40) for name in loaded["missing"]][:20]
            self.stopped = [(int(line), str(name), str(message)) for line, name, message in loaded["stopped"]][:20]
            self.compiled = bool(loaded["compiled"])
        except TimeoutError:
            self.close(f"gave no answer within {time_limit:g} seconds")
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            self.close("stopped answering", patience=1.0)

    def alive(self):
        """Whether it can be asked; one function may have ended it for those after."""
        return not self.ended and not select.select([self.connection], [], [], 0)[0]  # it says nothing unless asked

    def close(self, sentence=None, patience=0.0):
        """End it with all of its processes; why it is of no more use, unless it is done with."""
        self.connection.close()
        ended = self.worker.end_file(patience)
        if sentence:
            self.ended = (patience and ending(ended)) or sentence

    def ask(self, function, request, tensors, seconds):
        """The Answer of one call, or Lost with what happened instead."""
        deadline = time.monotonic() + seconds
        try:
            if function != self.function:
                self.end_function()
                self.calls, theirs = socket.socketpair()
                self.function = function
                with theirs:
                    wire.send(self.connection, {"function": function}, descriptors=[theirs.fileno()])
            wire.send(self.calls, request, tensors)
            return Answer.read(*wire.receive(self.calls, deadline))
        except TimeoutError:
            self.end_function()
            raise TooSlow(f"gave no answer within {seconds:g} seconds") from None
        except (EOFError, OSError):
            raise Lost(ending(self.end_function(patience=1.0)) or "stopped answering") from None
        except ValueError:
            self.end_function()
            raise Lost("wrote what is no answer") from None

    def end_function(self, patience=0.0):
        """How the process that calls the function ended, if it did by itself; if nobody says, the file is closed."""
        if self.function is None:
            return None
        self.function = None
        self.calls.close()
        with contextlib.suppress(EOFError, OSError, ValueError):
            wire.send(self.connection, {"patience": patience})
            return wire.receive(self.connection, time.monotonic() + patience + GRACE)[0].get("ended")
        self.close("ended the process that had loaded it")
        return None


def ending(ended):
    """How a process ended, as the end of a sentence, from numbers that may be made up; None if unknown."""
    if not isinstance(ended, dict) or not all(isinstance(number, int) for number in ended.values()):
        return None
    if "signal" in ended:
        known = {member.value: member.name for member in signal.Signals}
        return f"was killed by {known.get(ended['signal'], 'a signal')}"
    return f"ended the whole process, exit code {ended['exit']}" if "exit" in ended else None
