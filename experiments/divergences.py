"""Question 2.5 as a command: train critics for both divergences, write both curves."""

from experiments import main as harness
from experiments.divergences_train import PRESETS, evaluate, load, preset, train

DESCRIPTION = "Estimate both divergences as two distributions move apart."
EXPERIMENT = harness.Experiment(DESCRIPTION, PRESETS, load, train, evaluate, preset=preset)


def main(argv: list[str] | None = None) -> int:
    """The command `python q2_solution.py`. Returns its exit code."""
    return harness.main(EXPERIMENT, argv)
