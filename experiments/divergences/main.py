"""Question 2.5 as a command: train critics for both divergences, write both curves."""

from functools import partial

from experiments.divergences import train
from experiments.harness import main as harness

DESCRIPTION = "Estimate both divergences as two distributions move apart."
EXPERIMENT = harness.Experiment(DESCRIPTION, train.PRESETS, train.load, train.train, train.evaluate, preset=train.preset)
main = partial(harness.main, EXPERIMENT)  # the command `python q2_solution.py`; returns its exit code
