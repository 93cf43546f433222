"""Trained networks as files of plain tensors, each with its origin: plain values that say how it was made."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from experiments.options import UserError
from experiments.run import load_plain, write_atomically
from model import DigitClassifier, Generator

PRETRAINED = Path(__file__).parents[1] / "data" / "pretrained"
GENERATOR = PRETRAINED / "generator.pt"
CLASSIFIER = PRETRAINED / "classifier.pt"


def save(path: Path, name: str, network: nn.Module, origin: dict, dtype: torch.dtype = torch.float32) -> None:
    """Write {name: the network's state dict, "origin": origin}. dtype: of the numbers in the file."""
    buffer = io.BytesIO()
    state = {
        key: tensor.to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for key, tensor in network.state_dict().items()
    }
    torch.save({name: state, "origin": origin}, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path) -> dict:
    """A file's dictionary. UserError if it is missing, damaged or something else; no code in it is executed."""
    try:
        content = load_plain(path)
    except Exception as error:  # whatever torch.load meets in a damaged or foreign file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is missing, damaged or no file of weights ({reason})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no dictionary of weights")
    return content


def load_generator(path: Path) -> tuple[Generator, dict]:
    """A generator and its origin, from a file of `save` or a bare state dict such as the handout's class makes.

    The sizes are those of the tensors. UserError if the file is missing, damaged or something else; no code in it is
    executed.
    """
    try:
        content = load_plain(path)
        weights, origin = (content["generator"], content["origin"]) if "origin" in content else (content, {})
        z_dim, widest = weights["decoder.0.weight"].shape[:2]
        generator = Generator(z_dim, widest // 4)
        generator.load_state_dict(weights)
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there; train a generator first, or name its weights by --generator") from error
    except Exception as error:  # whatever torch.load meets in a damaged or foreign file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is damaged or no such generator ({reason}); name another by --generator") from error
    return generator, origin


def load_classifier(path: Path = CLASSIFIER) -> tuple[DigitClassifier, dict]:
    """The classifier, in evaluation mode, and its origin. UserError if the file is missing or damaged."""
    try:
        content = load_plain(path)
        with torch.device("meta"):  # no weights of its own, so no random numbers drawn in the middle of a training
            classifier = DigitClassifier()
        classifier.load_state_dict(content["classifier"], assign=True)
    except Exception as error:  # whatever torch.load meets in a damaged or foreign file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is missing or damaged ({reason}); python -m experiments.classifier makes it anew") from error
    layout: dict[str, Any] = {"memory_format": torch.channels_last}
    return classifier.float().to(**layout).eval(), content["origin"]
