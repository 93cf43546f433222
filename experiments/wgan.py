"""Question 3 as a command: train a generator of house numbers as a WGAN-LP, then explore what it has learnt."""

from experiments import main as harness
from experiments.wgan_data import load
from experiments.wgan_evaluation import evaluate_run, evaluate_without_run
from experiments.wgan_options import PRESETS
from experiments.wgan_train import train

DESCRIPTION = "Train a WGAN-LP on house numbers, then explore what it has learnt."
EXPERIMENT = harness.Experiment(DESCRIPTION, PRESETS, load, train, evaluate_run, evaluate_without_run)


def main(argv: list[str] | None = None) -> int:
    """The command `python q3_solution.py`. Returns its exit code."""
    return harness.main(EXPERIMENT, argv)
