"""Grade a whole class: the students side by side, and keep what is done if interrupted."""

import contextlib
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from . import report
from .grading import Grader, Grades, Row
from .submission import SubmissionError

NOT_GRADED = "not graded"  # the status where the grading itself failed, so that it is tried again next time


def file_name(name):
    """A name that every file system takes, another one for each submission."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).strip(".")[:60]
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return safe if safe == name.lower() != "index" else f"{safe}-{digest[:8]}"


class Course:
    def __init__(self, found, out, checks, limits, assignment=""):
        self.found, self.out, self.checks, self.limits, self.assignment = found, Path(out), checks, limits, assignment
        self.graders, self.graded, self.began = [], {}, time.monotonic()
        self.stopped = False  # by the user: what is being graded then is not kept
        (self.out / "grades").mkdir(parents=True, exist_ok=True)

    def grade_all(self, jobs):
        waiting = [name for name in self.found if not self.already_graded(name)]
        if len(waiting) < len(self.found):
            print(f"{len(self.found) - len(waiting)} of {len(self.found)} have been graded before")
        pool = ThreadPoolExecutor(jobs)
        with contextlib.ExitStack() as stack:
            self.graders = [stack.enter_context(Grader()) for _ in range(jobs)]
            try:
                futures = [pool.submit(self.grade_one, name) for name in waiting]
                for done, future in enumerate(as_completed(futures), start=1):
                    self.progress(done, len(waiting), *future.result())
            except KeyboardInterrupt:
                self.stopped = True
                raise
            finally:
                pool.shutdown(wait=not self.stopped, cancel_futures=True)
                graded = {name: self.graded[name] for name in self.found if name in self.graded}
                report.write_whole(self.out / "marks.csv", report.csv_text(graded), "utf-8-sig")  # for Excel
                links = {name: f"{file_name(name)}.html" for name in self.found}
                report.write_whole(self.out / "index.html", report.summary(graded, links, self.assignment))
        return self.graded

    def already_graded(self, name):
        try:
            mark, (rows, *others) = json.loads(self.kept(name).read_bytes())
            grades = Grades([Row(*row) for row in rows], *others)
            if mark != self.fingerprint(name) or grades.status == NOT_GRADED:
                return False
            report.feedback(name, grades)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        self.graded[name] = grades
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
            grades = Grades([Row(*check[:4], 0, sentence) for check in self.checks], [sentence], 0, status)
        if not self.stopped:
            self.graded[name] = grades
            report.write_whole(self.kept(name), json.dumps([mark, grades]))
            report.write_whole(self.out / f"{file_name(name)}.html", report.feedback(name, grades))
        return name, grades

    def progress(self, done, count, name, grades):
        left = (time.monotonic() - self.began) / done * (count - done)
        time_left = f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
        about = f"{grades.total():>6g} / {grades.worth():g}  {grades.status}, {time_left}"
        print(f"{done:>4} of {count}  {report.shown(name):<32}{about}", flush=True)
