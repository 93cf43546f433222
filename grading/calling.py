"""Call a function, with the critic that is asked for, and say what came out, without knowing what would be right."""

import contextlib
import random
import warnings

import numpy as np
import torch
from torch import nn

MOST_NUMBERS = 100_000  # of one result that are sent back
FORMS = {
    "linear": lambda h: h,  # its slope is the norm of the weight, everywhere
    "tanh": torch.tanh,  # its outputs lie where every form of the objectives is finite
    "ramp": torch.relu,  # flat on one side, steep on the other
    "valley": lambda h: ((1 + h[:, 0]) ** 2 + 100 * h[:, 1] ** 2) / 2,  # gentle along a line, steep beside it
}


class Critic(nn.Module):
    """f(x) = form(x . weight + bias) over all features, (batch,), each sample alone: a loop is as right as a batch."""

    def __init__(self, form, weight, bias=0.0):
        super().__init__()
        self.form, self.bias = FORMS[form], bias
        self.weight = nn.Parameter(weight.clone())

    def forward(self, x):
        return self.form(x.flatten(1) @ self.weight + self.bias)


def answer(function, request, tensors):
    """Header and tensors of what the function does with those inputs. The request:

    `critic` (form and bias; the last tensor is its weight) or None, `options` (keywords), `calls` (how often),
    `gradients` (numbers of the inputs, or "critic") or None, `seed` (of the random numbers that it may draw).
    """
    random.seed(request["seed"])
    np.random.seed(request["seed"])
    torch.manual_seed(request["seed"])
    torch.set_default_dtype(torch.float32)  # whatever the submission has left behind
    torch.set_grad_enabled(True)
    torch.set_float32_matmul_precision("highest")
    torch.autograd.set_detect_anomaly(False)
    warnings.resetwarnings()
    try:
        return respond(function, request, tensors)
    except BaseException as problem:
        return {"kind": "raised", "problem": raised(problem)}, []


def respond(function, request, tensors):
    form, bias = request["critic"] or (None, 0.0)
    critic = Critic(form, tensors.pop(), bias) if form else None
    first, values, changed = None, [], set()
    for _ in range(request["calls"]):
        leaves = [tensor.clone() for tensor in tensors]
        for number in request["gradients"] if isinstance(request["gradients"], list) else []:
            leaves[number].requires_grad_()
        given = [leaf.clone() for leaf in leaves]
        result = function(*given, *([critic] if critic else []), **request["options"])
        changed |= {number for number, (leaf, copy) in enumerate(zip(leaves, given)) if not torch.equal(leaf, copy)}
        kind = {"kind": "object", "type": type(result).__name__[:100], "shape": [], "differentiable": False}
        numbers = None
        if isinstance(result, torch.Tensor):
            kind |= {"kind": "tensor", "shape": list(result.shape), "differentiable": result.requires_grad}
            numbers = result.detach().reshape(-1).double() if result.numel() <= MOST_NUMBERS else None
        elif isinstance(result, (int, float)):
            kind["kind"], numbers = "number", torch.tensor([float(result)], dtype=torch.float64)
        if first not in (None, kind):
            return {**kind, "changed": []}, []
        first = kind
        values += [numbers] if numbers is not None else []
    header = {**first, "changed": sorted(changed)}
    if request["gradients"] is None or not first["differentiable"]:
        return header, [torch.stack(values)] if values else []
    of_critic = request["gradients"] == "critic"
    wanted = [critic.weight] if of_critic else [leaves[number] for number in request["gradients"]]
    found = torch.autograd.grad(result.sum(), wanted, allow_unused=True)
    header["reached"] = [part is not None for part in found]
    return header, [torch.stack(values), *(part.detach().double() for part in found if part is not None)]


def raised(problem):
    message = ""
    with contextlib.suppress(BaseException):
        message = str(problem)[:2000]
    return [type(problem).__name__[:100], message]
