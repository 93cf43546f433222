"""Trained networks as files of plain tensors, each with its origin: plain values that say how it was made."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.harness.files import UserError, load_plain, restore, user_error_if_unreadable, write_atomically
from model import DigitClassifier, Generator
from q3_samplers import fingerprints

PRETRAINED = Path(__file__).parents[2] / "data" / "pretrained"
GENERATOR = PRETRAINED / "generator.pt"
CLASSIFIER = PRETRAINED / "classifier.pt"  # the judge
GUIDE = PRETRAINED / "guide.pt"  # of the same kind; the second critic receives its features


def save(path: Path, networks: Mapping[str, nn.Module], origin: dict) -> None:
    """Write {name: state dict of the network of that name, "origin": origin}, 16 bits per number: half the size."""
    buffer = io.BytesIO()
    states = {name: _halved(network.state_dict()) for name, network in networks.items()}
    torch.save({**states, "origin": origin}, buffer)
    write_atomically(path, buffer.getvalue())


def _halved(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: tensor.to("cpu", torch.float16 if tensor.is_floating_point() else None).contiguous()
        for name, tensor in state.items()
    }


def seen_by(path: Path) -> list[int]:
    """Fingerprints of the images that networks of a file, or a checkpoint, were trained on; [] if unknown."""
    content = load_plain(path, "name another file of weights")
    return content.get("origin", content).get("seen", [])


def seen(images: torch.Tensor, others: Iterable[Path | None]) -> list[int]:
    """Fingerprints of all that a network has seen that is trained on these images with the networks in other files."""
    return sorted({*fingerprints(images), *(mark for path in others if path for mark in seen_by(path))})


def load_generator(path: Path) -> tuple[Generator, dict]:
    """A generator and its origin, from a file of `save` or a bare state dict such as the handout's class makes.

    The sizes are those of the tensors. UserError if the file is missing, damaged or something else; no code in it is
    executed.
    """
    remedy = "name the weights of a generator by --generator"
    content = load_plain(path, remedy)
    with user_error_if_unreadable(path, remedy):
        state, origin = (content["generator"], content["origin"]) if "origin" in content else (content, {})
        z_dim, channels, *_ = state["decoder.0.weight"].shape
        restore(generator := Generator(z_dim, channels // 4), state)
    return generator, origin


def load_classifier(path: Path = CLASSIFIER, seed: int = 0) -> tuple[DigitClassifier, dict]:
    """A classifier, in evaluation mode, and its origin. UserError if the file is missing or damaged.

    seed: what the command that makes such a file anew is to be called with.
    """
    remedy = f"python -m experiments.wgan.classifier --seed {seed} makes it anew"
    content = load_plain(path, remedy)
    with user_error_if_unreadable(path, remedy), torch.random.fork_rng(devices=[]):  # training's random numbers stay
        restore(classifier := DigitClassifier(), content["classifier"])
        origin = content["origin"]
    layout: dict[str, Any] = {"memory_format": torch.channels_last}
    return classifier.to(**layout).eval(), origin


def load_guide() -> DigitClassifier:
    """The guide classifier. UserError if it is the judge, which would then measure what was trained to please it."""
    guide, judge = load_classifier(GUIDE, seed=1)[0], load_classifier()[0]
    if torch.equal(guide.digit.weight, judge.digit.weight):
        raise UserError(f"{GUIDE} is the judge classifier; python -m experiments.wgan.classifier --seed 1 makes another")
    return guide
