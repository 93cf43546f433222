"""Ctrl-C while a script imports PyTorch, which takes seconds: the process ends at once, without a traceback."""

import os
import signal


def end_at_once() -> None:
    """From now on Ctrl-C ends this process with exit code 130, unless whoever started it has Ctrl-C ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt again, for whoever has work to finish."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    os._exit(130)
