"""What the worker does to keep a submission's processes to themselves; README.md says what a system does not offer."""

import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

with contextlib.suppress(ImportError):  # Windows, where nothing is graded
    import resource

MEMORY = 2 * 2**30  # bytes on top of what the parent has: torch alone maps several
FILE_SIZE = 100 * 2**20  # bytes of a file that a submission writes
PROCESSES = 256  # of a submission, where it has a user of its own
NEEDED = 1 << 0 | 1 << 1 | 1 << 5  # CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL
DUMPABLE, SUBREAPER, NO_NEW_PRIVILEGES = 4, 36, 38  # options of Linux's prctl


def prctl(option, value):
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def user_for_submissions(number):
    """A user that nobody is, to run a submission as; None where this process may not or it could not read torch.

    It is tried once: a container's root may be unable to, or to give that user files, read them or end its processes.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return None
    user = 60000 + number % 5000
    for path in map(Path, (os.__file__, torch.__file__, sys.prefix)):
        for part in (path.resolve(), *path.resolve().parents):
            if not part.stat().st_mode & (0o001 if part.is_dir() else 0o004):
                return None
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            become(user)
            os._exit(0)
        os._exit(1)
    with open("/proc/self/status", encoding="utf-8") as file:
        may = int(file.read().split("CapEff:")[1].split()[0], 16)
    return user if os.waitpid(child, 0)[1] == 0 and may & NEEDED == NEEDED else None


def become(user):
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def enter(connection, folder, seconds, user):
    """In a child: its own session, folder and limits, no rights, no open file but the connection, now number 3."""
    os.setsid()
    if connection != 3:
        os.dup2(connection, 3, inheritable=False)
    os.closerange(4, 65536)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    os.chdir(folder)
    limits = {resource.RLIMIT_FSIZE: FILE_SIZE, resource.RLIMIT_CORE: 0}
    limits[resource.RLIMIT_CPU] = math.ceil(seconds)  # for the case that everybody who would end the child is gone
    if user:
        limits[resource.RLIMIT_NPROC] = PROCESSES
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="utf-8") as file:
            limits[resource.RLIMIT_AS] = MEMORY + int(file.read().split()[0]) * resource.getpagesize()
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # the system's own may be stricter
        resource.setrlimit(kind, (value, value))
    if user:
        become(user)
    prctl(NO_NEW_PRIVILEGES, 1)
    prctl(DUMPABLE, 1)  # or its own /dev/stdout would be closed to it
    return 3


def end(child, patience=0.0):
    """Kill a child and its group, unless it ends by itself in that many seconds; how it ended, None if killed."""
    until, killed = time.monotonic() + patience, False
    while True:
        try:
            reaped, status = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            return None
        if reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            ended = {"signal": os.WTERMSIG(status)} if os.WIFSIGNALED(status) else {"exit": os.WEXITSTATUS(status)}
            return None if killed else ended
        if time.monotonic() >= until:
            killed = True
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(child, signal.SIGKILL)
        time.sleep(0.002)


def end_descendants(user, seconds=10.0):
    """Kill every process that came from this one, also those that left their group or whose parent is gone.

    A subreaper (Linux) inherits such orphans, so all of them are below this process; elsewhere they get away. Whoever
    forks faster than it is found is killed by user: one call of the system that leaves nobody out.
    """
    until = time.monotonic() + seconds
    while (found := descendants()) and time.monotonic() < until:
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if user and (child := os.fork()) == 0:
            try:
                os.setresuid(user, user, user)
                os.kill(-1, signal.SIGKILL)
            finally:
                os._exit(0)
        elif user:
            os.waitpid(child, 0)
        time.sleep(0.002)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def descendants():
    parents = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found, known = [], {os.getpid()}
    while new := [process for process, parent in parents.items() if parent in known and process not in known]:
        known.update(new)
        found += new
    return found


def remove(folder):
    """Remove a folder as far as possible, however deep it is and whatever its modes are."""
    command = 'chmod -R u+rwx -- "$0"; rm -rf -- "$0"'
    subprocess.run(["/bin/sh", "-c", command, str(folder)], stderr=subprocess.DEVNULL, check=False)
