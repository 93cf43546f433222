"""Errors that the user can mend, in one line each; files written whole or not at all, read without executing code."""

import contextlib
import io
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

# What reading a damaged or foreign file raises.
UNREADABLE = (AttributeError, EOFError, KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError)


class UserError(Exception):
    """Something that the user can mend, in one line: what, where, what to do."""


def say(line: str) -> None:
    """Print a line at once. Where nobody reads any longer (`| head -1`), this line and all later ones are dropped."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def user_error_if_unreadable(path: Path, what_to_do: str) -> Iterator[None]:
    """Turn what reading a missing, damaged or foreign file raises into a UserError that says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; {what_to_do}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; {what_to_do}") from error
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} is damaged or of another form ({reason or type(error).__name__}); {what_to_do}"
        ) from error


@contextlib.contextmanager
def os_errors_as_user_errors(do: str) -> Iterator[None]:
    """Turn an error of the file system into a UserError that says what could not be done."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {do}: {error.strerror or error}; nothing that was there is lost") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write bytes under a temporary name, then rename: the path holds the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    with os_errors_as_user_errors(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def save_plain(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary of plain types and tensors, which load_plain reads."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load_plain(path: Path, what_to_do: str) -> dict[str, Any]:
    """The dictionary of plain types and tensors that torch.save wrote. UserError otherwise; no code is executed."""
    with user_error_if_unreadable(path, what_to_do):
        return torch.load(path, map_location="cpu", weights_only=True)


def restore(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Give a network these weights. RuntimeError if one is missing or of another shape, ValueError if not finite."""
    network.load_state_dict(state)
    for name, values in network.state_dict().items():
        if not values.isfinite().all():
            raise ValueError(f"{name} is not finite")
