"""Run somebody else's functions: the process that the judge starts and that alone loads a submission.

Importing torch takes seconds and forking a process that has it takes milliseconds. So this process imports torch and forks: a
child for each file, which loads it, and from that one a child for each function, which calls it. The judge talks to each of the
three on a socket of its own.
"""

import contextlib
import gc
import os
import socket
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[0] = str(HERE.parent)
from grading import processes  # noqa: E402
from grading.calling import answer  # noqa: E402
from grading.loading import load  # noqa: E402
from grading.processes import DUMPABLE, SUBREAPER, prctl, user_for_submissions  # noqa: E402
from grading.wire import pack, receive, receive_with_descriptor, send, unpack  # noqa: E402

del sys.path[0]  # from here on, the names checks, worker and grading are the submission's
for name in [name for name in sys.modules if name.split(".")[0] == "grading"]:
    del sys.modules[name]


def serve(control, scratch):
    """Load file after file, each in a process of its own; when the judge is gone, so is all that is left of a submission."""
    user, child = user_for_submissions(os.getpid()), 0
    send(control, pack({"user": user}))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            payload, connection = receive_with_descriptor(control)
            request, _ = unpack(payload)
            if connection is None:
                ended = processes.end(child, request["patience"])
                processes.end_descendants(user)
                send(control, pack({"ended": ended}))
                continue
            child = os.fork()
            if child == 0:
                leave_after(start_file, connection, scratch, user, request)
            os.close(connection)
    processes.end_descendants(user)
    processes.remove(Path(scratch).parent)


def leave_after(job, *arguments):
    """In a child: do the job and never go back."""
    try:
        job(*arguments)
    finally:
        os._exit(0)


def start_file(connection, scratch, user, request):
    folder = Path(scratch, request["load"]["file"]).parent  # the copy of the submission that it may change
    serve_file(socket.socket(fileno=processes.enter(connection, folder, request["seconds"], user)), **request["load"])


def serve_file(connection, root, file, functions, needed, time_limit):
    """Load one file, say how that went, then start a child for one function after another and say how it ended."""
    module, about = load(root, file, needed, time_limit)
    send(connection, pack({**about, "defined": [function for function in functions if hasattr(module, function)]}))
    child = 0
    while True:
        payload, descriptor = receive_with_descriptor(connection)
        request, _ = unpack(payload)
        if descriptor is None:
            send(connection, pack({"ended": processes.end(child, request["patience"])}))
            continue
        child = os.fork()
        if child == 0:
            connection.close()
            os.setpgid(0, 0)
            leave_after(serve_function, descriptor, getattr(module, request["function"]))
        os.close(descriptor)


def serve_function(number, function):
    """Answer one request after another."""
    connection = socket.socket(fileno=number)
    while True:
        send(connection, pack(*answer(function, *unpack(receive(connection)))))


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # a collection in a child would copy the memory of all of torch
    prctl(SUBREAPER, 1)
    prctl(DUMPABLE, 0)  # nobody reads or writes its memory
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
