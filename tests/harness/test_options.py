"""An option is written once: default, help, check, record and command line agree."""

import argparse
import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.harness.files import UserError
from experiments.harness.options import (
    Options,
    file_path,
    fraction,
    from_record,
    label,
    number_check,
    option,
    parse,
    positive_integer,
    positive_number,
    resumed_options,
    to_record,
    whole_number,
)

numbers = number_check(lambda text: tuple(map(float, text.split(","))), lambda v: max(v) < 9, "numbers below 9")


@dataclasses.dataclass(frozen=True)
class ToyOptions(Options):
    question = "q1"

    epochs: int = option(20, "passes", scope="length")
    rate: float = option(2e-3, "of learning")
    beta1: float = option(0.9, "of Adam", fraction)
    thetas: tuple[float, ...] = option((0.0, 1.0, 2.0), "distances", numbers)
    warm: bool = option(True, "start warm")
    file: Path | None = option(None, "to read", file_path, scope="place")
    often: int = option(5, "of lines", scope="command")


PRESETS = {"tuned": ToyOptions(), "handout": ToyOptions(preset="handout", rate=3e-4)}


def test_a_command_line_names_options_of_every_type():
    line = "--preset handout --seed 3 --thetas 0,0.5 --file a.mat --no-warm --resume --run-dir ~/x"
    named = dict(preset="handout", seed=3, thetas=(0.0, 0.5), file=Path("a.mat"), warm=False, resume=True)
    assert parse(line.split(), "test", PRESETS) == named | {"run_dir": Path.home() / "x"}
    assert parse([], "test", PRESETS) == {}


@pytest.mark.parametrize("argv", ["--seed -1", "--seed 1.5", "--preset best", "--unknown", "--run-dir=", "x"])
def test_a_wrong_command_line_is_a_user_error(argv):
    with pytest.raises(UserError, match="--help lists the options"):
        parse(argv.split(), "test", PRESETS)


@pytest.mark.parametrize(
    ("check", "good", "values", "bad"),
    [
        (
            whole_number,
            ["0", "12", str(2**31 - 1)],
            [0, 12, 2**31 - 1],
            ["-1", "", "1.0", "1e3", "²", "nan", str(2**31)],
        ),
        (positive_integer, ["1", "007"], [1, 7], ["0", "-1", "x", "9" * 5000]),
        (fraction, ["0", "0.999"], [0.0, 0.999], ["1", "-0.1", "nan", "x"]),
        (positive_number, ["1e-9", "3", "1e30"], [1e-9, 3.0, 1e30], ["0", "-1", "inf", "nan", "x", "1e39", ""]),
        (numbers, ["0", "-1,.5"], [(0.0,), (-1.0, 0.5)], ["", ",", "0,x", "1e300"]),
        (file_path, ["a/b", "."], [Path("a/b"), Path(".")], [""]),
    ],
)
def test_a_check_converts_what_is_allowed_and_refuses_the_rest(check, good, values, bad):
    assert [check(text) for text in good] == values
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError):
            check(text)


def test_help_shows_every_option_with_the_values_of_both_presets(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        parse(["--help"], "test", PRESETS)
    assert stop.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("of learning (tuned: 0.002, handout: 0.0003)", "passes (20)", "of weights, order and noise (0)"):
        assert text in shown
    flags = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(ToyOptions)}
    assert flags | {"--help", "--no-warm"} == set(re.findall(r"--[a-z][\w-]*", shown))


def test_a_record_holds_what_belongs_to_a_run_and_comes_back():
    command = dict(often=7, run_dir=Path("x"))
    options = ToyOptions(seed=3, rate=1 / 3, thetas=(0.0, 1e-7), file=Path("a/b.mat"), warm=False, **command)
    record = to_record(options)
    assert record["question"] == "q1"
    assert record.keys().isdisjoint({"often", "run_dir", "device", "resume", "debug"})
    assert from_record(record, ToyOptions(**command), PRESETS) == options
    assert from_record({**record, "file": None}, ToyOptions(**command), PRESETS) == replace(options, file=None)


def test_a_record_that_lacks_an_option_has_its_presets_and_what_is_unknown_in_it_is_left_out():
    """So old records stay readable, such as those with an option that is gone."""
    record = to_record(replace(PRESETS["handout"], seed=3))
    del record["rate"]
    record |= {"cooldown": 0, "initial_weights": None, "versions": {"torch": "1.0"}}
    assert from_record(record, ToyOptions(), PRESETS) == replace(PRESETS["handout"], seed=3)


def test_a_resumed_run_keeps_its_options_but_for_its_place_and_a_greater_length():
    recorded = ToyOptions(epochs=20, file=Path("old"))
    assert resumed_options(recorded, {"epochs": 40}, lengthen=True) == replace(recorded, epochs=40)
    assert resumed_options(recorded, {"epochs": 20, "rate": 2e-3, "often": 9}, lengthen=True) == recorded
    assert resumed_options(recorded, {"preset": "auto"}, lengthen=True) == recorded  # asks for nothing
    assert resumed_options(recorded, {"file": Path("new")}, lengthen=True) == replace(recorded, file=Path("new"))


@pytest.mark.parametrize(
    ("named", "lengthen", "says"),
    [
        ({"rate": 0.1}, True, "runs/q1 has --rate 0.002, not 0.1; leave it out"),
        ({"epochs": 10}, True, "has --epochs 20, not 10.*a run can be made longer, not shorter"),
        ({"epochs": 40}, False, "has --epochs 20, not 40.*; leave it out"),
    ],
)
def test_an_option_that_contradicts_the_record_is_named(named, lengthen, says):
    with pytest.raises(UserError, match=says):
        resumed_options(ToyOptions(run_dir=Path("runs/q1")), named, lengthen)


def test_a_value_that_begins_with_a_minus_is_given_behind_an_equals_sign():
    with pytest.raises(UserError, match="--thetas: expected one argument; write a value that begins with - as in"):
        parse(["--thetas", "-1,0"], "test", PRESETS)
    assert parse(["--thetas=-1,0"], "test", PRESETS) == {"thetas": (-1.0, 0.0)}


def test_the_label_of_a_run_is_its_preset_and_what_differs_from_it():
    assert label(ToyOptions(), PRESETS) == "tuned preset, seed 0"
    assert label(replace(PRESETS["handout"], epochs=40, seed=2), PRESETS) == "handout preset, --epochs 40, seed 2"


def test_several_runs_can_be_named_beside(tmp_path):
    found = parse(["--beside", "~/a", "--beside", "b"], "test", PRESETS)
    assert found == {"beside": (Path.home() / "a", Path("b"))}
