"""Call a function as the judge asks and say what came out, without knowing what would be right."""

import contextlib
import random
import warnings

import numpy as np
import torch

from .critics import Critic

MOST_NUMBERS = 100_000  # of one result that are sent back


def answer(function, request, tensors):
    """Header and tensors of what the function does with those inputs. The request:

    `critic` (form and bias; the last tensor is its weight) or None, `options` (keywords), `calls` (how often),
    `gradients` (the numbers of the inputs, or "critic") or None, `seed` (of the random numbers that the function may draw).
    """
    start_afresh(request["seed"])
    try:
        return respond(function, request, tensors)
    except BaseException as problem:
        return {"kind": "raised", "problem": raised(problem)}, []


def start_afresh(seed):
    """Random numbers from the seed, and torch's settings as they are at first, whatever the submission has left behind."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("highest")
    torch.autograd.set_detect_anomaly(False)
    warnings.resetwarnings()


def respond(function, request, tensors):
    critic = None
    if request["critic"]:
        form, bias = request["critic"]
        critic = Critic(form, tensors.pop(), bias)
    first, values, changed = None, [], set()
    for _ in range(request["calls"]):
        leaves = [tensor.clone() for tensor in tensors]
        for number in request["gradients"] if isinstance(request["gradients"], list) else []:
            leaves[number].requires_grad_()
        given = [leaf.clone() for leaf in leaves]
        result = function(*given, *([critic] if critic else []), **request["options"])
        changed |= {number for number, (leaf, copy) in enumerate(zip(leaves, given)) if not torch.equal(leaf, copy)}
        kind, numbers = describe(result)
        if first not in (None, kind):
            return {**kind, "changed": []}, []
        first = kind
        values += [numbers] if numbers is not None else []
    header = {**first, "changed": sorted(changed)}
    if request["gradients"] is None or not first["differentiable"]:
        return header, [torch.stack(values)] if values else []
    wanted = (
        list(critic.parameters()) if request["gradients"] == "critic" else [leaves[i] for i in request["gradients"]]
    )
    found = torch.autograd.grad(result.sum(), wanted, allow_unused=True)
    header["reached"] = [part is not None for part in found]
    return header, [torch.stack(values), *(part.detach().double() for part in found if part is not None)]


def describe(result):
    """What kind of thing a result is, and its numbers in one row, if it has a bearable count of them."""
    kind = {"kind": "object", "type": type(result).__name__[:100], "shape": [], "differentiable": False}
    if isinstance(result, torch.Tensor):
        kind |= {"kind": "tensor", "shape": list(result.shape), "differentiable": result.requires_grad}
        return kind, result.detach().reshape(-1).double() if result.numel() <= MOST_NUMBERS else None
    if isinstance(result, (int, float)):
        return kind | {"kind": "number"}, torch.tensor([float(result)], dtype=torch.float64)
    return kind, None


def raised(problem):
    """An exception as plain text: the name of its type, and what it says."""
    message = ""
    with contextlib.suppress(BaseException):
        message = str(problem)[:2000]
    return [type(problem).__name__[:100], message]
