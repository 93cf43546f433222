"""A small data set in the published form, and the commands run on it.

What takes seconds to import is imported where it is used: the process that only hands out tests to others does without.
"""

import gzip
import hashlib
import importlib
import multiprocessing
import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).parent.parent
os.environ["OMP_NUM_THREADS"] = "1"  # here and in what is started from here: it changes the last bits of a product


MAIN = {name: f"experiments.{name}.evaluate" for name in ("vae", "divergences", "wgan")}


class NoCanvas:
    """In place of the canvas that draws a figure, which takes seconds for each run."""

    def __init__(self, figure):
        pass

    def print_png(self, buffer):
        buffer.write(b"a figure")


@pytest.fixture(autouse=True)
def figures_not_drawn(request, monkeypatch):
    """Figures are put together but not drawn, unless a test asks for figures_drawn."""
    if "figures_drawn" not in request.fixturenames:
        monkeypatch.setattr("experiments.harness.plotting.FigureCanvasAgg", NoCanvas)


@pytest.fixture
def figures(monkeypatch):
    """The figures of this test, each as it is put together, in the order in which they are written."""
    written = []

    class Kept(NoCanvas):
        def __init__(self, figure):
            written.append(figure)

    monkeypatch.setattr("experiments.harness.plotting.FigureCanvasAgg", Kept)
    return written


@pytest.fixture
def figures_drawn():
    """In this test figures are drawn."""


SIZES = {"train": 300, "valid": 100, "test": 60}


def amat(digits):
    """Binary digits (n, 784) as the text of an .amat file."""
    return b"".join(b" ".join(row) + b"\n" for row in np.where(digits, b"1", b"0"))


@pytest.fixture(scope="session")
def small_files():
    """Name to text of three small .amat files: blurred random strokes, enough for a VAE to learn something from."""
    random = np.random.default_rng(0)
    files = {}
    for split, size in SIZES.items():
        column = np.abs(np.arange(28) - random.uniform(8, 20, (size, 1))) < 2
        row = np.abs(np.arange(28) - random.uniform(8, 20, (size, 1))) < 6
        probability = 0.02 + 0.9 * row[:, :, None] * column[:, None, :]
        files[f"binarized_mnist_{split}.amat"] = amat((random.random((size, 28, 28)) < probability).reshape(size, 784))
    return files


@pytest.fixture
def small_data(small_files, tmp_path, monkeypatch):
    """A data folder with those files, which q1_samplers is made to take for the published ones."""
    import q1_samplers

    digests = {name: hashlib.sha256(text).hexdigest() for name, text in small_files.items()}
    monkeypatch.setattr(q1_samplers, "SHA256", digests)
    folder = tmp_path / "data"
    (folder / "binarized_mnist").mkdir(parents=True)
    for name, text in small_files.items():
        (folder / "binarized_mnist" / name).write_bytes(text)
    return folder


@pytest.fixture
def q1(small_data, capsys):
    """Run `python q1_solution.py ...` on the small data in this process; returns exit code, output and errors."""
    from experiments.vae.evaluate import main

    def run(*arguments):
        code = main(["--data-dir", str(small_data), *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def run_command(question, digests, arguments, errors, before):
    """Run a command in this process, which is there for nothing else, and end with its exit code."""
    importlib.import_module("q1_samplers").SHA256 = digests
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stderr = open(errors, "w", buffering=1)  # noqa: SIM115 (open as long as the process)
    before()
    os._exit(importlib.import_module(MAIN[question]).main([str(argument) for argument in arguments]))


def nothing():
    """Nothing is to be done before the command."""


@pytest.fixture
def forked(tmp_path):
    """Start `python qN_solution.py ...` as a process of its own, to be killed, starved or interrupted.

    question: vae, divergences or wgan. On Linux it is a copy of this process, since another one imports PyTorch for
    seconds, which is no moment of a training. What it says to standard error is in the file `errors` of the process.
    """
    import q1_samplers

    context, started = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn"), []

    def start(question, *arguments, before=nothing):
        errors = tmp_path / f"errors-{len(started)}"
        process = context.Process(target=run_command, args=(question, q1_samplers.SHA256, arguments, errors, before))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of a fork in a process with threads
            process.start()
        process.errors = errors
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def gzipped(small_data):
    """The small data folder with every file as .gz."""
    for path in (small_data / "binarized_mnist").glob("*.amat"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    return small_data


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """The first images of the stand-in as a .mat file of SVHN's form."""
    import scipy.io

    from experiments.wgan.stand_in import stand_in

    photos = stand_in(500)
    path = tmp_path_factory.mktemp("svhn") / "small.mat"
    digits = photos.labels.numpy().astype(np.uint8)[:, None]
    scipy.io.savemat(path, {"X": photos.images.permute(2, 3, 1, 0).numpy(), "y": np.where(digits == 0, 10, digits)})
    return path


TINY = {"--h-dim": 2, "--z-dim": 5, "--batch-size": 4, "--generator-steps": 8, "--log-every": 2}


@pytest.fixture
def q3(data_file, monkeypatch, capsys):
    """Run `python q3_solution.py ...` in this process, new runs with TINY; returns exit code, output and errors."""
    from experiments.wgan import train
    from experiments.wgan.evaluate import main

    monkeypatch.setattr(train, "VIEW_IMAGES", 50)

    def run(*arguments):
        tiny = [] if {"evaluate", "--resume"} & {*arguments} else [part for option in TINY.items() for part in option]
        code = main([*map(str, ("--data-file", data_file, "--samples", 100, "--latents", 20, *tiny, *arguments))])
        return code, *capsys.readouterr()

    return run
