"""Trained networks as files of plain tensors, each with its origin: plain values that say how it was made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from experiments.harness.files import load_plain, restore, save_plain, user_error_if_unreadable
from model import Generator

PRETRAINED = Path(__file__).parents[2] / "data" / "pretrained"
JUDGE = PRETRAINED / "classifier.pt"  # the classifier that measures
GUIDE = PRETRAINED / "guide.pt"  # another one, whose features the second critic receives
GENERATOR_FILE = "generator.pt"  # the average generator in a run directory
BUNDLED = {preset: PRETRAINED / preset for preset in ("tuned", "handout")}  # options, log and generator of two runs
BUNDLED_GENERATOR = BUNDLED["tuned"] / GENERATOR_FILE


def save(path: Path, networks: Mapping[str, nn.Module], origin: dict) -> None:
    """Write {name: state dict of the network of that name, "origin": origin}, 16 bits per number: half the size."""
    content: dict[str, Any] = {"origin": origin}
    for name, network in networks.items():
        state = {key: tensor.cpu().contiguous() for key, tensor in network.state_dict().items()}
        content[name] = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    save_plain(path, content)


def load_generator(path: Path) -> tuple[Generator, dict]:
    """A generator of the sizes in the file, and its origin; a bare state dict of the handout's class will do."""
    remedy = "train a generator, or name its weights by --generator"
    content = load_plain(path, remedy)
    with user_error_if_unreadable(path, remedy):
        state, origin = (content["generator"], content["origin"]) if "origin" in content else (content, {})
        z_dim, channels, *_ = state["decoder.0.weight"].shape
        restore(generator := Generator(z_dim, channels // 4), state)
    return generator, origin
