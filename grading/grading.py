"""Grade a submission: draw inputs, have a worker call the functions, and judge what comes back."""

import os
import secrets
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from .checks import CHECKS
from .judge import Lost, raised
from .processes import DUMPABLE, prctl
from .sessions import NO_FORK, GraderError, TooSlow, Worker
from .submission import Found, Piece, collect

AFTER_TIMEOUT = 0.2  # of the limit is what later calls of a function get, once a call has timed out
ONLY_NEEDED = "from there on, only the graded functions and what they use were run"


class NotThere(Exception):
    """There is no function to call; the message says why."""


class Row(NamedTuple):
    """What came of one check: where its marks are lost, the sentence says why."""

    question: str
    function: str
    title: str
    worth: float
    marks: float
    sentence: str | None


class Grades(NamedTuple):
    rows: list
    notes: list
    seconds: float
    status: str = "graded"
    seed: int = 0

    def total(self):
        return sum(row.marks for row in self.rows)

    def worth(self):
        return sum(row.worth for row in self.rows)


def inputs(check, seed):
    """The generator that a check draws from, its own, so that it does not matter what else is graded."""
    return torch.Generator().manual_seed(seed + CHECKS.index(check))


def request(check, seed, critic=None, calls=1, gradients=None, **options):
    """What the worker gets with the inputs of a call; its random numbers have a seed of their own."""
    seed = (7919 * seed + CHECKS.index(check) + 1) % 2**32
    return {"critic": critic, "calls": calls, "gradients": gradients, "options": options, "seed": seed}


class Grader:
    def __enter__(self):
        if not hasattr(os, "fork"):
            raise GraderError(NO_FORK)
        self.worker = Worker()
        prctl(DUMPABLE, 0)  # what is right stands in this process's memory
        return self

    def __exit__(self, *problem):
        self.worker.close()
        prctl(DUMPABLE, 1)

    def grade(self, path, time_limit=10.0, total_limit=120.0, checks=CHECKS, seed=None):
        """The Grades of a folder, archive or notebook; SubmissionError where there is nothing to grade."""
        seed = secrets.randbits(32) if seed is None else seed
        return Grading(self.worker, time_limit, total_limit, seed).run(path, checks)


def grade(path, **options):
    with Grader() as grader:
        return grader.grade(path, **options)


class Grading:
    """One submission's grading: its deadline, its random inputs, and what is to be said about it."""

    def __init__(self, worker, time_limit, total_limit, seed):
        self.worker, self.time_limit, self.total_limit, self.seed = worker, time_limit, total_limit, seed
        self.began, self.rows, self.notes, self.slow = time.monotonic(), [], [], set()
        self.status, self.file, self.found, self.unusable = "graded", None, {}, None

    def run(self, path, checks):
        pieces = path if isinstance(path, list) else [Piece(Path(path))]
        self.found, self.notes = collect(pieces, self.worker.files, sorted({check.file for check in checks}))
        try:
            for file in self.found:
                self.grade_file(file, [check for check in checks if check.file == file])
        finally:
            self.worker.end_file()
        seconds, notes = time.monotonic() - self.began, list(dict.fromkeys(self.notes))
        if any(found.status == "ambiguous" for found in self.found.values()):
            self.status = "ambiguous"  # which needs somebody to look at it, more than others
        return Grades(self.rows, notes, seconds, self.status, self.seed)

    def left(self):
        return self.began + self.total_limit - time.monotonic()

    def grade_file(self, file, checks):
        self.file, self.unusable = None, self.found[file].problem
        if self.unusable:
            self.notes.append(self.unusable)
            self.status = self.found[file].status
        for check in checks:
            sentence = None
            try:
                check.run(partial(self.ask, check, file), inputs(check, self.seed))
            except (Lost, NotThere) as reason:
                sentence = str(reason)
                if isinstance(reason, TooSlow):
                    self.slow.add(check.function)
                    self.status = "timed out"
            self.rows.append(Row(*check[:4], 0 if sentence else check.marks, sentence))
        if self.file:
            self.file.close()

    def ask(self, check, file, *tensors, **options):
        """The submission's Answer to a check that calls `ask(x, y, ..., num_samples=5)`, or Lost."""
        self.load(file)
        if check.function not in self.file.defined:
            raise NotThere("the function is missing")
        if self.left() <= 0:
            raise TooSlow(f"not tried: a whole grading may take {self.total_limit:g} seconds")
        seconds = self.time_limit * (AFTER_TIMEOUT if check.function in self.slow else 1)
        seconds = round(min(seconds, max(self.left(), 0.1)), 2)
        answer = self.file.ask(check.function, request(check, self.seed, **options), list(tensors), seconds)
        for number in answer.changed:
            self.notes.append(f"{check.function} changes its argument number {number + 1} in place")
        return answer

    def load(self, file):
        if self.unusable:
            raise NotThere(self.unusable)
        if self.file and self.file.alive():
            return
        path, needed, *_ = self.found[file]
        self.load_once(file, path, needed)
        if self.file.ended and needed[:1] != [-1]:
            self.notes.append(f"{file} {self.file.ended}: {ONLY_NEEDED}")
            self.found[file] = Found(path, [-1, *needed])
            self.load_once(file, path, [-1, *needed])
        if self.file.ended or (self.file.stopped and not self.file.defined):
            self.status = "does not import"
        if self.file.ended:
            self.notes.append(f"{file} {self.file.ended}")
            self.unusable = f"{file} could not be loaded"
            raise NotThere(self.unusable)

    def load_once(self, file, path, needed):
        """Load it, and note what is to be said of it."""
        functions = sorted({check.function for check in CHECKS if check.file == file})
        seconds = min(self.time_limit, max(self.left(), 1))
        self.file = self.worker.load(path, functions, needed, seconds, self.total_limit)
        for name in self.file.missing:
            self.notes.append(f"{file} imports {name}, which is not installed and not in the folder")
        if self.file.compiled:
            self.notes.append("torch.compile is off while grading")
        for line, name, message in self.file.stopped:
            slow = f"was stopped after {self.time_limit:g} seconds of importing"
            what = slow if name == "TooLong" else raised(name, message)
            self.notes.append(f"{file}, line {line}, {what}: {ONLY_NEEDED}")
