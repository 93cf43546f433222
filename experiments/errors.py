"""What a command says of a mistake, and of a file that is not what it should be: one line, exit code 2."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from experiments import interrupt


class UserError(Exception):
    """Something that the user can mend, in one line: what, where, what to do."""


def command(main: Callable[[list[str] | None], None], argv: list[str] | None = None, *, resumes: bool = True) -> int:
    """Run main(argv) as a command: a UserError becomes one line and exit code 2, Ctrl-C or SIGTERM one and 130.

    resumes: whether it knows --resume, which these lines then name.
    """
    _prepare_streams()
    try:
        interrupt.raise_again()
        main(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # such as `| head -1`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (for what Python writes at its end)
        go_on = "; --resume goes on with it" if resumes else ""
        print(f"error: what reads the output has ended, so the run stops here{go_on}", file=sys.stderr)
        return 2
    except UserError as error:
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except OSError as error:  # that nothing else foresaw
        print("error:", reason(error), file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        print("error: the memory does not suffice for these sizes; name smaller ones", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        go_on = "; the same command with --resume goes on from the last checkpoint" if resumes else ""
        print(f"interrupted{go_on}", file=sys.stderr)
        return 130
    return 0


def _prepare_streams() -> None:
    """Let the output take any character, and let a stream that is closed (2>&-) swallow what it is sent."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open as long as the process)
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def out_of_memory(error: Exception) -> bool:
    """Whether memory that was asked for could not be had; of PyTorch on the CPU only the words of the error say so."""
    words = ("can't allocate memory", "Storage size calculation overflowed", "Invalid storage size")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(part in str(error) for part in words)


def words_of(error: Exception) -> str:
    """What an error says; one of the file system says the file, if it knows it, then what is wrong."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def reason(error: Exception) -> str:
    """What an error says, for a place in a line: in one, without colours, printable, not too long."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", words_of(error)).split()) or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in words)[:200]


@contextlib.contextmanager
def understood(path: Path, otherwise: str, what_to_do: str) -> Iterator[None]:
    """Turn whatever reading a damaged or foreign file raises into a UserError: what it is otherwise, and what to do.

    A FileNotFoundError goes through, for the caller knows better what is missing, and so does a lack of memory.
    """
    try:
        yield
    except (UserError, FileNotFoundError):
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        if out_of_memory(error):
            raise
        raise UserError(f"{path} is {otherwise} ({reason(error)}); {what_to_do}") from error
