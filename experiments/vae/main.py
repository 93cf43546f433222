"""Question 1 as a command: train the VAE on binary digits, then measure its ELBO and log p(x)."""

from functools import partial

from experiments.harness import main as harness
from experiments.vae import evaluate, train

DESCRIPTION = "Train the VAE, then measure its ELBO and log p(x)."
EXPERIMENT = harness.Experiment(DESCRIPTION, train.PRESETS, train.load, train.train, evaluate.evaluate)
main = partial(harness.main, EXPERIMENT)  # the command `python q1_solution.py`; returns its exit code
