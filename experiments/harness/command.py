"""The one command for every experiment: options, run directory, data checked against the record, train, evaluate."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from experiments.harness.files import UserError, say
from experiments.harness.options import Options, parse, resumed_options
from experiments.harness.plotting import own_settings
from experiments.harness.run import RunDirectory, runs_in_figure
from experiments.harness.training import choose_device


class Data(NamedTuple):
    """What an experiment is trained and evaluated on: content, name, SHA-256, and options that `auto` left open."""

    content: Any
    name: str
    digest: str = ""
    resolved: Mapping[str, Any] = {}


def exit_code(command: Callable[..., None], argv: list[str] | None = None, **more: Any) -> int:
    """Run command(argv, **more). Returns 0, 2 for a UserError (--debug shows its traceback), or 130 if interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        command(argv, **more)
    except UserError as error:
        if "--debug" in argv:
            raise
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"interrupted{interrupt}", file=sys.stderr)
        return 130
    return 0


def run_experiment(
    argv: list[str],
    *,
    about: str,
    presets: Mapping[str, Any],
    load: Callable[[Any], Data],
    train: Callable[..., None],
    evaluate: Callable[..., None],
    evaluate_without_run: Callable[..., None] | None = None,
) -> None:
    """Do what the command line `argv` asks of an experiment; nothing is created before the request is known to fit.

    about: for --help. presets: label to options. load(options): the data. train and evaluate take (run, data.content,
    options, device), evaluate_without_run takes (run, options, device) where there is no run to evaluate.
    """
    on_command_line = parse(argv, about, presets)
    requested: Options = replace(presets[on_command_line.get("preset", "tuned")], **on_command_line)
    action, device = getattr(requested, "action", ""), choose_device(requested.device)
    run = RunDirectory(requested.run_dir)
    recorded = run.read_options(requested, presets)
    if recorded is None and action == "evaluate":
        if evaluate_without_run is None:
            raise UserError(f"{run.folder} holds no trained model; train one first, or name another --run-dir")
        with run, own_settings():
            evaluate_without_run(run, requested, device)
        return
    if recorded is None:
        for path in (run.folder / "log.jsonl", run.checkpoint):
            if path.exists():
                raise UserError(f"{path} is there already; move it away, or name another --run-dir")
        if requested.resume:
            say(f"nothing to resume in {run.folder}: a new run starts")
        options = requested
    elif requested.resume or action == "evaluate":
        options = resumed_options(recorded, on_command_line, lengthen=action != "evaluate")
    else:
        raise UserError(f"{run.folder} holds a run already; go on with that run by --resume, or name another --run-dir")
    data = load(options)
    options = replace(options, **data.resolved)
    for _, shown in runs_in_figure(run, options, presets):  # before training, so that a wrong --beside costs nothing
        if shown.record.get("dataset_digest", data.digest) != data.digest:
            raise UserError(f"{shown.folder} was trained on other data than {data.name} holds now; name another run")
    with run, own_settings():
        if action != "evaluate":
            run.write_options(options, data.digest, device)
        say(f"{data.name}, preset {options.preset}, seed {options.seed}, on {device}, recorded in {run.folder}")
        if action != "evaluate":
            train(run, data.content, options, device)
        if action != "train":
            evaluate(run, data.content, options, device)
