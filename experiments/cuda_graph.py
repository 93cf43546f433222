"""A training step recorded as a CUDA graph, and replayed without launch costs, where that is seen to do the same."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import torch

from experiments.training import random_state, set_random_state

Step = Callable[[], dict[str, torch.Tensor]]  # what it measures, name to scalar


def recorded(
    step: Step, state_dict: Callable[[], dict[str, Any]], device: torch.device, record: Callable[[Step], Step]
) -> Step:
    """`step` as `record` records it: it returns the same tensors at every replay, with new values.

    state_dict: gives the state that the step changes, live. Whatever is tried here is put back, random state included.
    If recording fails, or the first replay does not do what the step does, one line says so and `step` is returned.
    """
    before, randomness = copy.deepcopy(state_dict()), random_state(device)

    def put_all_back() -> None:
        put_back(state_dict(), before)
        set_random_state(randomness, device)

    def outcome(run: Step) -> list[torch.Tensor]:
        put_all_back()
        return [tensor.clone() for tensor in tensors_of([run(), state_dict()])]

    reason = "its first replay does not do what the step does"
    try:
        replay = record(step)
        agrees = all(map(alike, outcome(step), outcome(replay)))
    except RuntimeError as error:
        reason, agrees = str(error).splitlines()[0], False
    put_all_back()
    if agrees:
        return replay
    print(f"the step cannot be recorded as a CUDA graph ({reason}); going on without, slower", file=sys.stderr, flush=True)
    return step


def cuda_graph(step: Step) -> Step:
    """`step` recorded as a CUDA graph. It runs a few times for that, on a stream of its own first."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay() -> dict[str, torch.Tensor]:
        graph.replay()
        return result

    return replay


def put_back(live: dict[str, Any], saved: dict[str, Any]) -> None:
    """Give the tensors of `live` their values in `saved`, in place. One that `saved` lacks is an optimizer's: zero.

    Loading `saved` would not do: a recorded step goes on using the tensors that it was recorded with, and an Adam that
    has lost its moments would set them up anew, and so to zero, at every replay.
    """
    for name, value in live.items():
        if isinstance(value, torch.Tensor):
            value.copy_(saved[name]) if name in saved else value.zero_()
        elif isinstance(value, dict):
            put_back(value, saved.get(name, {}))


def tensors_of(state: object) -> list[torch.Tensor]:
    """Every tensor in nested dictionaries and lists."""
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return [tensor for part in parts for tensor in tensors_of(part)]


def alike(expected: torch.Tensor, found: torch.Tensor) -> bool:
    """Whether two tensors are the same but for rounding, which Adam's first steps enlarge to a few learning rates."""
    difference = (expected.double() - found.double()).norm()
    return bool(difference <= 0.05 * expected.double().norm() + 1e-3 * expected.numel() ** 0.5)
