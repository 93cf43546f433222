"""The one training loop: resume, advance, log, checkpoint, progress, for whatever learns unit by unit."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from tqdm import tqdm

from experiments.options import Options, UserError
from experiments.run import RunDirectory


class Learner(Protocol):
    """What `fit` trains: networks, optimizers, and whatever else a step changes. A unit is an epoch, or a step."""

    def advance(self, unit: int) -> Mapping[str, torch.Tensor | float]:
        """Train for one unit, 1 the first. Returns what was measured, name to scalar; a tensor need not be ready."""

    def first_not_finite(self) -> str | None:
        """The name of the first part that holds an infinity or NaN, or None."""

    def state_dict(self) -> dict[str, Any]:
        """All that training changes, of plain types and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what state_dict gave, on whatever device."""


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

    A line of log.jsonl every `log_every` units, what advance measured averaged over them; with the first of these that
    comes `checkpoint_minutes` of training after the last, and at the end, a checkpoint and a line on the screen. Ctrl-C
    makes a checkpoint of what there was at the last line.

    label: what begins every line. kept: what else is to be in every checkpoint. measure(unit): what a checkpoint
    measures in addition, for the log. export(unit, seconds): writes what else there is to write when a checkpoint has
    been written, and again when one is resumed, since a kill may have come between. UserError if training is no longer
    finite.
    """
    unit, length = options.length
    done, seconds = 0, 0.0
    if state is not None:
        done, seconds = _restore(learner, state, options, run, device)
        export(done, seconds)
    saved_at, sums, units, began = seconds, dict[str, Any](), 0, time.perf_counter()
    title = f"{next(iter(label.values()))}, {unit.replace('_', ' ')}"
    for number in tqdm(range(done + 1, length + 1), title, length, initial=done, leave=False, disable=None):
        for name, value in learner.advance(number).items():
            sums[name] = sums.get(name, 0) + value
        units += 1
        if number % log_every and number != length:
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
        progress = {unit: number, "train_seconds": seconds, "random_state": random_state(device)}
        keep = run.save if due else run.save_if_interrupted
        keep({**label, **(kept or {}), **progress, "learner": learner.state_dict()}, options)
        if due:
            export(number, seconds)
            saved_at, left = seconds, seconds / number * (length - number)
            shown = "  ".join(f"{name} {value:.5g}" for name, value in {**means, **measured}.items())
            tqdm.write(f"{title} {number}/{length}  {shown}  {duration(seconds)}, {duration(left)} left")
            sys.stdout.flush()
        sums, units, began = {}, 0, time.perf_counter()
    return seconds


def _restore(
    learner: Learner, state: dict[str, Any], options: Options, run: RunDirectory, device: torch.device
) -> tuple[int, float]:
    """Put a checkpoint back. Returns the units done, and the seconds they took."""
    unit, length = options.length
    with run.understood():
        learner.load_state_dict(state["learner"])
        set_random_state(state["random_state"], device)
        done, seconds, before = int(state[unit]), float(state["train_seconds"]), int(state["options"][f"{unit}s"])
        if (part := learner.first_not_finite()) is not None:
            raise ValueError(f"the {part} is not finite")
        if not 0 < done <= length:
            raise ValueError(f"it is {done} {unit}s long, and options.json beside it says {length}")
    print(f"resuming after {unit.replace('_', ' ')} {done} of {length}", flush=True)
    if before < length and options.bound_to_length(done, before):
        print(
            f"made longer, from {before} to {length}: the learning rate goes on where the schedule over {length} stands, "
            f"higher than it was, so this is not the run that {length} from the start would have been",
            flush=True,
        )
    return done, seconds


def _check_finite(learner: Learner, entry: dict[str, Any], unit: str, run: RunDirectory) -> None:
    """UserError if the learner, or what is measured of it, is no longer finite."""
    infinite = (name for name, value in entry.items() if isinstance(value, float) and not math.isfinite(value))
    if (part := learner.first_not_finite() or next(infinite, None)) is not None:
        kept = f"the last checkpoint in {run.folder} is kept; " if run.checkpoint.exists() else ""
        raise UserError(
            f"the {part} is no longer finite by {unit.replace('_', ' ')} {entry[unit]}; {kept}start again with a smaller "
            "--learning-rate"
        )


def learning_rate_at(step: int, steps: int, learning_rate: float, schedule: str) -> float:
    """The rate for step 0 <= step < steps: constant, or along half a cosine from learning_rate down to 0."""
    return learning_rate if schedule == "constant" else learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))


def adam(network: torch.nn.Module, beta1: float, beta2: float, weight_decay: float = 0.0) -> torch.optim.AdamW:
    """Adam of a rate that set_learning_rate is to give, on the network's device: on a GPU fit to be recorded.

    weight_decay: the share of each weight, times the rate, that a step takes off (AdamW, Loshchilov & Hutter 2019,
    arXiv 1711.05101); without it, AdamW is Adam to the bit.
    """
    betas = (beta1, beta2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)
    fit_to_device(optimizer)
    return optimizer


def fit_to_device(optimizer: torch.optim.Optimizer) -> None:
    """Make the rate of Adam a tensor on a GPU, which a recorded step reads anew, and a number elsewhere.

    To be called again once a state is loaded, which may have been saved on another device.
    """
    for group in optimizer.param_groups:
        device = group["params"][0].device
        group["capturable"] = device.type == "cuda"
        group["lr"] = torch.zeros((), device=device) if group["capturable"] else 0.0


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Make `rate` the rate of the next step; where the rate is a tensor, in place, so that a recorded step sees it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def average_decay_at(step: int, decay: float) -> float:
    """The decay of a running average after step >= 0: smaller at first, as the first weights are soon outdated."""
    return min(decay, (step + 1) / (step + 10))


@torch.no_grad()
def update_average(average: torch.nn.Module, network: torch.nn.Module, decay: float | torch.Tensor) -> None:
    """average <- decay average + (1 - decay) network, for weights and for batch normalisation's running statistics.

    Does nothing where the average is the network itself.
    """
    if average is not network:
        for mean, value in zip(average.state_dict().values(), network.state_dict().values()):
            if mean.is_floating_point():  # not the count of batches
                mean.lerp_(value, torch.as_tensor(1 - decay, dtype=mean.dtype, device=mean.device))


def first_not_finite(networks: Mapping[str, torch.nn.Module]) -> str | None:
    """The name of the first network that holds an infinity or NaN, or None."""
    for name, network in networks.items():
        if not all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters()):
            return name
    return None


def choose_device(name: str) -> torch.device:
    """The torch.device that `auto`, `cpu` or `cuda` stands for on this machine.

    On a GPU it also makes float32 mean float32 everywhere: by default convolutions there round to the 10 bits of TF32.
    """
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


def duration(seconds: float) -> str:
    """Seconds in words: in minutes from two minutes on."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
