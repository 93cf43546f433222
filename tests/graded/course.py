"""Grade a whole class: find the submissions, grade them side by side, and keep what is done if interrupted."""

import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from . import pages
from .grading import Grader
from .report import by_function, write_whole
from .sessions import GraderError
from .submission import SubmissionError, holds, unzip

CLASS_BYTES, CLASS_FILES = 20 * 2**30, 200_000  # of an archive with all submissions
AGAIN = "not graded"  # the status of a submission whose grading failed for a reason of ours: it is graded again next time


def find(source, scratch):
    """Name to path of each submission in a folder or an archive: folders, archives and notebooks, as they lie side by side."""
    if source.is_file():
        folder = Path(scratch, source.stem)
        folder.mkdir()
        unzip(source, folder, CLASS_BYTES, CLASS_FILES)
        source = folder
    if not source.is_dir():
        raise SubmissionError(f"there is no {source}")
    if holds(source):
        return {source.resolve().name: source}
    inside = sorted(path for path in source.iterdir() if not path.name.startswith((".", "__")))
    folders = [path for path in inside if path.is_dir()]
    paths = folders + [path for path in inside if path.suffix in (".zip", ".ipynb")]
    if len(folders) == len(paths) == 1 and not holds(folders[0]):
        return find(folders[0], scratch)  # an export is one folder with all of them
    found = {}
    for path in paths:
        name = path.name if path.is_dir() else path.stem
        found[name if name not in found else path.name] = path
    if not found:
        raise SubmissionError(f"{source} holds no folder, .zip or .ipynb: no submissions")
    return found


def fingerprint(path, checks):
    """What changes when a submission or what is asked of it does, so that it is graded again."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    seen = [(str(file.relative_to(path)), file.lstat().st_size, file.lstat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([seen, [check.name for check in checks]]).encode()).hexdigest()


def file_name(name):
    """A name that every file system takes, another one for each submission."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).strip(".")[:80]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"


def record(name, mark, grades):
    """What is kept of one submission, as plain values."""
    checks = [
        {"question": check.question, "function": check.function, "title": check.title, "worth": check.marks}
        | {"marks": grades.marks(check), "sentence": grades.lost[check.name]}
        for check in grades.checks
    ]
    questions = {}
    for question, _, marks, worth, _ in by_function(grades):
        before = questions.get(question, [0, 0])
        questions[question] = [before[0] + marks, before[1] + worth]
    about = {"name": name, "fingerprint": mark, "status": grades.status, "total": grades.total(), "worth": grades.worth()}
    return {
        **about,
        "seconds": grades.seconds,
        "seed": grades.seed,
        "notes": grades.notes,
        "questions": questions,
        "checks": checks,
    }


def failed(name, mark, status, sentence, checks):
    """The same of one that could not be graded."""
    questions = {check.question: [0, 0] for check in checks}
    about = {"name": name, "fingerprint": mark, "status": status, "total": 0, "worth": sum(check.marks for check in checks)}
    return {**about, "seconds": 0, "seed": 0, "notes": [sentence], "questions": questions, "checks": []}


class Course:
    """The submissions of a class and the folder that takes what comes of them."""

    def __init__(self, found, out, checks, limits):
        self.found, self.out, self.checks, self.limits = found, Path(out), checks, limits
        self.graders, self.mine, self.records, self.began = [], threading.local(), {}, time.monotonic()
        self.stopped = False  # by the user: what is being graded then is not kept
        (self.out / "grades").mkdir(parents=True, exist_ok=True)

    def grade_all(self, jobs):
        """Grade what has not been graded yet; the records of all."""
        waiting = [name for name in self.found if not self.already_graded(name)]
        if len(waiting) < len(self.found):
            print(f"{len(self.found) - len(waiting)} of {len(self.found)} have been graded before")
        pool = ThreadPoolExecutor(jobs)
        try:
            futures = [pool.submit(self.grade_one, name) for name in waiting]
            for done, future in enumerate(as_completed(futures), start=1):
                self.progress(done, len(waiting), future.result())
            pool.shutdown()
        except KeyboardInterrupt:
            self.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            self.close()
            self.write_summary()
        return [self.records[name] for name in self.found]

    def already_graded(self, name):
        try:
            kept = json.loads(self.kept(name).read_bytes())
            if kept["fingerprint"] != fingerprint(self.found[name], self.checks) or kept["status"] == AGAIN:
                return False
            pages.feedback(kept)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        self.records[name] = kept
        return True

    def kept(self, name):
        return self.out / "grades" / f"{file_name(name)}.json"

    def grade_one(self, name):
        """Grade one, whatever happens, and write its record and its page."""
        mark = None
        try:
            mark = fingerprint(self.found[name], self.checks)
            done = record(name, mark, self.grader().grade(self.found[name], checks=self.checks, **self.limits))
        except SubmissionError as problem:
            done = failed(name, mark, "not readable", str(problem), self.checks)
        except (GraderError, Exception) as problem:
            done = failed(name, mark, AGAIN, f"the grading itself failed: {type(problem).__name__}: {problem}", self.checks)
        if self.stopped:
            return done
        self.records[name] = done
        write_whole(self.kept(name), json.dumps(done))
        write_whole(self.out / f"{file_name(name)}.html", pages.feedback(done))
        return done

    def grader(self):
        """This thread's own."""
        if not hasattr(self.mine, "grader"):
            self.mine.grader = Grader().__enter__()
            self.graders.append(self.mine.grader)
        return self.mine.grader

    def close(self):
        while self.graders:
            self.graders.pop().__exit__()

    def progress(self, done, count, last):
        left = (time.monotonic() - self.began) / done * (count - done)
        time_left = f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
        name = pages.one_line(last["name"])
        print(
            f"{done:>4} of {count}  {name:<32}{last['total']:>6g} / {last['worth']:g}  {last['status']}, {time_left}",
            flush=True,
        )

    def write_summary(self):
        done = [self.records[name] for name in self.found if name in self.records]
        write_whole(self.out / "marks.csv", pages.csv_text(done))
        links = {name: f"{file_name(name)}.html" for name in self.found}
        write_whole(self.out / "index.html", pages.summary(done, links))
