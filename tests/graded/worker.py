"""Run the checks on somebody else's functions: the process that grading.py starts and that alone loads a submission.

Importing torch takes seconds and forking a process that has it takes milliseconds. So this process imports torch and forks: a
child for each file, which loads it, and from that one a child for each check, which calls the function. Requests on standard
input and answers on standard output are lines of JSON. Where there is no fork, grading.py starts one worker for each check.
"""

import gc
import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path[0] = str(HERE.parent)
from graded.checks import CHECKS  # noqa: E402
from graded.isolation import isolated, silence  # noqa: E402
from graded.judge import Lost  # noqa: E402
from graded.submission import load, raised  # noqa: E402

del sys.path[0]  # from here on, the names checks, worker and graded are the submission's
for name in [name for name in sys.modules if name.split(".")[0] == "graded"]:
    del sys.modules[name]

MISSING = "the function is missing"
GRACE = 5  # seconds on top of the limit before a file's process counts as silent: it reports a check that took too long itself


def serve():
    """Grade file after file, as requested, each in a process of its own."""
    for line in sys.stdin:
        request = json.loads(line)
        problem = isolated(lambda send, request=request: grade_file(send, **request), request["time_limit"] + GRACE, tell)
        tell({"end": problem})


def tell(message):
    os.write(1, json.dumps(message).encode() + b"\n")


def grade_file(send, folder, file, time_limit):
    """Load one file, send the notes about it, then the outcome of each of its checks."""
    module, notes = load(folder, file, time_limit)
    send({"notes": notes})
    for check in CHECKS:
        if check.file == file and not hasattr(module, check.function):
            send({"check": check.name, "lost": MISSING})
        elif check.file == file:
            answers = []
            problem = isolated(lambda send, check=check: send(lost(check, module)), time_limit, answers.append)
            send({"check": check.name, "lost": answers[0] if answers else problem})


def lost(check, module):
    """The sentence that says why the marks of a check are lost, or None."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)  # this and the next: whatever importing the submission has left behind
    torch.set_grad_enabled(True)
    try:
        check.run(getattr(module, check.function))
    except Lost as reason:
        return str(reason)
    except BaseException as problem:
        return raised(problem)


def once():
    """One check in this very process, which grading.py ends if it takes too long."""
    request = json.loads(sys.stdin.readline())
    answers = os.dup(1)
    silence()
    (check,) = [check for check in CHECKS if check.name == request["check"]]
    module, notes = load(request["folder"], check.file, request["time_limit"])
    reason = lost(check, module) if hasattr(module, check.function) else MISSING
    os.write(answers, json.dumps({"notes": notes, "lost": reason}).encode())


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # a collection in a child would copy the memory of all of torch
    once() if sys.argv[1:] == ["once"] else serve()
