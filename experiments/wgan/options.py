"""What question 3 can be asked for, and its two presets."""

from dataclasses import dataclass
from pathlib import Path

from experiments.harness.options import Options, both_presets, file_path, fraction, number_check, option
from experiments.wgan.stand_in import STAND_IN

at_least_100 = number_check(int, lambda n: n >= 100, "a whole number of at least 100, of which a fifth can be measured")


@dataclass(frozen=True)
class WGANOptions(Options):
    """What question 3 can be asked for; its defaults are the tuned preset."""

    question = "q3"

    action: str = option("", "train, evaluate, or both (both)", choices=("train", "evaluate"), scope="command")
    run_dir: Path = option(Path("runs/q3"), "where the run is recorded", scope="command")
    data_dir: Path = option(Path("data"), "where the data files are or go", scope="command")
    dataset: str = option("svhn", "photographs, or synthetic house numbers", choices=("svhn", STAND_IN))
    data_file: Path | None = option(None, "an SVHN .mat file instead of --data-dir's", file_path, scope="place")
    generator: Path | None = option(
        None, "weights to evaluate, of a run or of the handout's class", file_path, scope="command"
    )
    epsilon: float = option(2.0, "how far evaluate moves latents", scope="command")
    samples: int = option(5000, "generated images that evaluate measures, at least 100", at_least_100, scope="command")
    latents: int = option(100, "latents to move, half of the pairs; 1000 for a long evaluation", scope="command")
    checkpoint_minutes: float = option(5.0, "minutes of training between checkpoints", scope="command")
    log_every: int = option(50, "generator steps between lines of log.jsonl", scope="command")
    generator_steps: int = option(20_000, "generator steps of training", scope="length", handout=50_000)
    critic_updates: int = option(2, "critic updates before each generator update", handout=5)
    batch_size: int = option(32, "images per update", handout=64)
    learning_rate: float = option(2e-4, "the generator's learning rate", handout=1e-4)
    critic_learning_rate: float = option(5e-4, "the critics' learning rate", handout=1e-4)
    beta1: float = option(0.5, "Adam's beta 1", fraction, handout=0.5)
    beta2: float = option(0.9, "Adam's beta 2", fraction, handout=0.9)
    lipschitz_weight: float = option(10.0, "lambda, weight of the Lipschitz penalty", handout=10.0)
    average_decay: float = option(0.999, "decay of the generator's running average, 0: none", fraction, handout=0.0)
    z_dim: int = option(100, "latent dimensions", handout=100)
    h_dim: int = option(64, "channels of the layer of 16 x 16 pixels, in both networks", handout=64)
    precision: str = option("float32", "of products in training", choices=("float32", "bfloat16"), handout="float32")
    augment: bool = option(True, "shift and recolour images at random before critics receive them", handout=False)
    whiten: bool = option(True, "measure the critic's slope in a norm with less weight on mean colour", handout=False)
    lazy_penalty: bool = option(
        True, "the penalty in one critic update per step, with the weight of all", handout=False
    )
    guide: bool = option(True, "train a second critic on features of a classifier made with labels", handout=False)


PRESETS = both_presets(WGANOptions())
