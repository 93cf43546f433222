"""Ctrl-C and SIGTERM while a script imports PyTorch, which takes seconds: it ends at once, without a traceback."""

import os
import signal

ORDINARY = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


def end_at_once() -> None:
    """From now on Ctrl-C ends this process with exit code 130, SIGTERM with 143, unless they are ignored."""
    for number, ordinary in ORDINARY.items():
        if signal.getsignal(number) == ordinary:
            signal.signal(number, _end)


def raise_again() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt again, for whoever has work to finish, and SIGTERM is one too."""
    for number in ORDINARY:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.default_int_handler)


def _end(number: int, _: object) -> None:
    os._exit(128 + number)
