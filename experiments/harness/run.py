"""A run directory: the whole record of one run, each file written so that a reader never meets half of one."""

import contextlib
import io
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from experiments.harness import files
from experiments.harness.files import UserError, os_errors_as_user_errors, user_error_if_unreadable
from experiments.harness.options import AnyOptions, Options, fields, from_record, to_record

START_ANEW = "delete it to start anew, or name another --run-dir"


class RunDirectory:
    """The files of one run. Only one process at a time may have it open; use it as a context manager."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.figures = self.folder / "figures"
        self.checkpoint = self.folder / "checkpoint.pt"
        self.log_entries = 0  # lines of log.jsonl
        self._lock = filelock.FileLock(self.folder / ".lock", timeout=0)

    def __enter__(self) -> "RunDirectory":
        with os_errors_as_user_errors(f"write to {self.folder}"):
            self.figures.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise UserError(f"another process is at work in {self.folder}; wait for it or name another --run-dir") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def begin(self, options: Options, device: torch.device) -> None:
        """Record a new run here. UserError if a run, or a file of such a name, is there already."""
        for name in ("options.json", "log.jsonl", "checkpoint.pt"):
            if (self.folder / name).exists():
                remedy = "go on with that run by --resume, or name another --run-dir"
                raise UserError(f"{self.folder / name} is there already; {remedy}")
        self.write_options(options, device)

    def part(self, name: str) -> "RunDirectory":
        """A training of its own within this run: a folder with its own checkpoint and log."""
        part = RunDirectory(self.folder / name)
        part.folder.mkdir(exist_ok=True)
        return part

    def write_json(self, name: str, content: dict) -> None:
        files.write_atomically(self.folder / name, (json.dumps(content, indent=2) + "\n").encode())

    def write_options(self, options: Options, device: torch.device) -> None:
        """Write options.json: the options, and the versions and hardware that the run's numbers may depend on."""
        self.write_json("options.json", {**to_record(options), "versions": versions(device)})

    def read_options(self, asked: AnyOptions) -> AnyOptions | None:
        """The options of the run that is there, those of the command as in `asked`, or None if there is no run."""
        path = self.folder / "options.json"
        if not path.exists():
            return None
        with user_error_if_unreadable(path, "name another --run-dir"):
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["question"] == asked.question:
                return from_record(record, asked)
        raise UserError(f"{self.folder} holds a run of {record['question']}, not {asked.question}; name another --run-dir")

    def comparable_runs(self, options: AnyOptions, *equal: str) -> Iterator[tuple["RunDirectory", AnyOptions]]:
        """This run, then those beside it of the same question with equal values of the options named by `equal`."""
        for folder in dict.fromkeys((self.folder.resolve(), *sorted(self.folder.resolve().parent.iterdir()))):
            with contextlib.suppress(UserError):  # a neighbour of another question, or one that cannot be read
                other = RunDirectory(folder).read_options(options)
                if other and all(getattr(other, name) == getattr(options, name) for name in equal):
                    yield RunDirectory(folder), other

    def save(self, state: dict, options: Options) -> None:
        """Replace the checkpoint by `state`, a dictionary of plain types and tensors; log what belongs to it first."""
        buffer = io.BytesIO()
        torch.save({"options": to_record(options), **state, "log_entries": self.log_entries}, buffer)
        files.write_atomically(self.checkpoint, buffer.getbuffer())

    def load(self, options: Options) -> dict | None:
        """The last checkpoint's state, or None. UserError if it is damaged, or of a run with other options."""
        if not self.checkpoint.exists():
            return None
        state = files.load_plain(self.checkpoint, START_ANEW)
        with user_error_if_unreadable(self.checkpoint, START_ANEW):
            saved = from_record(state["options"], options)
            if any(getattr(saved, field.name) != getattr(options, field.name) for field in fields(options, "run", "record")):
                raise ValueError("it belongs to another run than options.json")
        return state

    def resume(self, options: Options) -> dict | None:
        """What load gives, after cutting log.jsonl back to where that checkpoint was written."""
        state = self.load(options)
        with user_error_if_unreadable(self.checkpoint, START_ANEW):
            self.log_entries = state["log_entries"] if state else 0
            lines = self.read_log()[: self.log_entries]
        files.write_atomically(self.folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in lines).encode())
        return state

    def log(self, entry: dict) -> None:
        """Append one entry to log.jsonl."""
        path = self.folder / "log.jsonl"
        with os_errors_as_user_errors(f"write {path}"), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self.log_entries += 1

    def read_log(self) -> list[dict]:
        """The entries of log.jsonl, without a last line that a kill has cut short. Empty if there is no log."""
        path = self.folder / "log.jsonl"
        if not path.exists():
            return []
        with user_error_if_unreadable(path, "move it away"):
            lines = path.read_text(encoding="utf-8").split("\n")
            return [json.loads(line) for line in lines[:-1]]  # a whole line ends in \n, so the last part is empty or cut


def with_stderr(estimates: Mapping[str, tuple[float, float]], suffix: str = "") -> dict[str, float]:
    """Values and standard errors by name, as metrics.json has them: name and name_stderr, each with suffix."""
    values = {f"{name}{suffix}": value for name, (value, _) in estimates.items()}
    return values | {f"{name}_stderr{suffix}": stderr for name, (_, stderr) in estimates.items()}


def versions(device: torch.device) -> dict[str, Any]:
    """The software and hardware a run depends on, for its record."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
    }
