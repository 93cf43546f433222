"""Trained networks as files of plain tensors, each with its origin: plain values that say how it was made."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.harness.files import load_plain, restore, user_error_if_unreadable, write_atomically
from model import DigitClassifier, Generator
from q3_samplers import fingerprints

PRETRAINED = Path(__file__).parents[2] / "data" / "pretrained"
GENERATOR = PRETRAINED / "generator.pt"
CLASSIFIER = PRETRAINED / "classifier.pt"  # the judge
GUIDE = PRETRAINED / "guide.pt"  # of the same kind; the second critic receives its features


def save(path: Path, networks: Mapping[str, nn.Module], origin: dict) -> None:
    """Write {name: state dict of the network of that name, "origin": origin}, 16 bits per number: half the size."""
    content: dict[str, Any] = {"origin": origin}
    for name, network in networks.items():
        state = {key: tensor.cpu().contiguous() for key, tensor in network.state_dict().items()}
        content[name] = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def seen_by(path: Path) -> list[int]:
    """Fingerprints of the images that networks of a file, or a checkpoint, were trained on; [] if unknown."""
    content = load_plain(path, "name another file of weights")
    return content.get("origin", content).get("seen", [])


def seen(images: torch.Tensor, others: Iterable[Path | None]) -> list[int]:
    """Fingerprints of all that a network has seen that is trained on these images with the networks in other files."""
    return sorted({*fingerprints(images), *(mark for path in others if path for mark in seen_by(path))})


def load_generator(path: Path) -> tuple[Generator, dict]:
    """A generator of the sizes in the file, and its origin; a bare state dict of the handout's class will do."""
    remedy = "train a generator, or name its weights by --generator"
    content = load_plain(path, remedy)
    with user_error_if_unreadable(path, remedy):
        state, origin = (content["generator"], content["origin"]) if "origin" in content else (content, {})
        z_dim, channels, *_ = state["decoder.0.weight"].shape
        restore(generator := Generator(z_dim, channels // 4), state)
    return generator, origin


def load_classifier(path: Path = CLASSIFIER, seed: int = 0) -> tuple[DigitClassifier, dict]:
    """A classifier, in evaluation mode, and its origin. UserError says by which seed a missing file is made anew."""
    remedy = f"python -m experiments.wgan.classifier --seed {seed} makes it anew"
    content = load_plain(path, remedy)
    with user_error_if_unreadable(path, remedy), torch.random.fork_rng(devices=[]):  # training's random numbers stay
        restore(classifier := DigitClassifier(), content["classifier"])
        origin = content["origin"]
    layout: dict[str, Any] = {"memory_format": torch.channels_last}
    return classifier.to(**layout).eval(), origin
