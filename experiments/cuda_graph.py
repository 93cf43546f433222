"""A training step recorded as a CUDA graph, and replayed without launch costs."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from experiments.training import random_state, set_random_state

T = TypeVar("T")


def captured(step: Callable[[], T], state_dict: Callable[[], dict[str, Any]], device: torch.device) -> Callable[[], T]:
    """`step`, a function without arguments, recorded. It returns the same tensors at every replay, with new values.

    state_dict: gives the state that the step changes, live. Recording needs a few steps on a stream of their own first;
    what they change, random state included, is put back.
    """
    before, randomness = copy.deepcopy(state_dict()), random_state(device)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    put_back(state_dict(), before)
    set_random_state(randomness, device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay() -> T:
        graph.replay()
        return result

    return replay


def put_back(live: dict[str, Any], saved: dict[str, Any]) -> None:
    """Give the tensors of `live` their values in `saved`, in place. One that `saved` lacks is an optimizer's: zero.

    Loading `saved` would not do before a recording: it takes away what Adam sets up at its first step, which would then
    be set up anew, and so set to zero, at every replay.
    """
    for name, value in live.items():
        if isinstance(value, torch.Tensor):
            value.copy_(saved[name]) if name in saved else value.zero_()
        elif isinstance(value, dict):
            put_back(value, saved.get(name, {}))
