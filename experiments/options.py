"""What one may ask of an experiment: its options as a dataclass, read from a command line or from the record of a run.

Each experiment derives its options from Options and writes every one of them once, as a field made by `option`:
default, help text and check. The command line, --help, options.json and the check of a run that is taken up again all
come from there.
"""

import argparse
import dataclasses
import math
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

from experiments.errors import UserError as UserError
from experiments.errors import command as command  # with the options, as a command line needs them

T = TypeVar("T")
AnyOptions = TypeVar("AnyOptions", bound="Options")


def text(value: str) -> str:
    """A check, as all down to `option` are: from the text of a value to the value. Printable characters."""
    if not value.isprintable():
        raise argparse.ArgumentTypeError(f"{value!r} holds characters that cannot be printed")
    return value


def file_path(value: str) -> Path:
    """A path of printable characters; ~ is the home directory, which a shell does not see in --run-dir=~/runs."""
    if not value:
        raise argparse.ArgumentTypeError("an empty text is no path")
    return Path(os.path.expanduser(text(value)))


def whole_number(value: str) -> int:
    """An integer of at least 0, and small enough to be a seed."""
    if not value.isascii() or not value.isdigit() or int(value) >= 2**63:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from 0 to 2**63 - 1")
    return int(value)


def positive_integer(value: str) -> int:
    """An integer of at least 1."""
    if whole_number(value) == 0:
        raise argparse.ArgumentTypeError("0 is too small, the least is 1")
    return int(value)


def positive_number(value: str) -> float:
    """A number above 0, and small enough to be computed with in float32."""
    if not 0 < (number := _number(value)) <= 1e30:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number above 0 and at most 1e30")
    return number


def fraction(value: str) -> float:
    """A number from 0 up to, but not including, 1."""
    if not 0 <= (number := _number(value)) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of at least 0 and below 1")
    return number


def numbers(value: str) -> tuple[float, ...]:
    """Numbers from -1000 to 1000, separated by commas."""
    values = tuple(_number(part) for part in value.split(","))
    if not all(abs(number) <= 1000 for number in values):
        raise argparse.ArgumentTypeError(f"{value!r} is not a list of numbers from -1000 to 1000 such as 0,0.5,1")
    return values


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


def boolean(value: str) -> bool:
    """True or False, as records have it; a command line has --name and --no-name."""
    if value not in ("True", "False"):
        raise argparse.ArgumentTypeError(f"{value!r} is neither True nor False")
    return value == "True"


CHECKS: dict[type, Callable[[str], Any]] = {bool: boolean, int: positive_integer, float: positive_number, tuple: numbers}
CHECKS |= {str: text, Path: file_path}


def option(
    default: T,
    help: str,
    check: Callable[[str], Any] | None = None,
    choices: Collection[str] = (),
    scope: Literal["run", "length", "place", "record", "command"] = "run",
) -> T:
    """A field of Options. check: from the text of a value to the value; by default that of CHECKS for its type.

    scope: "run" belongs to a run for good, "length" too but a resumed run may raise it; "place" is where data lie, and
    may change; "record" is found out by the run, not asked for; "command" is for one command, and is not recorded.
    """
    check = check or next(check for kind, check in CHECKS.items() if isinstance(default, kind))
    return dataclasses.field(default=default, metadata=dict(help=help, check=check, choices=choices, scope=scope))


@dataclasses.dataclass(frozen=True)
class Options:
    """What every experiment can be asked for."""

    question: ClassVar[str]

    data_dir: Path = option(Path("data"), "where the data files are or go", scope="command")
    run_dir: Path = option(Path("runs"), "where the run is recorded", scope="command")
    preset: str = option("tuned", "the best settings found, or the handout's own", choices=("tuned", "handout"))
    device: str = option("auto", "auto takes a GPU if there is one", choices=("auto", "cpu", "cuda"), scope="command")
    graph: str = option(
        "auto", "on a GPU, record a step and replay it, if that does the same", choices=("auto", "off"), scope="command"
    )
    seed: int = option(0, "of weights, order and noise", whole_number)
    resume: bool = option(False, "go on with the run in --run-dir, further if a greater length is named", scope="command")
    schedule: str = option("cosine", "of the learning rate", choices=("constant", "cosine"))

    @property
    def length(self) -> tuple[str, int]:
        """The name of the unit that training is counted in, such as "epoch", and how many of them it takes."""
        (field,) = fields(self, "length")
        return field.name.removesuffix("s"), getattr(self, field.name)

    def bound_to_length(self, done: int, length: int) -> bool:
        """Whether the learning rates of the first `done` units depended on how long the run was to be, `length`."""
        return self.schedule == "cosine"


def fields(options: Options, *scopes: str) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(options) if field.metadata["scope"] in scopes]


