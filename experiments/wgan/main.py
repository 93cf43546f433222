"""Question 3 as a command: train a generator of house numbers as a WGAN-LP, then explore what it has learnt."""

from functools import partial

from experiments.harness import main as harness
from experiments.wgan import data, evaluate, options, train

DESCRIPTION = "Train a WGAN-LP on house numbers, then explore what it has learnt."
EXPERIMENT = harness.Experiment(
    DESCRIPTION, options.PRESETS, data.load, train.train, evaluate.evaluate_run, evaluate.evaluate_without_run
)
main = partial(harness.main, EXPERIMENT)  # the command `python q3_solution.py`; returns its exit code
