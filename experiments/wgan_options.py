"""What question 3 can be asked for, and its two presets."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

import q3_samplers
from experiments import weights
from experiments.options import Options, UserError, file_path, fraction, option, positive_integer, whole_number
from model import DigitClassifier


def at_least_100(value: str) -> int:
    """A check of an option: an integer of at least 100, of which the smallest part, a fifth, can still be measured."""
    if (number := positive_integer(value)) < 100:
        raise argparse.ArgumentTypeError(f"{number} is too small, the least is 100")
    return number


@dataclass(frozen=True)
class WGANOptions(Options):
    """What question 3 can be asked for; the defaults are the tuned preset, 7 hours of a CPU core."""

    question = "q3"

    action: str = option("", "one of the two (both)", choices=("train", "evaluate"), scope="command")
    run_dir: Path = option(Path("runs/q3"), "where the run is recorded", scope="command")
    dataset: str = option(
        "auto", "auto draws a stand-in where SVHN cannot be had", choices=("auto", "svhn", q3_samplers.STAND_IN)
    )
    dataset_digest: str = option("", "SHA-256 of the images", scope="record")
    data_file: Path | None = option(None, "an SVHN .mat file instead of --data-dir's", file_path, scope="place")
    generator: Path | None = option(None, "weights to evaluate, of a run or of the handout's", file_path, scope="command")
    epsilon: float = option(2.0, "how far evaluate moves a latent dimension", scope="command")
    samples: int = option(5000, "generated images that evaluate measures, at least 100", at_least_100, scope="command")
    checkpoint_minutes: float = option(5.0, "of training between checkpoints; Ctrl-C makes one as well", scope="command")
    log_every: int = option(50, "generator steps between lines of log.jsonl", scope="command")
    generator_steps: int = option(20_000, "of training", scope="length")
    critic_updates: int = option(2, "before each generator step")
    batch_size: int = option(32, "images an update")
    learning_rate: float = option(2e-4, "of the generator")
    critic_learning_rate: float = option(5e-4, "of the critic")
    beta1: float = option(0.5, "of Adam", fraction)
    beta2: float = option(0.9, "of Adam", fraction)
    lipschitz_weight: float = option(10.0, "lambda of the penalty")
    average_decay: float = option(0.999, "of the running average of the generator's weights, 0 for none", fraction)
    z_dim: int = option(100, "latent dimensions")
    h_dim: int = option(64, "channels of the widest layer of 16 x 16, in both networks")
    precision: str = option("float32", "of the networks' products in training", choices=("float32", "bfloat16"))
    augment: bool = option(True, "show the critic shifted and recoloured images")
    whiten: bool = option(True, "measure slopes in a norm in which brightness does not count most")
    lazy_penalty: bool = option(True, "at one critic update a step, at the weight of them all")
    guide: bool = option(True, "have a second critic look on the features of a classifier of digits")
    initial_weights: Path | None = option(None, "generator.pt or a checkpoint to start from", file_path)
    cooldown: int = option(0, "last generator steps, over which the rates go down to 0 in a straight line", whole_number)

    def bound_to_length(self, done: int, length: int) -> bool:
        return super().bound_to_length(done, length) or length - (done - 1) < self.cooldown


HANDOUT = WGANOptions(
    preset="handout",
    generator_steps=50_000,
    critic_updates=5,
    batch_size=64,
    learning_rate=1e-4,
    critic_learning_rate=1e-4,
    schedule="constant",
    average_decay=0.0,
    augment=False,
    whiten=False,
    lazy_penalty=False,
    guide=False,
)
PRESETS = {"tuned": WGANOptions(), "handout": HANDOUT}


def check(options: WGANOptions) -> None:
    """UserError if no run can begin so: weights that cannot be read or are about to be moved, too long a cooldown."""
    if options.cooldown > options.generator_steps:
        raise UserError(f"--cooldown {options.cooldown} is more than the {options.generator_steps} of --generator-steps")
    if options.guide:
        load_guide()
    if (path := options.initial_weights) is not None:
        weights.load(path)
        if path.resolve().parent == options.run_dir.resolve():
            raise UserError(f"{path} is of the run in {options.run_dir}, which a new one there moves; name another --run-dir")


def load_guide() -> DigitClassifier:
    """The classifier of --guide. UserError if it is none, or the judge: what is aimed at would measure itself."""
    guide, _ = weights.load_classifier(weights.GUIDE, seed=1)
    judge, _ = weights.load_classifier()
    if torch.equal(guide.digit.weight, judge.digit.weight):
        judges = f"{weights.GUIDE} is the classifier that judges the samples, which is not to be aimed at"
        raise UserError(f"{judges}; python -m experiments.classifier --seed 1 makes another")
    return guide
