"""Grade a whole class: find the submissions, grade them side by side, and keep what is done if interrupted."""

import hashlib
import importlib.util
import json
import re
import shutil
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from . import pages
from .grading import Grader, Grades
from .notebook import functions_of
from .report import rows_of, write_whole
from .sessions import GraderError
from .submission import SubmissionError, file_meant, holds, unpack

CLASS_BYTES, CLASS_FILES = 20 * 2**30, 200_000  # of an archive with all submissions
NOBODYS = ("", ".csv", ".html", ".json", ".log", ".md", ".py", ".txt", ".yaml", ".yml")  # suffixes of a class's own files
AGAIN = "not graded"  # the status of a submission whose grading failed for a reason of ours: it is graded again next time


def find(source, scratch, out):
    """Name to path of each student's submission in a folder or an archive, side by side; notes on what is nobody's."""
    if source.is_file():
        folder = Path(scratch, source.stem)
        folder.mkdir()
        unpack(source, folder, CLASS_BYTES, CLASS_FILES)
        source = folder
    if not source.is_dir() or source.resolve() == Path(out).resolve():
        raise SubmissionError(f"there is no {source}" if not source.is_dir() else f"--out: {out} is the class's own folder")
    students, notes, pieces = [], [], defaultdict(list)
    for path in sorted(path for path in source.iterdir() if not path.name.startswith((".", "__"))):
        if path.resolve() == Path(out).resolve() or ((path / "marks.csv").is_file() and (path / "grades").is_dir()):
            notes.append(f"{path.name} was left out: results of a grading")
        elif file_meant(path) and (owner := re.split(r"[-_ ]*q\d", path.name, flags=re.I)[0]):
            pieces[owner].append(path)
        elif path.is_file() and (file_meant(path) or (path.suffix.lower() in NOBODYS and not functions_of(path))):
            notes.append(f"{path.name} was left out: nobody's")
        else:
            students.append(path)
    for owner, paths in pieces.items():  # ann_q1_solution.py and ann_q2_solution.py
        students.append(Path(scratch, ".pieces", owner))
        students[-1].mkdir(parents=True)
        [shutil.copy2(path, students[-1]) for path in paths]
    if len(students) == 1 and students[0].is_dir() and not pieces and not holds(students[0]):
        found, more = find(students[0], scratch, out)  # an export is one folder with all of them
        return found, notes + more
    if not students and holds(source):
        return {source.resolve().name: source}, []
    if not students:
        raise SubmissionError(f"{source} holds no folder, archive or .ipynb: no submissions")
    found = {}
    for path in students:
        names = [path.name if path.is_dir() else path.stem.removesuffix(".tar"), path.name, f"{path.name} (files)"]
        found[next(name for name in names if name not in found)] = path
    return found, notes


def fingerprint(path, asked):
    """What changes when a submission, what is asked of it or the suite does, so that it is graded again."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    seen = [(str(file.relative_to(path)), file.lstat().st_size, file.lstat().st_mtime_ns) for file in files]
    suite = [file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(json.dumps([seen, asked, suite, bool(importlib.util.find_spec("IPython"))]).encode()).hexdigest()


def file_name(name):
    """A name that every file system takes, another one for each submission."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).strip(".")[:60]
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return safe if safe == name.lower() != "index" else f"{safe}-{digest[:8]}"


def record(name, mark, grades):
    """What is kept of one submission, as plain values."""
    about = {"name": name, "fingerprint": mark, "status": grades.status, "total": grades.total(), "worth": grades.worth()}
    return about | {"seconds": grades.seconds, "seed": grades.seed, "notes": grades.notes, "checks": rows_of(grades)}


class Course:
    """The submissions of a class and the folder that takes what comes of them."""

    def __init__(self, found, out, checks, limits, notes=()):
        self.found, self.out, self.checks, self.limits, self.notes = found, Path(out), checks, limits, notes
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
            if kept["fingerprint"] != self.fingerprint(name) or kept["status"] == AGAIN:
                return False
            pages.feedback(kept)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        self.records[name] = kept
        return True

    def fingerprint(self, name):
        return fingerprint(self.found[name], [[check.name for check in self.checks], sorted(self.limits.items())])

    def kept(self, name):
        return self.out / "grades" / f"{file_name(name)}.json"

    def grade_one(self, name):
        """Grade one, whatever happens, and write its record and its page."""
        mark = status = None
        try:
            mark = self.fingerprint(name)
            grades = self.grader().grade(self.found[name], checks=self.checks, **self.limits)
        except SubmissionError as problem:
            status, sentence = "not readable", str(problem)
        except (GraderError, Exception) as problem:
            status, sentence = AGAIN, f"the grading itself failed: {type(problem).__name__}: {problem}"
        if status:
            grades = Grades(self.checks, dict.fromkeys((check.name for check in self.checks), sentence), [sentence], 0, status)
        done = record(name, mark, grades)
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
        marks = f"{last['total']:>6g} / {last['worth']:g}"
        print(f"{done:>4} of {count}  {pages.shown(last['name']):<32}{marks}  {last['status']}, {time_left}", flush=True)

    def write_summary(self):
        done = [self.records[name] for name in self.found if name in self.records]
        write_whole(self.out / "marks.csv", pages.csv_text(done))
        links = {name: f"{file_name(name)}.html" for name in self.found}
        write_whole(self.out / "index.html", pages.summary(done, links, self.notes))
