"""What a check is, and how it judges an answer, whatever its layout: right, or a mark lost with one plain sentence."""

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

import torch


class Check(NamedTuple):
    """One thing a function is asked to get right, and what it is worth; a check of 0 marks ends in a remark."""

    question: str
    function: str
    title: str
    marks: float
    run: Callable  # takes `ask`, which calls the submission's function, and a random generator; raises Lost

    @property
    def name(self):
        return f"{self.question} {self.function}: {self.title}"

    @property
    def file(self):
        return f"q{self.question[1]}_solution.py"


class Lost(Exception):
    """A mark is lost; the message says what was tried, what was expected and what came out."""


class Answer(NamedTuple):
    """What came out of a function: nothing in it was computed by the judge, and nothing of it is run."""

    kind: str  # tensor, number or object
    type: str
    shape: tuple
    differentiable: bool
    values: torch.Tensor | None  # (calls, numbers) in float64
    gradients: list  # one for each that was asked for, None where none arrives; empty where there are none
    changed: list  # the numbers of the inputs that were changed in place

    @classmethod
    def read(cls, header, tensors):
        """From what the worker sent, or ValueError: a submission may send anything in its name."""
        try:
            if header["kind"] == "raised":
                name, message = header["problem"]
                raise Lost(raised(str(name), str(message)))
            tensors = [tensor.double() for tensor in tensors]
            shape = tuple(int(size) for size in header["shape"])
            values = tensors.pop(0) if tensors else None
            if values is not None and values.dim() != 2:
                raise ValueError("values are no rows")
            gradients = [tensors.pop(0) if arrives else None for arrives in header.get("reached", [])]
            changed = sorted({int(number) for number in header["changed"]})[:8]
            kind, differentiable = header["kind"], bool(header["differentiable"])
            return cls(kind, plain(header["type"], 40), shape, differentiable, values, gradients, changed)
        except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as problem:
            raise ValueError("no answer") from problem


def plain(text, most=160):
    """Somebody else's text on one line, shortened, without control characters and what looks like marks, "n / m"."""
    text = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in str(text)[: 8 * most])
    text = re.sub(r"(\d) */ *(\d)", r"\1/\2", " ".join(text.split()))
    return text if len(text) <= most else text[: most - 3] + "..."


def raised(name, message):
    if name == "SystemExit":
        return "called sys.exit"
    if name == "MemoryError" or "allocate memory" in message:
        return "asked for more memory than there is for one check"
    return f"raised {plain(name, 40)}" + (f": {plain(message)}" if message.strip() else "")


def normal(rng, *shape):
    return torch.randn(shape, generator=rng)


def uniform(rng, low, high, *shape):
    return low + (high - low) * torch.rand(shape, generator=rng)


def number(rng, low, high):
    """One number to two digits after the point, for a sentence to show."""
    return round(float(uniform(rng, low, high)), 2)


def compare(tried, answer, expected, tolerance=None, mistakes=None):
    """Lost unless the answer, or numbers made of answers, is `expected` to within `tolerance`.

    That is 1e-4 by default, absolute and relative: hundreds of times what float32 loses on these inputs. `mistakes`
    maps the name of a classic mistake to the value that it gives, or to that and its tolerance.
    """
    expected = torch.as_tensor(expected, dtype=torch.float64).reshape(-1)
    margin = 1e-4 + 1e-4 * expected.abs() if tolerance is None else torch.as_tensor(tolerance).expand_as(expected)
    got = answer if isinstance(answer, torch.Tensor) else numbers(tried, answer, len(expected))[0]
    error = (got - expected).abs().nan_to_num(nan=torch.inf)
    if (error <= margin).all():
        return
    worst = int((error / margin).argmax())
    where = f", number {worst + 1} of {len(expected)}" if len(expected) > 1 else ""
    within = f" +- {margin[worst]:.2g}" if tolerance is not None else ""
    sentence = f"{tried}{where}: {got[worst]:.6g}, expected {expected[worst]:.6g}{within}"
    raise Lost(sentence + looks_like(got, mistakes or {}, tolerance))


def looks_like(got, mistakes, tolerance):
    """': looks like ...' for the one mistake that explains every number; 0, NaN and infinity explain nothing."""
    fits = []
    for name, value in mistakes.items():
        value, margin = value if isinstance(value, tuple) else (value, tolerance)
        value = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
        margin = 1e-4 + 1e-4 * value.abs() if margin is None else margin
        off = ((got - value).abs() / margin).nan_to_num(nan=torch.inf)
        off[torch.isclose(got, value, rtol=0, atol=0, equal_nan=True)] = 0
        telling = value.isfinite() & (value.abs() > margin + 1e-3)
        if off.max() <= 1 and 2 * telling.sum() >= max(value.isfinite().sum(), 1):
            fits.append((float(off.max()), name))
    fits.sort()
    return f": looks like {fits[0][1]}" if len(fits) == 1 or (fits and 3 * fits[0][0] < fits[1][0]) else ""


def shape_of(tried, answer):
    if answer.kind in ("tensor", "number"):
        return answer.shape
    what = "None" if answer.type == "NoneType" else f"an object of type {answer.type}"
    raise Lost(f"{tried}: returned {what}, expected a tensor")


def numbers(tried, answer, count):
    """The results as rows of `count` float64 numbers, one row for each call, whatever the layout."""
    shape = shape_of(tried, answer)
    if answer.values is None or answer.values.shape[1] != count:
        wanted = "one number" if count == 1 else f"{count} numbers"
        raise Lost(f"{tried}: returned a tensor of shape {shape}, expected {wanted}")
    return answer.values


def rows(tried, answer, count):
    shape = shape_of(tried, answer)
    if shape != (count,):
        raise Lost(f"{tried}: returned shape {shape}, expected ({count},)")


def gradient(tried, answer, like, name, cause="a detach or item"):
    """The gradients of the result's sum with respect to inputs shaped like these, as one row; Lost without any."""
    shape_of(tried, answer)
    if not answer.differentiable:
        raise Lost(f"{tried}: the result cannot be differentiated, expected a gradient into {name}: looks like {cause}")
    if all(part is None for part in answer.gradients):
        raise Lost(f"{tried}: no gradient reaches {name}, expected one: looks like a detach on the way")
    parts = [torch.zeros(tensor.numel()) if part is None else part for part, tensor in zip(answer.gradients, like)]
    if [part.numel() for part in parts] != [tensor.numel() for tensor in like]:
        raise Lost(f"{tried}: the gradient has another size than {name}")
    return torch.cat([part.reshape(-1).double() for part in parts])


def exact_gradient(value, inputs):
    parts = torch.autograd.grad(value.sum(), inputs, retain_graph=True)
    return torch.cat([part.reshape(-1).double() for part in parts])
