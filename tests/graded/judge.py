"""What a check is, and how it judges a value: right, or a mark lost with one plain sentence.

Where values are compared, the layout is not: a result of shape (batch, 1) or 0-d is read as a list of numbers, so that a wrong
layout costs the mark of the check on shapes and no other.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch


class Check(NamedTuple):
    """One thing a function is asked to get right, and what it is worth."""

    question: str
    function: str
    title: str
    marks: float
    run: Callable  # takes the submission's function, raises Lost

    @property
    def name(self):
        return f"{self.question} {self.function}: {self.title}"

    @property
    def file(self):
        return f"q{self.question[1]}_solution.py"


class Lost(Exception):
    """A mark is lost; the message says what was tried, what was expected and what came out."""


def normal(*shape, seed):
    """Float32 standard normal inputs, the same in every run, from a generator that the submission does not draw from."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def compare(tried, result, expected, tolerance=None, mistakes=None):
    """Lost unless `result` is `expected`, a float64 tensor, to within `tolerance`.

    Without a tolerance it is 1e-4, absolute and relative: hundreds of times what float32 loses on these inputs. `mistakes` maps
    the name of a classic mistake to the value that it gives, so that the sentence can name it.
    """
    expected = torch.as_tensor(expected, dtype=torch.float64).reshape(-1)
    margin = 1e-4 + 1e-4 * expected.abs() if tolerance is None else torch.as_tensor(tolerance).expand_as(expected)
    got = numbers(tried, result, len(expected))
    error = (got - expected).abs().nan_to_num(nan=torch.inf)
    if (error <= margin).all():
        return
    worst = int((error / margin).argmax())
    where = f", number {worst + 1} of {len(expected)}" if len(expected) > 1 else ""
    within = f" +- {margin[worst]:.2g}" if tolerance is not None else ""
    sentence = f"{tried}{where}: {got[worst]:.6g}, expected {expected[worst]:.6g}{within}"
    raise Lost(sentence + looks_like(got, expected, margin, mistakes or {}))


def looks_like(got, expected, margin, mistakes):
    """': looks like ...' for the first classic mistake that explains every number, more loosely where it makes them larger."""
    for name, value in mistakes.items():
        value = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
        near = (got - value).abs() <= 3 * margin * (value / expected).abs().clamp(min=1)
        if (torch.isclose(got, value, equal_nan=True) | (near & value.isfinite())).all():
            return f": looks like {name}"
    return ""


def tensor(tried, result):
    """The result as a tensor; a plain number counts as one of no dimension."""
    if isinstance(result, torch.Tensor):
        return result
    if isinstance(result, (int, float)):
        return torch.tensor(float(result))
    what = "None" if result is None else f"an object of type {type(result).__name__}"
    raise Lost(f"{tried}: returned {what}, expected a tensor")


def numbers(tried, result, count):
    """The result as `count` float64 numbers, whatever its layout."""
    result = tensor(tried, result)
    if result.numel() != count:
        wanted = "one number" if count == 1 else f"{count} numbers"
        raise Lost(f"{tried}: returned a tensor of shape {tuple(result.shape)}, expected {wanted}")
    return result.detach().reshape(-1).double()


def rows(tried, result, count):
    """Lost unless there is one number per row, shape (count,)."""
    shape = tuple(tensor(tried, result).shape)
    if shape != (count,):
        raise Lost(f"{tried}: returned shape {shape}, expected ({count},)")


def gradient(tried, result, inputs, name):
    """The gradients of the result's sum with respect to `inputs`, as one row of numbers; Lost where autograd has none."""
    result = tensor(tried, result)
    if not result.requires_grad:
        raise Lost(
            f"{tried}: the result cannot be differentiated, expected a gradient into {name}: looks like a detach or item"
        )
    found = torch.autograd.grad(result.sum(), inputs, allow_unused=True)
    if all(part is None for part in found):
        raise Lost(f"{tried}: no gradient reaches {name}, expected one: looks like a detach on the way")
    return torch.cat([torch.zeros(i.numel()) if part is None else part.reshape(-1) for i, part in zip(inputs, found)])
