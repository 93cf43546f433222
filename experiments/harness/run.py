"""A run directory: the whole record of one run, each file written so that a reader never meets half of one."""

import json
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import torch

from experiments.harness import files
from experiments.harness.files import UserError, user_error_if_unreadable
from experiments.harness.options import AnyOptions, Options, from_record, label, to_record

START_ANEW = "delete it to start anew, or name another --run-dir"


class RunDirectory:
    """The files of one run. Only one process at a time may have it open; as a context manager it is created."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.figures, self.checkpoint = folder, folder / "figures", folder / "checkpoint.pt"
        self.record: dict[str, Any] = {}  # options.json
        self._log: list[dict] = []  # log.jsonl
        self._lock = filelock.FileLock(folder / ".lock", timeout=0)

    def __enter__(self) -> "RunDirectory":
        with files.os_errors_as_user_errors(f"write to {self.folder}"):
            self.figures.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                busy = f"another process is at work in {self.folder}"
                raise UserError(f"{busy}; wait for it or name another --run-dir") from None
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
            question = self.record["question"]
            if question == requested.question:
                return from_record(self.record, requested, presets)
        raise UserError(f"{self.folder} holds a run of {question}, not {requested.question}; name another --run-dir")

    def write_options(self, options: Options, digest: str, device: torch.device) -> None:
        """Write options.json: the options, SHA-256 of the data, and versions and hardware that numbers may depend on.

        If a run was there, its history gets what has changed since: when, and name to value before and now.
        """
        new = {**to_record(options), "dataset_digest": digest, "versions": versions(device)}
        if self.record:
            before, now = ({**record, **record.get("versions", {})} for record in (self.record, new))
            now.pop("versions")
            changed = {name: [before[name], value] for name, value in now.items() if before.get(name, value) != value}
            if not changed:
                return
            entry = {"time": datetime.now().isoformat(timespec="seconds"), "changed": changed}
            new["history"] = [*self.record.get("history", []), entry]
        self.record = new
        self.write_json("options.json", new)

    def write_json(self, name: str, content: dict) -> None:
        files.write_atomically(self.folder / name, (json.dumps(content, indent=2) + "\n").encode())

    def save(self, state: dict, options: Options) -> None:
        """Replace the checkpoint by `state`, a dictionary of plain types and tensors; log what belongs to it first."""
        files.save_plain(self.checkpoint, {"options": to_record(options), **state, "log_entries": len(self._log)})

    def load(self) -> dict | None:
        """The last checkpoint's state, or None."""
        return files.load_plain(self.checkpoint, START_ANEW) if self.checkpoint.exists() else None

    def resume(self) -> dict | None:
        """What load gives, after cutting log.jsonl back to where that checkpoint was written."""
        state = self.load()
        with user_error_if_unreadable(self.checkpoint, START_ANEW):
            self._log = self.read_log()[: state["log_entries"]] if state else []
        self._write_log()
        return state

    def log(self, entry: dict) -> None:
        """Append one entry to log.jsonl."""
        self._log.append(entry)
        self._write_log()

    def _write_log(self) -> None:
        text = "".join(json.dumps(entry) + "\n" for entry in self._log)
        files.write_atomically(self.folder / "log.jsonl", text.encode())

    def read_log(self) -> list[dict]:
        """The entries of log.jsonl. Empty if there is no log."""
        path = self.folder / "log.jsonl"
        if not path.exists():
            return []
        with user_error_if_unreadable(path, "move it away"):
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def runs_in_figure(
    run: RunDirectory, options: AnyOptions, presets: Mapping[str, AnyOptions]
) -> list[tuple[str, RunDirectory]]:
    """This run and those of --beside, each by what sets it apart. UserError if one is no such run."""
    runs = {label(options, presets): run}
    for folder in options.beside:
        other = RunDirectory(folder)
        recorded = other.read_options(options, presets)
        if recorded is None:
            raise UserError(f"--beside {folder} holds no run; name the folder of a run's options.json")
        name = label(recorded, presets)
        runs[f"{name}, in {folder.name}" if name in runs else name] = other
    return list(runs.items())


def versions(device: torch.device) -> dict[str, Any]:
    """The software and hardware a run depends on, for its record."""
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    software = {"python": platform.python_version(), "torch": torch.__version__, "platform": platform.platform()}
    return {**software, "device": hardware, "threads": torch.get_num_threads()}
