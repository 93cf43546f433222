"""A run directory: the whole record of one run, each file written so that a reader never meets half of one."""

import contextlib
import copy
import io
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from experiments.errors import UserError, understood
from experiments.files import cannot, load_plain, read, write_atomically
from experiments.options import AnyOptions, Options, fields, from_record, resumed_options, to_record

CHECKPOINT = "checkpoint.pt"
STARTED = ("options.json", "log.jsonl", CHECKPOINT)  # what training writes
RESULTS = ("metrics.json", "curves.csv", "first_objective.pt", "generator.pt", "classifier.pt", "figures")
OWN = (*STARTED, *RESULTS)  # what makes up a run
MOVING = "previous.moving"  # where a run is while it is moved aside


class RunDirectory:
    """The files of one run. Only one process at a time may have it open; use it as a context manager."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.figures = self.folder / "figures"
        self.checkpoint = self.folder / CHECKPOINT
        self._lock = filelock.FileLock(self.folder / ".lock", timeout=0)
        self._unsaved: dict[str, Any] | None = None

    def __enter__(self) -> "RunDirectory":
        with cannot(f"write to {self.folder}"):
            self.figures.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise UserError(f"another process is at work in {self.folder}; wait for it or name another --run-dir") from None
            if (self.folder / MOVING).is_dir():  # left by a process that was killed
                self._set_aside()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is KeyboardInterrupt and self._unsaved is not None:
                self._write_unsaved()
        finally:
            self._lock.release()

    def resumed(self, asked: AnyOptions, named: dict[str, Any], device: torch.device, lengthen: bool) -> AnyOptions | None:
        """The options of the run that is there, if there is one, once they are seen to agree with the command line.

        asked, named: what the command line asks of a new run, and the options it names. If lengthen, a greater length
        than the run's is recorded as its own.
        """
        recorded = self.read_options(asked)
        if recorded is None:
            if lengthen:
                print(f"nothing to resume in {self.folder}: a new run starts", flush=True)
            return None
        if lengthen:
            self._say_what_is_new(device)
        options = resumed_options(recorded, named, lengthen)
        if lengthen and options != recorded:
            self.write_options(options, device)
        return options

    def _say_what_is_new(self, device: torch.device) -> None:
        """Print in what this process differs from the one that began the run, if the numbers may depend on it."""
        before, now = json.loads(read(self.folder / "options.json"))["versions"], versions(device)
        new = [name for name in ("torch", "device", "gpu", "threads") if name in before and before[name] != now[name]]
        if new:
            then, today = (", ".join(f"{name} {which[name]}" for name in new) for which in (before, now))
            print(f"begun with {then}, now {today}: the run goes on, but its last digits may be others", flush=True)

    def begin(self, options: Options, device: torch.device) -> None:
        """Make this the directory of a new run: move aside an earlier one, then write options.json.

        UserError if files are in the way that are no run of ours.
        """
        foreign = [name for name in STARTED if (self.folder / name).exists()]
        if self._is_ours():
            if self.checkpoint.exists():
                self._set_aside()
        elif foreign:
            raise UserError(
                f"{self.folder / foreign[0]} is in the way, and is of no run that can be read; name another --run-dir"
            )
        self.write_options(options, device)

    def _is_ours(self) -> bool:
        with contextlib.suppress(OSError, ValueError, RecursionError):
            content = json.loads(read(self.folder / "options.json"))
            return isinstance(content, dict) and {"question", "versions"} <= content.keys()
        return False

    def _set_aside(self) -> None:
        """Move what makes up a run, and nothing else, into a folder previous-1, previous-2, ... of its own.

        It gets that name when all has been moved; if that is cut short, the next process here does the rest.
        """
        number = 1
        while (aside := self.folder / f"previous-{number}").exists():
            number += 1
        with cannot(f"move the earlier run in {self.folder} aside"):
            moving = self.folder / MOVING
            moving.mkdir(exist_ok=True)
            for name in OWN:
                with contextlib.suppress(FileNotFoundError):
                    if not (moving / name).is_dir():  # figures are there once moved, and may be here anew
                        (self.folder / name).rename(moving / name)
            moving.rename(aside)
            self.figures.mkdir(exist_ok=True)
        print(f"moved the earlier run to {aside}", flush=True)

    def write_json(self, name: str, content: dict) -> None:
        write_atomically(self.folder / name, (json.dumps(content, indent=2) + "\n").encode())

    def write_options(self, options: Options, device: torch.device) -> None:
        """Write options.json: the options, and the versions and hardware that the run's numbers may depend on."""
        self.write_json("options.json", {**to_record(options), "versions": versions(device)})

    def read_options(self, asked: AnyOptions) -> AnyOptions | None:
        """The options of the run that is there, those of the command as in `asked`, or None if there is none.

        UserError if one of them is missing or improper, or if the run answers another question.
        """
        path = self.folder / "options.json"
        try:
            with understood(path, "damaged or of another version", "name another --run-dir"):
                record = json.loads(read(path))
                if not isinstance(record.pop("versions"), dict):
                    raise ValueError("no proper 'versions'")
                if (question := record.pop("question")) == asked.question:
                    return from_record(record, asked)
        except FileNotFoundError:
            return None
        raise UserError(f"{self.folder} holds a run of {str(question)[:9]}, not {asked.question}; name another --run-dir")

    def beside(self, options: AnyOptions, *alike: str) -> Iterator[tuple["RunDirectory", AnyOptions]]:
        """This run, then those beside it of the same question and equal in the options `alike`, with their options.

        What a figure can compare this run with.
        """
        for folder in dict.fromkeys((self.folder.resolve(), *sorted(self.folder.resolve().parent.iterdir()))):
            with contextlib.suppress(UserError):  # a neighbour of another question, or a damaged one
                other = RunDirectory(folder).read_options(options)
                if other and all(getattr(other, name) == getattr(options, name) for name in alike):
                    yield RunDirectory(folder), other

    def save(self, state: dict, options: Options) -> None:
        """Replace the checkpoint by `state`, a dictionary of plain types and tensors; log what belongs to it first."""
        self._unsaved = self._content(state, options)
        self._write_unsaved()

    def save_if_interrupted(self, state: dict, options: Options) -> None:
        """Have `state`, as it is now, saved if Ctrl-C ends the run before the next call of this or of save."""
        self._unsaved = copy.deepcopy(self._content(state, options))

    def _content(self, state: dict, options: Options) -> dict[str, Any]:
        return {"options": to_record(options), **state, "log_entries": len(self.read_log())}

    def _write_unsaved(self) -> None:
        buffer = io.BytesIO()
        torch.save(self._unsaved, buffer)
        write_atomically(self.checkpoint, buffer.getbuffer())
        self._unsaved = None

    def understood(self) -> contextlib.AbstractContextManager[None]:
        """Turn whatever is raised by a checkpoint that lacks something, or has it otherwise, into a UserError."""
        return understood(self.checkpoint, "damaged or of another version", "delete it to start anew")

    def load(self, options: Options, name: str = CHECKPOINT) -> dict | None:
        """The last checkpoint's state, on the CPU, or None if there is none. Executes no code that the file may hold.

        UserError if the file is damaged, or is no checkpoint of a run with these options, whatever its length.
        """
        path = self.folder / name
        try:
            with understood(path, "damaged or no checkpoint", "delete it to start anew"):
                state = load_plain(path)
        except FileNotFoundError:
            return None
        expected = to_record(options)
        saved = state.get("options")
        if (
            not isinstance(saved, dict)
            or {**saved, **{f.name: expected[f.name] for f in fields(options, "length", "place")}} != expected
        ):
            raise UserError(f"{path} belongs to another run than options.json beside it; delete it to start anew")
        return state

    def resume(self, options: Options, name: str = CHECKPOINT) -> dict | None:
        """What load gives, after cutting log.jsonl back to where that checkpoint was written."""
        state = self.load(options, name)
        entries = self.read_log()
        with self.understood():
            del entries[state["log_entries"] if state else 0 :]
        write_atomically(self.folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries).encode())
        return state

    def log(self, entry: dict) -> None:
        """Append one entry to log.jsonl."""
        with cannot(f"write {self.folder / 'log.jsonl'}"), open(self.folder / "log.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")

    def read_log(self) -> list[dict]:
        """The entries of log.jsonl, without what is no entry, such as a last line that was cut short."""
        path = self.folder / "log.jsonl"
        entries, content = [], b""
        with contextlib.suppress(FileNotFoundError), understood(path, "damaged", "move it away"):
            content = read(path)
        for line in content.splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                if isinstance(entry := json.loads(line), dict):
                    entries.append(entry)
        return entries


def versions(device: torch.device) -> dict[str, Any]:
    """The software and hardware a run depends on, for its record."""
    gpu = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if gpu else None,
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "tf32": torch.backends.cudnn.allow_tf32 if gpu else None,
        "threads": torch.get_num_threads(),
    }