def flag(name: str) -> str:
    """The command line's spelling of an option: --batch-size for batch_size."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are UserErrors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options")


def make_parser(description: str, presets: Mapping[str, Options]) -> argparse.ArgumentParser:
    """The command line of the options that the presets, label to instance, are instances of."""
    parser = _Parser(description=description, argument_default=argparse.SUPPRESS)
    for field in fields(next(iter(presets.values())), "run", "length", "place", "command"):
        values = {label: getattr(options, field.name) for label, options in presets.items()}
        settings: dict[str, Any] = {"help": field.metadata["help"] + _shown(values, field.name == "preset")}
        if isinstance(field.default, bool):
            settings["action"] = "store_true" if field.metadata["scope"] == "command" else argparse.BooleanOptionalAction
        else:
            settings |= {"type": field.metadata["check"], "choices": field.metadata["choices"] or None}
        if field.name == "action":
            parser.add_argument("action", nargs="?", default=None, **settings)
        else:
            parser.add_argument(flag(field.name), **settings)
    return parser


def _shown(values: Mapping[str, Any], first_only: bool) -> str:
    """An option's value by preset for its help text: one, or one for each preset if they differ."""
    words = [f"{v[0]:g},{v[1]:g},...,{v[-1]:g}" if isinstance(v, tuple) else str(v) for v in values.values()]
    if first_only or len(set(words)) == 1:
        return "" if words[0] in ("None", "", "False") else f" ({words[0]})"
    return f" ({', '.join(f'{label}: {word}' for label, word in zip(values, words))})"


def parse(argv: list[str] | None, description: str, presets: Mapping[str, AnyOptions]) -> dict[str, Any]:
    """The options named on a command line, name to value. UserError if one is no option or has no proper value."""
    parsed = vars(make_parser(description, presets).parse_args(argv))
    named = {name: value for name, value in parsed.items() if value is not None}  # without an action, argparse gives None
    for name in [name for name, value in named.items() if value == []]:  # what argparse makes of --name=--
        raise UserError(f"argument {flag(name)}: expected one argument; --help lists the options")
    return named


def new_options(named: dict[str, Any], presets: Mapping[str, AnyOptions]) -> AnyOptions:
    """The options of a new run: the preset's, overlaid with those named on the command line."""
    return dataclasses.replace(presets[named.get("preset", "tuned")], **named)


def resumed_options(recorded: AnyOptions, named: dict[str, Any], lengthen: bool) -> AnyOptions:
    """The options of a run that is taken up again: as recorded, but for a length or a place named on the command line.

    lengthen: whether a named length may exceed the recorded one. UserError if the command line contradicts the record.
    """
    changed = {field.name: named[field.name] for field in fields(recorded, "place") if field.name in named}
    for field in fields(recorded, "run", "length"):
        value, there = named.get(field.name, "auto"), getattr(recorded, field.name)
        if value in ("auto", there):
            continue
        contradiction = f"{recorded.run_dir} has {flag(field.name)} {there}, not {value}"
        if field.metadata["scope"] == "run" or not lengthen:
            raise UserError(f"{contradiction}; leave it out, or name another --run-dir")
        if value < there:
            raise UserError(f"{contradiction}: a run can be made longer, not shorter; leave it out, or name another --run-dir")
        changed[field.name] = value
    return dataclasses.replace(recorded, **changed)


def described(options: AnyOptions, presets: Mapping[str, AnyOptions]) -> str:
    """The preset and what differs from it, as it would be asked for: "tuned --epochs 100"."""
    words = [options.preset]
    for field in fields(options, "run", "length"):
        value = getattr(options, field.name)
        if field.name == "dataset" or value == getattr(presets[options.preset], field.name):
            continue
        if isinstance(value, bool):
            words.append(flag(field.name) if value else flag(f"no_{field.name}"))
        else:
            words += [flag(field.name), f"{value:g}" if isinstance(value, float) else str(value)]
    return " ".join(words)


def to_record(options: Options) -> dict[str, Any]:
    """The options that belong to a run as plain values for JSON, name to value, the question before them."""
    kept = fields(options, "run", "length", "place", "record")
    return {"question": options.question} | {field.name: _plain(getattr(options, field.name)) for field in kept}


def from_record(record: dict[str, Any], command_options: AnyOptions) -> AnyOptions:
    """The options that to_record wrote, those of the command as in command_options. ValueError if one is improper."""
    kept = fields(command_options, "run", "length", "place", "record")
    if unknown := record.keys() - {"question", *(field.name for field in kept)}:
        raise ValueError(f"{min(unknown)!a} is no option")
    values: dict[str, Any] = {}
    for field in kept:
        value, (check, choices) = record.get(field.name, []), (field.metadata["check"], field.metadata["choices"])
        try:  # an empty list, where the record has nothing, is no option's value
            values[field.name] = None if value is field.default is None else check(_as_text(value))
            proper = not choices or value in choices
        except argparse.ArgumentTypeError:
            proper = False
        plain = _plain(values.get(field.name))
        if not proper or plain != value or type(plain) is not type(value):
            raise ValueError(f"no proper {field.name!r}")
    return dataclasses.replace(command_options, **values)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def _as_text(value: object) -> str:
    """A plain value as it would be written on the command line."""
    return ",".join(map(repr, value)) if isinstance(value, list) else str(value)
