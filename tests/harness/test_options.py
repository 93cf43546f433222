"""An option is written once: default, help, check, record and command line agree, and a mistake is one line."""

import argparse
import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from experiments.harness.errors import understood

from experiments import vae, wgan
from experiments.harness.options import (
    Options,
    UserError,
    command,
    described,
    file_path,
    fraction,
    from_record,
    make_parser,
    new_options,
    numbers,
    option,
    parse,
    positive_integer,
    positive_number,
    resumed_options,
    text,
    to_record,
    whole_number,
)


@dataclasses.dataclass(frozen=True)
class ToyOptions(Options):
    question = "q1"

    epochs: int = option(20, "passes", scope="length")
    rate: float = option(2e-3, "of learning")
    beta1: float = option(0.9, "of Adam", fraction)
    thetas: tuple[float, ...] = option((0.0, 1.0, 2.0), "distances")
    file: Path | None = option(None, "to read", file_path)
    digest: str = option("", "of the data", scope="record")
    often: int = option(5, "of lines", scope="command")


PRESETS = {"tuned": ToyOptions(), "handout": ToyOptions(preset="handout", rate=3e-4)}


def given(*arguments):
    return parse([str(argument) for argument in arguments], "test", PRESETS)


def test_options_come_from_the_preset_and_the_command_line():
    assert new_options({}, PRESETS) == ToyOptions()
    named = given("--preset", "handout", "--seed", 3, "--epochs", 5, "--thetas", "0,0.5", "--file", "a.mat")
    expected = ToyOptions(preset="handout", rate=3e-4, seed=3, epochs=5, thetas=(0.0, 0.5), file=Path("a.mat"))
    assert new_options(named, PRESETS) == expected


def test_record_holds_what_belongs_to_a_run_and_comes_back():
    options = ToyOptions(
        seed=3, rate=1 / 3, thetas=(0.0, 1e-7), file=Path("a/b.mat"), digest="f00", often=7, data_dir=Path("x")
    )
    record = to_record(options)
    assert record.keys().isdisjoint({"often", "data_dir", "run_dir", "device", "resume"})
    assert record.pop("question") == "q1"
    assert from_record(record, ToyOptions(often=7, data_dir=Path("x"))) == options
    assert from_record({**record, "file": None}, ToyOptions()).file is None


def test_help_shows_every_option_with_the_values_of_both_presets():
    shown = " ".join(make_parser("test", PRESETS).format_help().split())
    for words in (
        "of learning (tuned: 0.002, handout: 0.0003)",
        "passes (20)",
        "of weights, order and noise (0)",
        "(0,1,...,2)",
    ):
        assert words in shown
    flags = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(ToyOptions)} - {"--digest"}
    assert flags | {"--help"} == set(re.findall(r"--[a-z][\w-]*", make_parser("test", PRESETS).format_usage() + " --help"))


def test_contradicted_options_are_named():
    recorded = ToyOptions(epochs=20, run_dir=Path("runs/q1"))
    assert resumed_options(recorded, {"epochs": 20, "rate": 2e-3, "often": 9}, lengthen=True) == recorded
    assert resumed_options(recorded, {"preset": "auto"}, lengthen=True) == recorded  # no wish
    with pytest.raises(UserError, match=r"runs/q1 has --rate 0.002, not 0.1; leave it out"):
        resumed_options(recorded, {"rate": 0.1}, lengthen=True)


def test_a_run_can_be_made_longer_and_not_shorter():
    recorded = ToyOptions(epochs=20)
    assert resumed_options(recorded, {"epochs": 40}, lengthen=True) == replace(recorded, epochs=40)
    with pytest.raises(UserError, match=r"has --epochs 20, not 10: a run can be made longer, not shorter"):
        resumed_options(recorded, {"epochs": 10}, lengthen=True)
    with pytest.raises(UserError, match=r"has --epochs 20, not 40; leave it out"):
        resumed_options(recorded, {"epochs": 40}, lengthen=False)


