"""Run somebody else's functions: the process that the judge starts and that alone loads a submission.

Importing torch takes seconds and forking a process that has it takes milliseconds. So this process imports torch and
forks: a child for each file, which loads it, and from that one a child for each function, which calls it. The judge
talks to each of the three on a socket of its own.
"""

import contextlib
import gc
import os
import socket
import sys
from pathlib import Path

import torch

sys.path[0] = str(Path(__file__).parent.parent)
from grading import processes  # noqa: E402
from grading.calling import answer  # noqa: E402
from grading.loading import load  # noqa: E402
from grading.processes import DUMPABLE, SUBREAPER, prctl, user_for_submissions  # noqa: E402
from grading.wire import receive, receive_with_descriptor, send  # noqa: E402

del sys.path[0]  # from here on, the names checks, worker and grading are the submission's
for name in [name for name in sys.modules if name.split(".")[0] == "grading"]:
    del sys.modules[name]


def serve(control, scratch):
    """Load file after file, each in a process of its own; when the judge is gone, so is all that a submission left."""
    user, child = user_for_submissions(os.getpid()), 0
    send(control, {"user": user})
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            request, connection = receive_with_descriptor(control)
            if connection is None:
                ended = processes.end(child, request["patience"])
                processes.end_descendants(user)
                send(control, {"ended": ended})
            else:
                child = child_that_does(serve_file, connection, scratch, user, request["seconds"], **request["load"])
    processes.end_descendants(user)
    processes.remove(Path(scratch).parent)


def child_that_does(job, descriptor, *arguments, **options):
    """Fork a child that has the descriptor, does the job and never goes back."""
    child = os.fork()
    if child == 0:
        try:
            job(descriptor, *arguments, **options)
        finally:
            os._exit(0)
    os.close(descriptor)
    return child


def serve_file(connection, scratch, user, seconds, root, file, functions, needed, time_limit):
    """Load one file, say how that went, then start a child for one function after another and say how it ended."""
    folder = Path(scratch, file).parent  # the copy of the submission that it may change
    connection = socket.socket(fileno=processes.enter(connection, folder, seconds, user))
    module, about = load(root, file, needed, time_limit)
    send(connection, {**about, "defined": [function for function in functions if hasattr(module, function)]})
    child = 0
    while True:
        request, descriptor = receive_with_descriptor(connection)
        if descriptor is None:
            send(connection, {"ended": processes.end(child, request["patience"])})
        else:
            child = child_that_does(serve_function, descriptor, connection, getattr(module, request["function"]))


def serve_function(number, above, function):
    above.close()
    os.setpgid(0, 0)
    connection = socket.socket(fileno=number)
    while True:
        send(connection, *answer(function, *receive(connection)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # a collection in a child would copy the memory of all of torch
    prctl(SUBREAPER, 1)
    prctl(DUMPABLE, 0)  # nobody reads or writes its memory
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
