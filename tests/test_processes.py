"""A command as one process among others: what its streams are, and what signals find it doing."""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import interrupt
from experiments.errors import UserError, command

PROJECT = Path(__file__).parent.parent
SCRIPTS = ["q1_solution.py", "q2_solution.py", "q3_solution.py", "-m report", "-m experiments.classifier"]


def say(argv):
    print("名前 é")


def fail(argv):
    raise UserError("名前 is missing; look for it")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_closed_stream_swallows_what_it_is_sent(monkeypatch, name):
    """As after 2>&-: a progress bar on it once ended the training with an AttributeError."""
    monkeypatch.setattr(sys, name, None)
    worked = []

    def work(argv):
        getattr(sys, name).write("said")
        getattr(sys, name).flush()
        worked.append(argv)

    assert command(work, ["x"]) == 0
    assert worked == [["x"]]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_stream_of_another_encoding_shows_what_it_can(monkeypatch, encoding):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding, newline="\n") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert (command(say), command(fail)) == (0, 2)
    for stream in streams.values():
        stream.flush()
    e = "\\xe9" if encoding == "ascii" else "é"
    assert streams["stdout"].buffer.getvalue().decode(encoding) == f"\\u540d\\u524d {e}\n"
    assert streams["stderr"].buffer.getvalue().decode(encoding) == "error: \\u540d\\u524d is missing; look for it\n"


@pytest.mark.parametrize("resumes", [True, False])
def test_reader_that_has_ended_is_one_line(monkeypatch, capsys, resumes):
    """As in `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, "stdout", open(writer, "w"))  # noqa: SIM115 (command replaces it)
    assert command(say, resumes=resumes) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: what reads the output has ended")
    assert err.count("\n") == 1
    assert ("--resume" in err) is resumes


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "a\nb"), "a b: Permission denied"),
        (OSError("odd"), "odd"),
        (MemoryError(), "the memory does not suffice for these sizes; name smaller ones"),
    ],
)
def test_error_that_nothing_foresaw_is_one_line(capsys, error, line):
    def work(argv):
        raise error

    assert command(work) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.fixture
def slow_import(tmp_path):
    """An environment in which importing PyTorch says so and then takes a minute."""
    (tmp_path / "torch.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def started(script, environment, **options):
    """The script as a process that is importing PyTorch."""
    command = [sys.executable, *script.split()]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, **pipes, **options)
    assert process.stdout.readline() == "importing\n"
    return process


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("script", SCRIPTS)
def test_interrupt_during_imports_ends_without_a_traceback(slow_import, script, number):
    process = started(script, slow_import)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + number, "")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_interrupt_that_is_ignored_stays_ignored(slow_import):
    """As of a job that a script put into the background."""
    process = started("q2_solution.py", slow_import, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_is_an_exception_once_the_command_is_at_work(capsys, number):
    def work(argv):
        signal.raise_signal(number)

    before = {each: signal.getsignal(each) for each in interrupt.ORDINARY}
    try:
        interrupt.end_at_once()
        assert all(signal.getsignal(each) != handler for each, handler in before.items())
        assert command(work) == 130
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert capsys.readouterr().err.startswith("interrupted; the same command with --resume")
