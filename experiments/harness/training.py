"""The one training loop: resume, advance, log, checkpoint, progress, for whatever learns unit by unit."""

import contextlib
import math
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from experiments.harness.files import UserError, user_error_if_unreadable
from experiments.harness.options import Options
from experiments.harness.run import START_ANEW, RunDirectory


class Learner(ABC):
    """What `fit` trains, epoch by epoch or step by step. The attributes named in `parts` are what training changes."""

    parts: Sequence[str]

    @abstractmethod
    def advance(self, unit: int) -> Mapping[str, torch.Tensor | float]:
        """Train for one unit, 1 the first. Returns what was measured, name to scalar; a tensor need not be ready."""

    def first_not_finite(self) -> str | None:
        """The name of the first network that holds an infinity or NaN, or None."""
        networks = {part: getattr(self, part) for part in self.parts if isinstance(getattr(self, part), torch.nn.Module)}
        return next((part for part, net in networks.items() if not all(p.isfinite().all() for p in net.parameters())), None)

    def state_dict(self) -> dict[str, Any]:
        """All that training changes, of plain types and tensors."""
        return {part: getattr(self, part).state_dict() for part in self.parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what state_dict gave, on whatever device."""
        for part in self.parts:
            getattr(self, part).load_state_dict(state[part])


class Stopped(KeyboardInterrupt):
    """A signal has ended training after its unit was finished and saved."""


def fit(
    learner: Learner,
    run: RunDirectory,
    options: Options,
    device: torch.device,
    state: dict[str, Any] | None,
    label: Mapping[str, str],
    kept: Mapping[str, Any] | None = None,
    log_every: int = 1,
    checkpoint_minutes: float = 0.0,
    measure: Callable[[int], dict[str, float]] = lambda unit: {},
    export: Callable[[int, float], None] = lambda unit, seconds: None,
) -> float:
    """Train as far as options.length says, from the checkpoint `state` if there is one. Returns the seconds it took.

    Every `log_every` units a line of log.jsonl holds `label`, the unit's number, and the means over these units of what
    advance returned. Every `checkpoint_minutes`, and at the end, the line also holds measure(unit), a checkpoint is
    saved, with `kept` in it, and export(unit, seconds) writes what else there is to write; export runs again on
    resuming, since a kill may have come between. Ctrl-C or SIGTERM lets the unit at work finish, saves a checkpoint and
    raises Stopped.

    UserError if training is no longer finite; the last checkpoint is kept.
    """
    unit, length = options.length
    done, seconds = 0, 0.0
    if state is not None:
        done, seconds = _restore(learner, state, options, run, device)
        export(done, seconds)
    saved_at, sums, units, began = seconds, dict[str, Any](), 0, time.perf_counter()
    title = f"{next(iter(label.values()))}, {unit.replace('_', ' ')}"
    with signals_noted(unit) as signals:
        for number in tqdm(range(done + 1, length + 1), title, length, initial=done, leave=False, disable=None):
            for name, value in learner.advance(number).items():
                sums[name] = sums.get(name, 0) + value
            units += 1
            if number % log_every and number != length and not signals:
                continue
            means = {name: float(total / units) for name, total in sums.items()}  # waits for a GPU, then the clock is read
            lasted = time.perf_counter() - began
            seconds += lasted
            entry = {**label, unit: number, **means, "seconds": round(seconds, 2)}
            entry[f"{unit.split('_')[-1]}s_per_second"] = units / lasted
            _check_finite(learner, entry, unit, run)
            due = seconds - saved_at >= 60 * checkpoint_minutes or number == length
            measured = measure(number) if due else {}
            _check_finite(learner, entry | measured, unit, run)
            run.log(entry | measured)
            if due or signals:
                progress = {unit: number, "train_seconds": seconds, "random_state": random_state(device)}
                run.save({**label, **(kept or {}), **progress, "learner": learner.state_dict()}, options)
                export(number, seconds)
                saved_at, left = seconds, seconds / number * (length - number)
                shown = "  ".join(f"{name} {value:.5g}" for name, value in {**means, **measured}.items())
                tqdm.write(f"{title} {number}/{length}  {shown}  {seconds:.0f} s, {left:.0f} s left")
                sys.stdout.flush()
            if signals:
                raise Stopped(f" after {unit.replace('_', ' ')} {number}; the same command with --resume goes on from there")
            sums, units, began = {}, 0, time.perf_counter()
    return seconds


@contextlib.contextmanager
def signals_noted(unit: str) -> Iterator[list[int]]:
    """Within it, the first Ctrl-C or SIGTERM is put on the list that it gives; the second is a KeyboardInterrupt."""
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        if noted:
            raise KeyboardInterrupt("; --resume goes on from the last checkpoint, if one was saved")
        noted.append(number)
        print(f"\nfinishing this {unit.replace('_', ' ')}, then saving; Ctrl-C again ends at once", file=sys.stderr, flush=True)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # such as of a shell's job in the background
            signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _restore(
    learner: Learner, state: dict[str, Any], options: Options, run: RunDirectory, device: torch.device
) -> tuple[int, float]:
    """Put a checkpoint back. Returns the units done, and the seconds they took."""
    unit, length = options.length
    with user_error_if_unreadable(run.checkpoint, START_ANEW):
        learner.load_state_dict(state["learner"])
        set_random_state(state["random_state"], device)
        done, seconds, before = int(state[unit]), float(state["train_seconds"]), int(state["options"][f"{unit}s"])
        if (part := learner.first_not_finite()) is not None:
            raise ValueError(f"the {part} is not finite")
    print(f"resuming after {unit.replace('_', ' ')} {done} of {length}", flush=True)
    if before < length and options.schedule == "cosine":
        print(f"made longer, from {before} to {length}: not the run that {length} from the start would have been", flush=True)
    return done, seconds


def _check_finite(learner: Learner, entry: dict[str, Any], unit: str, run: RunDirectory) -> None:
    """UserError if the learner, or what is measured of it, is no longer finite."""
    infinite = (name for name, value in entry.items() if isinstance(value, float) and not math.isfinite(value))
    if (part := learner.first_not_finite() or next(infinite, None)) is not None:
        where = f"by {unit.replace('_', ' ')} {entry[unit]} in {run.folder}, whose last checkpoint is kept"
        raise UserError(f"the {part} is no longer finite {where}; start a run with a smaller --learning-rate elsewhere")


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, steps: int, schedule: str) -> None:
    """The rate for step 0 <= step < steps: constant, or along half a cosine from `rate` down to 0."""
    for group in optimizer.param_groups:
        group["lr"] = rate if schedule == "constant" else rate * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def update_average(average: torch.nn.Module, network: torch.nn.Module, step: int, decay: float) -> None:
    """average <- d average + (1 - d) network after step >= 0, unless the average is the network itself.

    d = min(decay, (step + 1) / (step + 10)), smaller at first. Batch normalisation's statistics are averaged too.
    """
    if average is not network:
        means, values = (
            [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]  # not the count of batches
            for module in (average, network)
        )
        torch._foreach_lerp_(means, values, 1 - min(decay, (step + 1) / (step + 10)))


def choose_device(name: str) -> torch.device:
    """The torch.device of this name. On a GPU, convolutions no longer round float32 to the 10 bits of TF32."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no CUDA GPU here; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of every generator that training draws from, as tensors for a checkpoint."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Put back what random_state gave; a run that moves to a GPU goes on with the GPU's own fresh state."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
