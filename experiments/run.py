"""A run: its command-line options, and the directory that is its whole record."""

import argparse
import contextlib
import io
import json
import math
import os
import platform
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NoReturn

import filelock
import numpy as np
import torch


class UserError(Exception):
    """Something that the user can mend, told in one line: what, where, what to do."""


class Parser(argparse.ArgumentParser):
    """An argument parser with the options that every script shares, whose complaints are UserErrors."""

    def __init__(self, description: str, run_dir: str, presets: Collection[str]) -> None:
        super().__init__(description=description, argument_default=argparse.SUPPRESS)
        self.add_argument("--data-dir", type=file_path, default=Path("data"), help="where the data files are or go (data)")
        self.add_argument("--run-dir", type=file_path, default=Path(run_dir), help=f"where the run is recorded ({run_dir})")
        self.add_argument("--preset", choices=presets, help="the best settings found, or the handout's own (tuned)")
        self.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes a GPU if there is one")
        self.add_argument("--seed", type=whole_number, help="of weights, order and noise (0)")
        self.add_argument("--resume", action="store_true", default=False, help="go on with the run in --run-dir")

    def split(self, argv: list[str] | None, *more: str) -> tuple[argparse.Namespace, dict]:
        """Parse argv. Returns how to run (a namespace of the shared switches and `more`) and the options that were named."""
        given = vars(self.parse_args(argv))
        for name in [name for name, value in given.items() if value == []]:  # what argparse makes of --name=--
            self.error(f"argument --{name.replace('_', '-')}: expected one argument")
        how = {name: given.pop(name) for name in ("data_dir", "run_dir", "device", "resume", *more)}
        return argparse.Namespace(**how), given

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options")


def command(main: Callable[[list[str] | None], None], argv: list[str] | None = None) -> int:
    """Run main(argv) as a command: a UserError becomes one line and exit code 2, Ctrl-C one line and exit code 130."""
    try:
        main(argv)
    except (UserError, OSError) as error:  # an OSError that nothing else foresaw still names the file and the reason
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        print("error: the memory does not suffice for these sizes; name smaller ones", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch could not have the memory it asked for; on the CPU only its words tell."""
    told = ("can't allocate memory", "Storage size calculation overflowed", "Invalid storage size")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in told)


def file_path(text: str) -> Path:
    """A command-line value that must be a path of printable characters: it is told in lines, and written in records."""
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} holds characters that cannot be printed")
    return Path(text)


def whole_number(text: str) -> int:
    """A command-line value that must be an integer of at least 0, and small enough to be a seed."""
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**63 - 1")
    return int(text)


def positive_integer(text: str) -> int:
    """A command-line value that must be an integer of at least 1."""
    if whole_number(text) == 0:
        raise argparse.ArgumentTypeError("0 is too small, the least is 1")
    return int(text)


def positive_number(text: str) -> float:
    """A command-line value that must be a number above 0, and small enough to be computed with in float32."""
    if not 0 < (value := _number(text)) <= 1e30:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 1e30")
    return value


def fraction(text: str) -> float:
    """A command-line value that must be a number from 0 up to, but not including, 1."""
    if not 0 <= (value := _number(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0 and below 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def choose_device(name: str) -> torch.device:
    """The torch.device that `auto`, `cpu` or `cuda` stands for on this machine."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no CUDA GPU here; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of every generator that training draws from, as tensors for a checkpoint."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put back what random_state gave; a run that moves to a GPU goes on with the GPU's own fresh state."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write bytes under a temporary name, then rename: the path holds the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with _told(f"cannot write {path}"):
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def load_plain(path: Path) -> object:
    """What torch.save wrote of plain types and tensors, on the CPU. Raises, and executes no code, whatever the file holds."""
    if zipfile.is_zipfile(path):  # not what PyTorch before 1.6 wrote
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:  # torch.load reads past wrong checksums
                raise ValueError(f"the checksum of {part} is wrong")
    return torch.load(path, map_location="cpu", weights_only=True)


def new_options(given: dict, presets: dict[str, dict]) -> dict:
    """The options of a new run, name to value: the preset's, overlaid with those given on the command line."""
    preset = given.get("preset", "tuned")
    return {"preset": preset, "seed": 0, **presets[preset], **given}


def kinds_of(preset: dict) -> dict[str, type]:
    """The types of what new_options gives, name to type."""
    return {name: type(value) for name, value in new_options({}, {"tuned": preset}).items()}


def check_options(given: dict, options: dict, folder: Path) -> None:
    """UserError if the command line gives an option that contradicts those of the run in `folder`."""
    for name, value in given.items():
        if options.get(name) != value:
            option = "--" + name.replace("_", "-")
            raise UserError(f"{folder} has {option} {options.get(name)}, not {value}; leave it out, or name another --run-dir")


def learning_rate_at(step: int, steps: int, learning_rate: float, schedule: str) -> float:
    """The rate for step 0 <= step < steps: constant, or along half a cosine from learning_rate down to 0."""
    return learning_rate if schedule == "constant" else learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))


