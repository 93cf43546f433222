"""Question 1 as a command: train the VAE on binary digits, follow its ELBO, estimate log p(x) by importance sampling."""

from experiments import main as harness
from experiments.vae_evaluate import evaluate
from experiments.vae_train import PRESETS, load, train

EXPERIMENT = harness.Experiment("Train the VAE, then measure its ELBO and log p(x).", PRESETS, load, train, evaluate)


def main(argv: list[str] | None = None) -> int:
    """The command `python q1_solution.py`. Returns its exit code."""
    return harness.main(EXPERIMENT, argv)
