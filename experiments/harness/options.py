"""What can be asked of an experiment: a dataclass whose fields make the command line, --help and options.json."""

import argparse
import contextlib
import dataclasses
import textwrap
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

from experiments.harness.files import UserError

T = TypeVar("T")
AnyOptions = TypeVar("AnyOptions", bound="Options")
Check = Callable[[str], Any]  # the text of a value to the value; argparse.ArgumentTypeError for one that is not allowed


def number_check(convert: Callable[[str], T], allowed: Callable[[T], bool], description: str) -> Callable[[str], T]:
    """A Check that converts a text and allows some of the values, which `description` names."""

    def check(text: str) -> T:
        with contextlib.suppress(ValueError):
            value = convert(text)
            if allowed(value):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {description}")

    return check


whole_number = number_check(int, lambda n: 0 <= n < 2**31, "a whole number from 0 to 2**31 - 1")
positive_integer = number_check(int, lambda n: n > 0, "a whole number of at least 1")
positive_number = number_check(float, lambda x: 0 < x <= 1e30, "a number above 0 and at most 1e30")
fraction = number_check(float, lambda x: 0 <= x < 1, "a number of at least 0 and below 1")


def file_path(text: str) -> Path:
    """A Check of paths. ~ is the home directory, which not every shell replaces in --run-dir=~/runs."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text is no path")
    return Path(text).expanduser()


CHECKS: dict[type, Check] = {int: positive_integer, float: positive_number, str: str, Path: file_path, tuple: file_path}


def option(
    default: T,
    help: str,
    check: Check | None = None,
    choices: Collection[str] = (),
    scope: Literal["run", "length", "place", "command"] = "run",
    handout: Any = None,
) -> T:
    """A field of Options. check: by default that of CHECKS for its type. handout: its value in the handout's preset.

    scope: "run" belongs to a run for good; "length" too, but a resumed run may raise it; "place" is where data lie, and
    may change; "command" is for one command, and is not recorded.
    """
    check = check or next((check for kind, check in CHECKS.items() if isinstance(default, kind)), str)
    about = dict(help=help, check=check, choices=choices, scope=scope, handout=handout)
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True)
class Options:
    """What every experiment can be asked for."""

    question: ClassVar[str]

    run_dir: Path = option(Path("runs"), "where the run is recorded", scope="command")
    beside: tuple[Path, ...] = option((), "another run to show in the same figures; repeatable", scope="command")
    device: str = option("auto", "auto takes a GPU if there is one", choices=("auto", "cpu", "cuda"), scope="command")
    preset: str = option("tuned", "tuned: the best settings found; handout: the assignment's own")
    seed: int = option(0, "seed of weights, order and noise", whole_number)
    resume: bool = option(False, "go on with the run in --run-dir, further if it is to be longer", scope="command")
    debug: bool = option(False, "show the traceback of an error", scope="command")
    schedule: str = option("cosine", "of learning rates", choices=("constant", "cosine"), handout="constant")


def both_presets(tuned: AnyOptions) -> dict[str, AnyOptions]:
    """The tuned preset, and the handout's, for which each option has a value of its own: see `option`."""
    values = {f.name: f.metadata["handout"] for f in dataclasses.fields(tuned) if f.metadata["handout"] is not None}
    return {"tuned": tuned, "handout": dataclasses.replace(tuned, preset="handout", **values)}


def fields(options: Options, *scopes: str) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(options) if field.metadata["scope"] in scopes]


def flag(name: str) -> str:
    """The command line's spelling of an option: --batch-size for batch_size."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are UserErrors."""

    def error(self, message: str) -> NoReturn:
        hint = "; write a value that begins with - as in --thetas=-1,0,1" if "expected one argument" in message else ""
        raise UserError(f"{message}{hint}; --help lists the options")


def parse(argv: list[str] | None, description: str, presets: Mapping[str, Options]) -> dict[str, Any]:
    """The options named on a command line, name to value. UserError if one is no option or has no proper value."""
    parser = _Parser(description=description, argument_default=argparse.SUPPRESS)
    for field in dataclasses.fields(next(iter(presets.values()))):
        name, about = field.name, field.metadata
        settings: dict[str, Any] = {"help": about["help"] + _values_for_help(name, presets), "type": about["check"]}
        settings["choices"] = presets if name == "preset" else about["choices"] or None
        if isinstance(field.default, bool):
            once = about["scope"] == "command"
            settings = {"help": settings["help"], "action": "store_true" if once else argparse.BooleanOptionalAction}
        if name == "beside":
            settings |= {"action": "append", "metavar": "RUN_DIR"}
        if name == "action":
            parser.add_argument("action", nargs="?", default=None, **settings)
        else:
            parser.add_argument(flag(name), **settings)
    parsed = vars(parser.parse_args(argv))
    return {name: tuple(v) if isinstance(v, list) else v for name, v in parsed.items() if v is not None}


def _values_for_help(name: str, presets: Mapping[str, Options]) -> str:
    """An option's value by preset: one, or one for each preset if they differ."""
    values = [str(getattr(options, name)) for options in presets.values()]
    if name == "preset" or len(set(values)) == 1:
        return "" if values[0] in ("None", "", "False", "()") else f" ({values[0]})"
    return f" ({', '.join(f'{preset}: {value}' for preset, value in zip(presets, values))})"


def resumed_options(recorded: AnyOptions, on_command_line: dict[str, Any], lengthen: bool) -> AnyOptions:
    """As recorded, but for a place or, if `lengthen`, a greater length named. UserError for other differences."""
    changed = {}
    for field in fields(recorded, "run", "length", "place"):
        scope, there = field.metadata["scope"], getattr(recorded, field.name)
        value = on_command_line.get(field.name, there)
        if scope != "place" and value not in ("auto", there) and (scope == "run" or not lengthen or value < there):
            only = " (a run can be made longer, not shorter)" if scope == "length" else ""
            contradiction = f"{recorded.run_dir} has {flag(field.name)} {there}, not {value}{only}"
            raise UserError(f"{contradiction}; leave it out, or name another --run-dir")
        changed[field.name] = there if value == "auto" else value
    return dataclasses.replace(recorded, **changed)


def to_record(options: Options) -> dict[str, Any]:
    """The options that belong to a run as plain values for JSON, name to value, the question before them."""
    values = {field.name: getattr(options, field.name) for field in fields(options, "run", "length", "place")}
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return {"question": options.question} | {n: list(v) if isinstance(v, tuple) else v for n, v in plain.items()}


def from_record(record: dict[str, Any], command_options: AnyOptions, presets: Mapping[str, AnyOptions]) -> AnyOptions:
    """What to_record wrote, and the options of the command. What an old record lacks is as in that record's preset."""
    preset, values = presets[record.get("preset", "tuned")], dict[str, Any]()
    for field in fields(command_options, "run", "length", "place"):
        value = record.get(field.name, getattr(preset, field.name))
        if isinstance(value, str):
            value = field.metadata["check"](value)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(command_options, **values)


def label(options: AnyOptions, presets: Mapping[str, AnyOptions]) -> str:
    """What sets a run apart, in lines for a legend: its preset, the options that differ from it, and its seed."""
    words = [f"{options.preset} preset"]
    for name in (field.name for field in fields(options, "run", "length") if field.name != "seed"):
        value, usual = getattr(options, name), getattr(presets[options.preset], name)
        if value != usual and usual not in ("auto", ()):
            words.append(f"{flag(name)} {value}")
    return textwrap.fill(", ".join([*words, f"seed {options.seed}"]), 76, break_on_hyphens=False)