def versions(device: torch.device) -> dict:
    """The software and hardware a run depends on, for its record."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
    }


class RunDirectory:
    """The files of one run, each written so that a reader never meets half of one.

    Only one process at a time may have it open; use it as a context manager.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.figures = self.folder / "figures"
        self.checkpoint = self.folder / "checkpoint.pt"
        self._lock = filelock.FileLock(self.folder / ".lock", timeout=0)

    def __enter__(self) -> "RunDirectory":
        with _told(f"cannot write to {self.folder}"):
            self.figures.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise UserError(f"another process is at work in {self.folder}; wait for it or name another --run-dir") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def set_aside(self) -> None:
        """Make room for a new run: move what an earlier one left into a folder previous-1, previous-2, ... of its own."""
        if not self.checkpoint.exists():
            return
        number = next(n for n in range(1, sys.maxsize) if not (self.folder / f"previous-{n}").exists())
        attic = self.folder / f"previous-{number}"
        with _told(f"cannot move the earlier run in {self.folder} aside"):
            left = [path for path in self.folder.iterdir() if path.name != ".lock" and not path.name.startswith("previous-")]
            left.sort(key=lambda path: path == self.checkpoint)  # last, so that a move cut short is taken up again
            attic.mkdir()
            for path in left:
                path.rename(attic / path.name)
            self.figures.mkdir()
        print(f"moved the earlier run to {attic}", flush=True)

    def write_json(self, name: str, content: dict) -> None:
        write_atomically(self.folder / name, (json.dumps(content, indent=2) + "\n").encode())

    def write_options(self, options: dict, device: torch.device) -> None:
        """Write options.json: the options, and the versions and hardware that the run's numbers may depend on."""
        self.write_json("options.json", {**options, "versions": versions(device)})

    def read_options(self, question: str, kinds: dict[str, type | tuple[type, ...]]) -> dict | None:
        """The options of the run that is there, or None if there is none.

        kinds: names of options to their types. UserError if one is missing or of another type, or if the run answers another
        question.
        """
        path = self.folder / "options.json"
        try:
            options = json.loads(path.read_bytes())
            del options["versions"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error!r}); delete {self.folder} or name another --run-dir") from error
        if options.get("question") != question:
            raise UserError(f"{self.folder} holds a run of {options.get('question')}, not {question}; name another --run-dir")
        for name, kind in kinds.items():
            if name not in options or not isinstance(options[name], kind):
                raise UserError(f"{path} is damaged (no proper {name!r}); delete {self.folder} or name another --run-dir")
        return options

    def presets_beside(self, options: dict, alike: Collection[str]) -> Iterator[tuple["RunDirectory", str]]:
        """This run, then one run beside it for each other preset, of the same question and the same options named in `alike`.

        Yields (run directory, preset): what a figure can compare this run with.
        """
        seen, kinds = set(), {"preset": str, **{name: type(options[name]) for name in alike}}
        for folder in [self.folder, *sorted(self.folder.resolve().parent.iterdir())]:
            with contextlib.suppress(UserError):  # a neighbour of another question, or a damaged one
                other = RunDirectory(folder).read_options(options["question"], kinds)
                if other and other["preset"] not in seen and all(other[name] == options[name] for name in alike):
                    seen.add(other["preset"])
                    yield RunDirectory(folder), other["preset"]

    def save(self, state: dict) -> None:
        """Replace the checkpoint by `state`, a dictionary of plain types and tensors; log what belongs to it first."""
        buffer = io.BytesIO()
        torch.save({**state, "log_entries": len(self.read_log())}, buffer)
        write_atomically(self.checkpoint, buffer.getbuffer())

    def load(self, options: dict) -> dict | None:
        """The last checkpoint's state, on the CPU, or None if there is none. Executes no code that the file may hold.

        UserError if the file is damaged, or is no checkpoint of a run with these options.
        """
        try:
            state = load_plain(self.checkpoint)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever torch.load meets in a damaged or foreign file
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"{self.checkpoint} is damaged or no checkpoint ({reason}); delete it to start anew") from error
        if not isinstance(state, dict) or state.get("options") != options:
            raise UserError(f"{self.checkpoint} belongs to another run than options.json beside it; delete {self.folder}")
        return state

    def resume(self, options: dict) -> dict | None:
        """What load gives, after cutting log.jsonl back to where that checkpoint was written."""
        state = self.load(options)
        entries = self.read_log()[: state["log_entries"] if state else 0]
        write_atomically(self.folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries).encode())
        return state

    def log(self, entry: dict) -> None:
        """Append one entry to log.jsonl."""
        with _told(f"cannot write {self.folder / 'log.jsonl'}"), open(self.folder / "log.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")

    def read_log(self) -> list[dict]:
        """The entries of log.jsonl, without a last line that was cut short."""
        path = self.folder / "log.jsonl"
        entries = []
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with contextlib.suppress(ValueError):
                entries.append(json.loads(line))
        return entries


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn an error of the file system into a UserError that begins with `what`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{what}: {error.strerror or error}; nothing that was there is lost") from error
