"""Files that are written whole or not at all, and files of weights that are read without executing what they hold."""

import os
from pathlib import Path
from typing import Any

import torch

from experiments.harness.errors import UserError, os_errors_as_user_errors, user_error_if_unreadable


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write bytes under a temporary name, then rename: the path holds the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with os_errors_as_user_errors(f"write {path}"):
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def load_plain(path: Path, what_to_do: str) -> dict[str, Any]:
    """The dictionary of plain types and tensors that torch.save wrote, on the CPU. No code in the file is executed.

    UserError, which ends in what_to_do, if the file is missing, damaged or something else.
    """
    with user_error_if_unreadable(path, what_to_do):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dictionary; {what_to_do}")
    return content


def restore(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Give a network these weights. RuntimeError if one is missing or of another shape, ValueError if not finite."""
    network.load_state_dict(state)
    for name, values in network.state_dict().items():
        if not values.isfinite().all():
            raise ValueError(f"{name} is not finite")
