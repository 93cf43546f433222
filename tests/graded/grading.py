"""Grade the two files of a submission without ever importing them."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from .checks import CHECKS

WORKER = Path(__file__).with_name("worker.py")
FILES = sorted({check.file for check in CHECKS})
START = 60  # seconds that a worker may take to import torch, where each check has a worker of its own


class Grades(NamedTuple):
    """What a submission got: for each check the sentence that says why its marks are lost, or None."""

    lost: dict
    notes: list
    seconds: float

    def marks(self, check):
        return 0 if self.lost[check.name] else check.marks

    def total(self):
        return sum(self.marks(check) for check in CHECKS)


class Grader:
    """A worker process that grades one submission after another."""

    def __enter__(self):
        self.worker = start() if hasattr(os, "fork") else None
        return self

    def __exit__(self, *problem):
        if self.worker:
            self.worker.kill()
            self.worker.communicate()

    def grade(self, folder, time_limit=10.0):
        """The Grades of the folder; no check may take longer than `time_limit` seconds, nor may importing a file."""
        began, lost, notes = time.monotonic(), {}, []
        for file in FILES:
            answers = self.ask(folder, file, time_limit) if self.worker else ask_one_by_one(folder, file, time_limit)
            for answer in answers:
                notes += [note for note in answer.get("notes", []) if note not in notes]
                if "check" in answer:
                    lost[answer["check"]] = answer["lost"]
                elif answer.get("end"):
                    notes.append(f"{file} {answer['end']}")
        for check in CHECKS:
            lost.setdefault(check.name, f"{check.file} could not be loaded")
        return Grades(lost, notes, time.monotonic() - began)

    def ask(self, folder, file, time_limit):
        """The worker's answers about one file, up to the one that says it is the last."""
        request = {"folder": str(Path(folder).resolve()), "file": file, "time_limit": time_limit}
        self.worker.stdin.write(json.dumps(request) + "\n")
        self.worker.stdin.flush()
        answer = {}
        while "end" not in answer:
            line = self.worker.stdout.readline()
            if not line:
                raise RuntimeError(f"the worker that grades {file} has ended; run {WORKER} by hand to see why")
            answer = json.loads(line)
            yield answer


def grade(folder, time_limit=10.0):
    """Grade one folder."""
    with Grader() as grader:
        return grader.grade(folder, time_limit)


def start(*arguments, **options):
    """A worker: on one thread, no screen, no GPU, no __pycache__ in other people's folders, no interrupt meant for pytest."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-E", "-B", str(WORKER), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
        **options,
    )


def ask_one_by_one(folder, file, time_limit):
    """The same answers from a worker for each check, where there is no fork: slower, and without a limit on memory."""
    for check in CHECKS:
        if check.file == file:
            request = {"folder": str(Path(folder).resolve()), "check": check.name, "time_limit": time_limit}
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                yield {"check": check.name, **ask_once(request, scratch)}


def ask_once(request, scratch):
    worker = start("once", cwd=scratch)
    try:
        output, _ = worker.communicate(json.dumps(request) + "\n", START + request["time_limit"])
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.communicate()
        return {"lost": f"gave no answer within {request['time_limit']:g} seconds"}
    return json.loads(output) if output else {"lost": f"ended the whole process, exit code {worker.returncode}"}
