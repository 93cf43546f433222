"""Grade a whole class: the students side by side, and keep what is done if interrupted."""

import contextlib
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from . import pages
from .grading import Grader, Grades
from .report import rows_of, write_whole
from .submission import SubmissionError

NOT_GRADED = "not graded"  # the status where the grading itself failed, so that it is tried again next time


def file_name(name):
    """A name that every file system takes, another one for each submission."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).strip(".")[:60]
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return safe if safe == name.lower() != "index" else f"{safe}-{digest[:8]}"


def record(name, mark, grades):
    """What is kept of one submission, as plain values."""
    about = {"name": name, "fingerprint": mark, "status": grades.status, "seed": grades.seed, "notes": grades.notes}
    return about | {"total": grades.total(), "worth": grades.worth(), "checks": rows_of(grades)}


class Course:
    """The submissions of a class and the folder that takes what comes of them."""

    def __init__(self, found, out, checks, limits, assignment=""):
        self.found, self.out, self.checks, self.limits, self.assignment = found, Path(out), checks, limits, assignment
        self.graders, self.records, self.began = [], {}, time.monotonic()
        self.stopped = False  # by the user: what is being graded then is not kept
        (self.out / "grades").mkdir(parents=True, exist_ok=True)

    def grade_all(self, jobs):
        """Grade what has not been graded yet; the records of all."""
        waiting = [name for name in self.found if not self.already_graded(name)]
        if len(waiting) < len(self.found):
            print(f"{len(self.found) - len(waiting)} of {len(self.found)} have been graded before")
        pool = ThreadPoolExecutor(jobs)
        with contextlib.ExitStack() as stack:
            self.graders = [stack.enter_context(Grader()) for _ in range(jobs)]
            try:
                futures = [pool.submit(self.grade_one, name) for name in waiting]
                for done, future in enumerate(as_completed(futures), start=1):
                    self.progress(done, len(waiting), future.result())
            except KeyboardInterrupt:
                self.stopped = True
                raise
            finally:
                pool.shutdown(wait=not self.stopped, cancel_futures=True)
                self.write_summary()
        return [self.records[name] for name in self.found]

    def already_graded(self, name):
        try:
            kept = json.loads(self.kept(name).read_bytes())
            if kept["fingerprint"] != self.fingerprint(name) or kept["status"] == NOT_GRADED:
                return False
            pages.feedback(kept)
        except (OSError, ValueError, KeyError, TypeError):
            return False
        self.records[name] = kept
        return True

    def fingerprint(self, name):
        """What changes when a submission, the limits or the suite do, so that it is graded again."""
        paths = [path for piece in self.found[name] for path in (piece.path, *sorted(piece.path.rglob("*")))]
        seen = [(str(path), path.is_file() and (path.lstat().st_size, path.lstat().st_mtime_ns)) for path in paths]
        asked = [check.name for check in self.checks], sorted(self.limits.items())
        suite = [file.read_text(encoding="utf-8") for file in sorted(Path(__file__).parent.glob("*.py"))]
        return hashlib.sha256(json.dumps([seen, asked, suite]).encode()).hexdigest()

    def kept(self, name):
        return self.out / "grades" / f"{file_name(name)}.json"

    def grade_one(self, name):
        """Grade one, whatever happens, and write its record and its page."""
        mark, grader, sentence = None, self.graders.pop(), None
        try:
            mark = self.fingerprint(name)
            grades = grader.grade(self.found[name], checks=self.checks, **self.limits)
        except SubmissionError as problem:
            status, sentence = "not readable", str(problem)
        except Exception as problem:
            status, sentence = NOT_GRADED, f"the grading itself failed: {type(problem).__name__}: {problem}"
        self.graders.append(grader)
        if sentence:
            lost = dict.fromkeys((check.name for check in self.checks), sentence)
            grades = Grades(self.checks, lost, [sentence], 0, status)
        done = record(name, mark, grades)
        if not self.stopped:
            self.records[name] = done
            write_whole(self.kept(name), json.dumps(done))
            write_whole(self.out / f"{file_name(name)}.html", pages.feedback(done))
        return done

    def progress(self, done, count, last):
        left = (time.monotonic() - self.began) / done * (count - done)
        time_left = f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
        about = f"{last['total']:>6g} / {last['worth']:g}  {last['status']}, {time_left}"
        print(f"{done:>4} of {count}  {pages.shown(last['name']):<32}{about}", flush=True)

    def write_summary(self):
        done = [self.records[name] for name in self.found if name in self.records]
        write_whole(self.out / "marks.csv", pages.csv_text(done), "utf-8-sig")  # Excel takes others for Latin-1
        links = {name: f"{file_name(name)}.html" for name in self.found}
        write_whole(self.out / "index.html", pages.summary(done, links, self.assignment))
