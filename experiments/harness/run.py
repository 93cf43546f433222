"""A run directory: the whole record of one run, each file written so that a reader never meets half of one."""

import json
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import torch

from experiments.harness.files import (
    UserError,
    load_plain,
    os_errors_as_user_errors,
    save_plain,
    say,
    user_error_if_unreadable,
    write_atomically,
)
from experiments.harness.options import AnyOptions, Options, fields, from_record, label, to_record

START_ANEW = "delete it to start anew, or name another --run-dir"


class RunDirectory:
    """The files of one run. Only one process at a time may have it open; it is created as a context manager."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.figures = self.folder / "figures"
        self.checkpoint = self.folder / "checkpoint.pt"
        self.record: dict[str, Any] = {}  # options.json
        self._log: list[dict] = []  # log.jsonl
        self._lock = filelock.FileLock(self.folder / ".lock", timeout=0)

    def __enter__(self) -> "RunDirectory":
        with os_errors_as_user_errors(f"write to {self.folder}"):
            self.figures.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise UserError(
                    f"another process is at work in {self.folder}; wait for it or name another --run-dir"
                ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def read_options(self, requested: AnyOptions, presets: Mapping[str, AnyOptions]) -> AnyOptions | None:
        """The options of the run that is there, those of the command as `requested`, or None if there is no run."""
        path = self.folder / "options.json"
        if not path.exists():
            return None
        with user_error_if_unreadable(path, "name another --run-dir"):
            self.record = json.loads(path.read_text(encoding="utf-8"))
            if (question := self.record["question"]) == requested.question:
                return from_record(self.record, requested, presets)
        raise UserError(f"{self.folder} holds a run of {question}, not {requested.question}; name another --run-dir")

    def write_options(self, options: Options, digest: str, device: torch.device) -> None:
        """Write options.json: the options, SHA-256 of the data, and versions and hardware that numbers may depend on.

        Of a run that is there already, the history gets what has changed since: name to value before and now.
        """
        new = {**to_record(options), "dataset_digest": digest, "versions": versions(device)}
        if self.record:
            before, now = ({**record, **record.get("versions", {})} for record in (self.record, new))
            changed = {n: [before[n], v] for n, v in now.items() if n != "versions" and before.get(n, v) != v}
            for name in (field.name for field in fields(options, "length") if field.name in changed):
                if options.schedule == "cosine":
                    old, length = changed[name]
                    say(
                        f"made longer, from {old} to {length}: not the run that {length} from the start would have been"
                    )
            entry = {"time": datetime.now().isoformat(timespec="seconds"), "changed": changed}
            new["history"] = [*self.record.get("history", []), *([entry] if changed else [])]
        self.record = new
        self.write_json("options.json", new)

    def write_json(self, name: str, content: dict) -> None:
        write_atomically(self.folder / name, (json.dumps(content, indent=2) + "\n").encode())

    def save(self, state: dict, options: Options) -> None:
        """Replace the checkpoint by `state`, a dictionary of plain types and tensors; log what belongs to it first."""
        save_plain(self.checkpoint, {"options": to_record(options), **state, "log_entries": len(self._log)})

    def load(self, options: Options) -> dict | None:
        """The last checkpoint's state, or None. UserError if it is damaged, or of a run with other options."""
        if not self.checkpoint.exists():
            return None
        state = load_plain(self.checkpoint, START_ANEW)
        with user_error_if_unreadable(self.checkpoint, START_ANEW):
            saved, now = state["options"], to_record(options)
            if any(saved.get(field.name, now[field.name]) != now[field.name] for field in fields(options, "run")):
                raise ValueError("it belongs to another run than options.json")
        return state

    def resume(self, options: Options) -> dict | None:
        """What load gives, after cutting log.jsonl back to where that checkpoint was written."""
        state = self.load(options)
        with user_error_if_unreadable(self.checkpoint, START_ANEW):
            self._log = self.read_log()[: state["log_entries"]] if state else []
        self._write_log()
        return state

    def log(self, entry: dict) -> None:
        """Append one entry to log.jsonl."""
        self._log.append(entry)
        self._write_log()

    def _write_log(self) -> None:
        write_atomically(self.folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in self._log).encode())

    def read_log(self) -> list[dict]:
        """The entries of log.jsonl. Empty if there is no log."""
        path = self.folder / "log.jsonl"
        if not path.exists():
            return []
        with user_error_if_unreadable(path, "move it away"):
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def runs_in_figure(run: RunDirectory, options: Any, presets: Mapping[str, Any]) -> list[tuple[str, RunDirectory]]:  # noqa: ANN401
    """This run and those of --beside, each with a label of what sets it apart. UserError if one is no such run."""
    runs = [(label(options, presets), run)]
    for folder in options.beside:
        recorded = (other := RunDirectory(folder)).read_options(options, presets)
        if recorded is None:
            raise UserError(f"--beside {folder} holds no run; name the folder of a run's options.json")
        runs.append((label(recorded, presets), other))
    return runs


def versions(device: torch.device) -> dict[str, Any]:
    """The software and hardware a run depends on, for its record."""
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    software = {"python": platform.python_version(), "torch": torch.__version__, "platform": platform.platform()}
    return {**software, "device": hardware, "threads": torch.get_num_threads()}
