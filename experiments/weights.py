"""Trained networks as files of plain tensors, each with its origin: plain values that say how it was made."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.errors import UserError, understood
from experiments.files import load_plain, write_atomically
from experiments.options import text
from model import DigitClassifier, Generator
from q3_samplers import fingerprints

PRETRAINED = Path(__file__).parents[1] / "data" / "pretrained"
GENERATOR = PRETRAINED / "generator.pt"
CLASSIFIER = PRETRAINED / "classifier.pt"  # judges
GUIDE = PRETRAINED / "guide.pt"  # of the same kind; what the second critic looks through


def save(path: Path, networks: Mapping[str, nn.Module], origin: dict) -> None:
    """Write {name: state dict of the network of that name, "origin": origin}, 16 bits a number: half the size."""
    buffer = io.BytesIO()
    states = {name: _halved(network.state_dict()) for name, network in networks.items()}
    torch.save({**states, "origin": origin}, buffer)
    write_atomically(path, buffer.getvalue())


def _halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: tensor.to("cpu", torch.float16 if tensor.is_floating_point() else None).contiguous()
        for name, tensor in state.items()
    }


def put_into(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Give a network these weights. Raises if one is missing, of another shape, or not finite."""
    network.load_state_dict(state)
    check_finite(network)


def check_finite(network: nn.Module) -> None:
    """ValueError if a weight is an infinity or NaN."""
    for name, values in network.state_dict().items():
        if not values.isfinite().all():
            raise ValueError(f"{name} is not finite")


def load(path: Path) -> dict:
    """A file's dictionary. UserError if it is missing, damaged or something else; no code in it is executed."""
    try:
        with understood(path, "damaged or no file of weights", "name another"):
            return load_plain(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; name a file of weights that is there") from error


def seen_by(path: Path) -> list[int]:
    """Fingerprints of the images that networks of a file, or a checkpoint, were trained on; [] if unknown."""
    content = load(path)
    return content.get("origin", content).get("seen", [])


def seen(images: torch.Tensor, others: Iterable[Path | None]) -> list[int]:
    """Fingerprints of all that a network has seen that is trained on these images with the networks in other files."""
    return sorted({*fingerprints(images), *(mark for path in others if path for mark in seen_by(path))})


def load_generator(path: Path) -> tuple[Generator, dict]:
    """A generator and its origin, from a file of `save` or a bare state dict such as the handout's class makes.

    The sizes are those of the tensors. UserError if the file is missing, damaged or something else; no code in it is
    executed.
    """
    try:
        with understood(path, "damaged or no such generator", "name another by --generator"):
            content = load_plain(path)
            weights, origin = (content["generator"], content["origin"]) if "origin" in content else (content, {})
            if "decoder.0.weight" not in weights:
                raise ValueError(f"it has no 'decoder.0.weight' but {', '.join(map(str, [*weights][:4])) or 'nothing'}")
            z_dim, channels = weights["decoder.0.weight"].shape[:2]
            put_into(generator := Generator(z_dim, channels // 4), weights)
            if not isinstance(origin, dict) or not all(map(_is_plain, [*origin, *origin.values()])):
                raise ValueError("its origin is not of plain values")
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there; train a generator first, or name its weights by --generator") from error
    return generator, origin


def _is_plain(value: object) -> bool:
    """Whether a value of an origin can be shown in a line and written as JSON."""
    return text(value) is not None if isinstance(value, str) else value is None or isinstance(value, (int, float, list))


def load_classifier(path: Path = CLASSIFIER, seed: int = 0) -> tuple[DigitClassifier, dict]:
    """A classifier, in evaluation mode, and its origin. UserError if the file is missing or damaged.

    seed: what the command that makes such a file anew is to be called with.
    """
    remedy = f"python -m experiments.classifier --seed {seed} makes it anew"
    try:
        with understood(path, "damaged or no such classifier", remedy):
            content = load_plain(path)
            with torch.device("meta"):  # no weights of its own, so no random numbers drawn in the middle of a training
                classifier = DigitClassifier()
            classifier.load_state_dict(content["classifier"], assign=True)
            check_finite(classifier)
            origin = content["origin"]
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {remedy}") from error
    layout: dict[str, Any] = {"memory_format": torch.channels_last}
    return classifier.float().to(**layout).eval(), origin