@pytest.mark.parametrize(
    "arguments",
    [["--seed", "-1"], ["--seed", "1.5"], ["--preset", "best"], ["--unknown"], ["--seed", "9" * 5000], ["--digest", "f00"]],
)
def test_bad_command_lines_are_user_errors(arguments):
    with pytest.raises(UserError, match="--help lists the options"):
        given(*arguments)


@pytest.mark.parametrize(
    ("convert", "good", "good_values", "bad"),
    [
        (whole_number, ["0", "12", str(2**63 - 1)], [0, 12, 2**63 - 1], ["-1", "", "1.0", "1e3", "²", "nan", str(2**63)]),
        (positive_integer, ["1", "007"], [1, 7], ["0", "-1", "x"]),
        (fraction, ["0", "0.999"], [0.0, 0.999], ["1", "-0.1", "nan", "x"]),
        (positive_number, ["1e-9", "3", ".5"], [1e-9, 3.0, 0.5], ["0", "-1", "inf", "nan", "x", "1e999", ""]),
        (numbers, ["0", "-1,.5"], [(0.0,), (-1.0, 0.5)], ["", ",", "0,x", "0,nan", "1e300"]),
        (file_path, ["a/b", "."], [Path("a/b"), Path(".")], ["", "a\nb", "\udcff"]),
        (text, ["", "é"], ["", "é"], ["\x1b[31m", "\ud800"]),
    ],
)
def test_option_values(convert, good, good_values, bad):
    assert [convert(value) for value in good] == good_values
    for value in bad:
        with pytest.raises(argparse.ArgumentTypeError):
            convert(value)


def test_command_prints_errors_in_one_line(capsys):
    def fail(argv):
        raise UserError(f"{argv[0]} is missing; look for it")

    def interrupt(argv):
        raise KeyboardInterrupt

    assert command(fail, ["x"]) == 2
    assert capsys.readouterr().err == "error: x is missing; look for it\n"
    assert command(interrupt) == 130
    assert capsys.readouterr().err.count("\n") == 1
    assert command(interrupt, resumes=False) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("shape", [(10**18,), (10**10, 10**10)])
def test_sizes_that_no_memory_holds_are_one_line(capsys, shape):
    assert command(lambda argv: torch.empty(shape)) == 2
    assert capsys.readouterr().err == "error: the memory does not suffice for these sizes; name smaller ones\n"


def test_other_runtime_errors_are_not_hidden():
    with pytest.raises(RuntimeError, match=r"size mismatch|shapes cannot be multiplied"):
        command(lambda argv: torch.ones(2, 3) @ torch.ones(2, 3))


def test_described_names_the_preset_and_what_differs_from_it():
    options = dataclasses.replace(vae.PRESETS["tuned"], epochs=100, weight_decay=0.03, seed=3, dataset="binarized-mnist")
    assert described(options, vae.PRESETS) == "tuned --seed 3 --epochs 100 --weight-decay 0.03"
    assert described(vae.PRESETS["handout"], vae.PRESETS) == "handout"
    changed = replace(wgan.PRESETS["handout"], augment=True, lazy_penalty=True)
    assert described(changed, wgan.PRESETS) == "handout --augment --lazy-penalty"
    assert described(replace(wgan.PRESETS["tuned"], whiten=False), wgan.PRESETS) == "tuned --no-whiten"


@pytest.mark.parametrize(
    "error", [UserError("x"), FileNotFoundError("x"), MemoryError(), RuntimeError("can't allocate memory")]
)
def test_what_the_caller_knows_better_is_not_called_damage(error):
    with pytest.raises(type(error)) as caught, understood(Path("file"), "damaged", "delete it"):
        raise error
    assert caught.value is error


def test_whatever_else_a_file_raises_is_damage_to_it():
    for error, line in (
        (PermissionError(13, "Permission denied"), "file cannot be read: Permission denied"),
        (KeyError("\x1b[31mred"), r"file is damaged ('\x1b[31mred'); delete it"),
        (ZeroDivisionError(), "file is damaged (ZeroDivisionError); delete it"),
    ):
        with pytest.raises(UserError) as caught, understood(Path("file"), "damaged", "delete it"):
            raise error
        assert str(caught.value) == line
