"""Run a job in a child process that may hang, crash, print or eat memory, and be told what it sends and how it ended."""

import json
import math
import os
import select
import signal
import tempfile
import time
from contextlib import suppress

try:
    import resource
except ImportError:  # Windows, which has no fork either
    resource = None

MEMORY = 2 * 2**30  # bytes on top of what the parent has: torch alone maps several


def isolated(job, seconds, receive):
    """Run `job(send)` in a child with its own folder and process group; pass what it sends on to `receive`.

    The child is killed, with every process that it started, once it has ended or been silent for that many seconds. Returns
    None if the job returned, otherwise what happened, as the end of a sentence.
    """
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        child = os.fork()
        if child == 0:
            os.close(reader)
            run_child(job, writer, folder, seconds)
        os.close(writer)
        try:
            return listen(reader, child, seconds, receive)
        finally:
            os.close(reader)
            end(child)


def run_child(job, writer, folder, seconds):
    """In the child: do the job, say that it is done by an empty line, and leave without going back."""
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        silence()
        limit(seconds)
        job(lambda message: os.write(writer, json.dumps(message).encode() + b"\n"))
        os.write(writer, b"\n")
    finally:
        os._exit(0)


def silence():
    """Nothing to read, and nobody reads what is printed."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def limit(seconds):
    """The system's own limits: on memory, and on processor time for the case that the parent is killed before the child."""
    if resource is None:
        return
    lower(resource.RLIMIT_CPU, math.ceil(seconds) + 60)
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        lower(resource.RLIMIT_AS, mapped + MEMORY)


def lower(kind, value):
    """Set a limit of the system, or leave the system's own where that is stricter."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def listen(reader, child, seconds, receive):
    unfinished = b""
    while select.select([reader], [], [], seconds)[0]:
        received = os.read(reader, 65536)
        if not received:
            return ending(child)
        *lines, unfinished = (unfinished + received).split(b"\n")
        for line in lines:
            if not line:
                return None
            receive(json.loads(line))
    return f"gave no answer within {seconds:g} seconds"


def ending(child):
    """How a child ended that said nothing more; one that closed its pipe and goes on is given a second."""
    for _ in range(100):
        reaped, status = os.waitpid(child, os.WNOHANG)
        if not reaped:
            time.sleep(0.01)
        elif os.WIFSIGNALED(status):
            return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
        else:
            return f"ended the whole process, exit code {os.WEXITSTATUS(status)}"
    return "stopped answering"


def end(child):
    """Kill the child's process group and the child itself, should it have left the group; it may be gone already."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
