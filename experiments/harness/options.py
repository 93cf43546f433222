"""What can be asked of an experiment: a dataclass whose fields make the command line, --help and options.json."""

import argparse
import dataclasses
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
        try:
            value = convert(text)
            if allowed(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r} is not {description}")

    return check


whole_number = number_check(int, lambda n: 0 <= n < 2**31, "a whole number from 0 to 2**31 - 1")
positive_integer = number_check(int, lambda n: n > 0, "a whole number of at least 1")
positive_number = number_check(float, lambda x: 0 < x <= 1e30, "a number above 0 and at most 1e30")
fraction = number_check(float, lambda x: 0 <= x < 1, "a number of at least 0 and below 1")
numbers = number_check(
    lambda text: tuple(map(float, text.split(","))), lambda v: all(abs(x) <= 1000 for x in v), "numbers such as 0,0.5,1"
)


def file_path(text: str) -> Path:
    """A Check of paths. ~ is the home directory, which a shell does not replace in --run-dir=~/runs."""
    if not text:
        raise argparse.ArgumentTypeError("an empty text is no path")
    return Path(text).expanduser()


CHECKS: dict[type, Check] = {int: positive_integer, float: positive_number, tuple: numbers, str: str, Path: file_path}


def option(
    default: T,
    help: str,
    check: Check | None = None,
    choices: Collection[str] = (),
    scope: Literal["run", "length", "place", "record", "command"] = "run",
) -> T:
    """A field of Options. check: by default that of CHECKS for the default's type.

    scope: "run" belongs to a run for good; "length" too, but a resumed run may raise it; "place" is where data lie, and
    may change; "record" is found out by the run, not asked for; "command" is for one command, and is not recorded.
    """
    check = check or next((check for kind, check in CHECKS.items() if isinstance(default, kind)), str)
    return dataclasses.field(default=default, metadata=dict(help=help, check=check, choices=choices, scope=scope))


@dataclasses.dataclass(frozen=True)
class Options:
    """What every experiment can be asked for."""

    question: ClassVar[str]

    run_dir: Path = option(Path("runs"), "where the run is recorded", scope="command")
    device: str = option("auto", "auto takes a GPU if there is one", choices=("auto", "cpu", "cuda"), scope="command")
    seed: int = option(0, "seed of weights, order and noise", whole_number)
    resume: bool = option(False, "go on with the run in --run-dir, further if a greater length is named", scope="command")
    debug: bool = option(False, "show the traceback of an error", scope="command")
    schedule: str = option("cosine", "learning rate: constant, or by a cosine down to 0", choices=("constant", "cosine"))

    @property
    def length(self) -> tuple[str, int]:
        """The name of the unit that training is counted in, such as "epoch", and how many of them it takes."""
        (field,) = fields(self, "length")
        return field.name.removesuffix("s"), getattr(self, field.name)


def preset_option() -> str:
    return option("tuned", "tuned: the best settings found; handout: the assignment's own", choices=("tuned", "handout"))


def fields(options: Options, *scopes: str) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(options) if field.metadata["scope"] in scopes]


def flag(name: str) -> str:
    """The command line's spelling of an option: --batch-size for batch_size."""
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are UserErrors."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help lists the options")


def parse(argv: list[str] | None, description: str, presets: Mapping[str, Options]) -> dict[str, Any]:
    """The options named on a command line, name to value. UserError if one is no option or has no proper value."""
    parsed = vars(make_parser(description, presets).parse_args(argv))
    return {name: value for name, value in parsed.items() if value is not None}  # argparse gives None without an action


def make_parser(description: str, presets: Mapping[str, Options]) -> argparse.ArgumentParser:
    """The command line of the options that the presets, label to instance, are instances of."""
    parser = _Parser(description=description, argument_default=argparse.SUPPRESS)
    for field in fields(next(iter(presets.values())), "run", "length", "place", "command"):
        values = {label: getattr(options, field.name) for label, options in presets.items()}
        words = field.metadata["help"] + _values_for_help(field.name, values)
        settings: dict[str, Any] = {"help": words.replace("%", "%%")}  # argparse formats what it is given
        if isinstance(field.default, bool):
            settings["action"] = "store_true" if field.metadata["scope"] == "command" else argparse.BooleanOptionalAction
        else:
            settings |= {"type": field.metadata["check"], "choices": field.metadata["choices"] or None}
        if field.name == "action":
            parser.add_argument("action", nargs="?", default=None, **settings)
        else:
            parser.add_argument(flag(field.name), **settings)
    return parser


def _values_for_help(name: str, values: Mapping[str, Any]) -> str:
    """An option's value by preset: one, or one for each preset if they differ."""
    words = [f"{v[0]:g},{v[1]:g},...,{v[-1]:g}" if isinstance(v, tuple) else str(v) for v in values.values()]
    if name == "preset" or len(set(words)) == 1:
        return "" if words[0] in ("None", "", "False") else f" ({words[0]})"
    return f" ({', '.join(f'{label}: {word}' for label, word in zip(values, words))})"


def resumed_options(recorded: AnyOptions, named: dict[str, Any], lengthen: bool) -> AnyOptions:
    """As recorded, but for a named place or, if `lengthen`, a greater length. UserError for other differences."""
    changed = {field.name: named[field.name] for field in fields(recorded, "place") if field.name in named}
    for field in fields(recorded, "run", "length"):
        value, there = named.get(field.name, "auto"), getattr(recorded, field.name)
        if value in ("auto", there):
            continue
        if field.metadata["scope"] == "run" or not lengthen or value < there:
            only = " (a run can be made longer, not shorter)" if field.metadata["scope"] == "length" else ""
            contradiction = f"{recorded.run_dir} has {flag(field.name)} {there}, not {value}{only}"
            raise UserError(f"{contradiction}; leave it out, or name another --run-dir")
        changed[field.name] = value
    return dataclasses.replace(recorded, **changed)


def to_record(options: Options) -> dict[str, Any]:
    """The options that belong to a run as plain values for JSON, name to value, the question before them."""
    values = {field.name: getattr(options, field.name) for field in fields(options, "run", "length", "place", "record")}
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return {"question": options.question} | {name: [*v] if isinstance(v, tuple) else v for name, v in plain.items()}


def from_record(record: dict[str, Any], command_options: AnyOptions) -> AnyOptions:
    """What to_record wrote, its defaults where the record lacks an option, and the options of the command."""
    values: dict[str, Any] = {}
    for field in fields(command_options, "run", "length", "place", "record"):
        value = record.get(field.name, field.default)
        if isinstance(value, str):
            value = field.metadata["check"](value)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(command_options, **values)
