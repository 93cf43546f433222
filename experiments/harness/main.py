"""The one command for every experiment: options, run directory, data checked against the record, train, evaluate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from experiments.harness.files import UserError, command
from experiments.harness.options import parse, resumed_options
from experiments.harness.run import RunDirectory
from experiments.harness.training import choose_device


class Data(NamedTuple):
    """What an experiment is trained and evaluated on: content, name, and the options that record which data it was."""

    content: Any
    name: str
    record: dict[str, str]


@dataclass(frozen=True)
class Experiment:
    """What `main` needs of an experiment.

    presets: label to options. load: the data that the options ask for. train: trains from the run's checkpoint if there
    is one. evaluate: writes metrics.json and figures. evaluate_without_run: what evaluate does where there is no run.
    preset: the label of the preset that the named options ask for.
    """

    description: str
    presets: Mapping[str, Any]
    load: Callable[[Any], Data]
    train: Callable[[RunDirectory, Any, Any, torch.device], None]
    evaluate: Callable[[RunDirectory, Any, Any, torch.device], None]
    evaluate_without_run: Callable[[RunDirectory, Any, torch.device], None] | None = None
    preset: Callable[[dict[str, Any]], str] = lambda named: named.get("preset", "tuned")


def main(experiment: Experiment, argv: list[str] | None = None) -> int:
    """Run an experiment as a command. Returns its exit code."""
    return command(lambda arguments: _main(experiment, arguments), argv)


def _main(experiment: Experiment, argv: list[str]) -> None:
    named = parse(argv, experiment.description, experiment.presets)
    asked = replace(experiment.presets[experiment.preset(named)], **named)
    action, device = getattr(asked, "action", ""), choose_device(asked.device)
    with RunDirectory(asked.run_dir) as run:
        recorded = run.read_options(asked)
        if action == "evaluate" and recorded is None:
            if experiment.evaluate_without_run is None:
                raise UserError(f"{run.folder} holds no trained model; train one first, or name another --run-dir")
            experiment.evaluate_without_run(run, asked, device)
            return
        if recorded is not None and (asked.resume or action == "evaluate"):
            options = resumed_options(recorded, named, lengthen=action != "evaluate")
            data = experiment.load(options)
            if any(getattr(options, name) != value for name, value in data.record.items()):
                raise UserError(f"{run.folder} was trained on other data than {data.name} holds now; name another --run-dir")
            if options != recorded:
                run.write_options(options, device)
        else:
            if asked.resume:
                print(f"nothing to resume in {run.folder}: a new run starts", flush=True)
            data = experiment.load(asked)
            options = replace(asked, **data.record)
            run.begin(options, device)
        preset = f", preset {options.preset}" if hasattr(options, "preset") else ""
        print(f"{data.name}{preset}, seed {options.seed}, on {device}, recorded in {run.folder}", flush=True)
        if action != "evaluate":
            experiment.train(run, data.content, options, device)
        if action != "train":
            experiment.evaluate(run, data.content, options, device)
