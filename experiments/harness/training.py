"""What helps a training loop from inside: resume, log, checkpoints, Ctrl-C; learning rate, running average, device."""

import math
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from tqdm import tqdm

from experiments.harness.files import UserError, say, user_error_if_unreadable
from experiments.harness.options import Options
from experiments.harness.run import START_ANEW, RunDirectory


class Training:
    """The units of a training that are left, such as epochs, to loop over; it logs what they measure and saves.

        training = Training(run, options, device, "epoch", options.epochs, model=model, optimizer=optimizer)
        for epoch in training:
            ...
            training.log(loss=loss)

    The parts are all that training changes, networks and optimizers by name. They and the random numbers are put back
    from the run's checkpoint, if there is one. Ctrl-C or SIGTERM lets the unit at work finish, saves, and then raises
    KeyboardInterrupt. UserError if a network or what is logged is no longer finite; the last checkpoint is kept.
    """

    log_every = 1  # units of which a line of log.jsonl holds the means
    checkpoint_minutes = 0.0  # of training between checkpoints, each of which comes with a line

    def __init__(
        self, run: RunDirectory, options: Options, device: torch.device, unit: str, length: int, **parts: Any
    ) -> None:
        self.run, self.options, self.device, self.parts = run, options, device, parts
        self.unit, self.name, self.length = unit, unit.replace("_", " "), length
        self.number, self.seconds = 0, 0.0  # units done, and the seconds that they took
        self.signals: list[int] = []  # Ctrl-C or SIGTERM, if one came
        if (state := run.resume()) is not None:
            with user_error_if_unreadable(run.checkpoint, START_ANEW):
                for name, part in parts.items():
                    part.load_state_dict(state["learner"][name])
                torch.set_rng_state(state["random_state"]["cpu"])
                if device.type == "cuda" and "cuda" in state["random_state"]:
                    torch.cuda.set_rng_state(state["random_state"]["cuda"], device)
                self.number, self.seconds = int(state[unit]), float(state["train_seconds"])
                if infinite := self._infinite({}):
                    raise ValueError(f"the {infinite} is not finite")
            say(f"resuming after {self.name} {self.number} of {length}")
            before = state["options"].get(f"{unit}s", length)
            if before != length and options.schedule == "cosine":
                say(f"made longer, from {before} to {length}: not what {length} from the start would have been")

    def __iter__(self) -> Iterator[int]:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # such as of a shell's job in the background
                signal.signal(number, self._note_signal)
        left, self._saved_at = range(self.number + 1, self.length + 1), self.seconds
        try:
            self._start_line()
            for number in tqdm(left, self.name, self.length, initial=self.number, leave=False, disable=None):
                self.number = number
                yield number
                if self._line:
                    self._end_line()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note_signal(self, number: int, _: object) -> None:
        if self.signals:
            raise KeyboardInterrupt("; --resume goes on from the last checkpoint, if one was saved")
        self.signals.append(number)
        note = f"\nfinishing this {self.name}, then saving; Ctrl-C again ends at once"
        print(note, file=sys.stderr, flush=True)

    def _start_line(self) -> None:
        self._sums, self._units, self._began = dict[str, Any](), 0, time.perf_counter()
        self._line: dict[str, Any] = {}
        self.checkpoint_due = False  # whether a checkpoint follows the unit at work; known once it has logged

    def log(self, **values: torch.Tensor | float) -> None:
        """What this unit measured; a tensor need not be ready. The means of every log_every units make a line.

        A later call in the same unit, where checkpoint_due says so, adds to that line, and took no training time.
        """
        if not self._line:
            self._units += 1
            self._sums = {name: self._sums.get(name, 0) + value for name, value in values.items()}
            if self.number % self.log_every and self.number != self.length and not self.signals:
                return
            values = {name: float(total / self._units) for name, total in self._sums.items()}  # waits for a GPU
            lasted = time.perf_counter() - self._began
            self.seconds += lasted
            self._line = {self.unit: self.number, "seconds": round(self.seconds, 2)}
            self._line[f"{self.unit.split('_')[-1]}s_per_second"] = self._units / lasted
            late = self.seconds - self._saved_at >= 60 * self.checkpoint_minutes
            self.checkpoint_due = late or self.number == self.length or bool(self.signals)
        self._line |= {name: float(value) for name, value in values.items()}
        if infinite := self._infinite(self._line):
            where = f"by {self.name} {self.number} in {self.run.folder}, whose last checkpoint is kept"
            remedy = "start a run with a smaller --learning-rate elsewhere"
            raise UserError(f"the {infinite} is no longer finite {where}; {remedy}")

    def _end_line(self) -> None:
        """Write the line, and a checkpoint if it is due; stop if a signal came."""
        self.run.log(self._line)
        if self.checkpoint_due or self.signals:
            random = {"cpu": torch.get_rng_state()}
            if self.device.type == "cuda":
                random["cuda"] = torch.cuda.get_rng_state(self.device)
            parts = {name: part.state_dict() for name, part in self.parts.items()}
            progress = {self.unit: self.number, "train_seconds": self.seconds, "random_state": random}
            self.run.save({**progress, "learner": parts}, self.options)
            self._saved_at, left = self.seconds, self.seconds / self.number * (self.length - self.number)
            measured = "  ".join(f"{name} {value:.5g}" for name, value in list(self._line.items())[3:])
            with tqdm.external_write_mode():
                say(f"{self.name} {self.number}/{self.length}  {measured}  {self.seconds:.0f} s, {left:.0f} s left")
        if self.signals:
            how = "the same command with --resume goes on from there"
            raise KeyboardInterrupt(f" after {self.name} {self.number}; {how}")
        self._start_line()

    def _infinite(self, values: dict[str, float]) -> str | None:
        """The name of the first network that holds an infinity or NaN, or of the first such value, or None."""
        networks = {name: part for name, part in self.parts.items() if isinstance(part, torch.nn.Module)}
        names = [name for name, net in networks.items() if not all(p.isfinite().all() for p in net.parameters())]
        return next(iter(names + [name for name, value in values.items() if not math.isfinite(value)]), None)


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
        d = min(decay, (step + 1) / (step + 10))
        for mean, value in zip(average.state_dict().values(), network.state_dict().values()):
            if mean.is_floating_point():  # not the count of batches
                mean.lerp_(value, 1 - d)


def choose_device(name: str) -> torch.device:
    """The torch.device of this name. On a GPU, convolutions no longer round float32 to the 10 bits of TF32."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no CUDA GPU here; use --device cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
