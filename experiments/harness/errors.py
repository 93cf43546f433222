"""What a command says of a mistake that the user can mend: one line, exit code 2."""

import contextlib
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# What reading a damaged or foreign file raises.
UNREADABLE = (AttributeError, EOFError, KeyError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError)


class UserError(Exception):
    """Something that the user can mend, in one line: what, where, what to do."""


def command(main: Callable[[list[str]], None], argv: list[str] | None = None) -> int:
    """Run main(argv) as a command. Returns its exit code: 0, 2 for a UserError, 130 if interrupted.

    With --debug a UserError is a traceback, as every other error is anyway.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        main(argv)
    except UserError as error:
        if "--debug" in argv:
            raise
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"interrupted{interrupt}", file=sys.stderr)
        return 130
    return 0


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
        raise UserError(f"{path} is damaged or of another form ({reason or type(error).__name__}); {what_to_do}") from error


@contextlib.contextmanager
def os_errors_as_user_errors(do: str) -> Iterator[None]:
    """Turn an error of the file system into a UserError that says what could not be done."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {do}: {error.strerror or error}; nothing that was there is lost") from error
