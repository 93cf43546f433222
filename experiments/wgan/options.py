"""What question 3 can be asked for, and its two presets."""

from dataclasses import dataclass
from pathlib import Path

from experiments.harness.options import Options, file_path, fraction, number_check, option
from experiments.wgan.stand_in import STAND_IN

at_least_100 = number_check(int, lambda n: n >= 100, "a whole number of at least 100, of which a fifth can be measured")


@dataclass(frozen=True)
class WGANOptions(Options):
    """What question 3 can be asked for; the defaults are the tuned preset."""

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
    latents: int = option(1000, "latents that evaluate moves, and half of the pairs that it joins", scope="command")
    checkpoint_minutes: float = option(5.0, "minutes of training between checkpoints", scope="command")
    log_every: int = option(50, "generator steps between lines of log.jsonl", scope="command")
    generator_steps: int = option(20_000, "generator steps of training", scope="length")
    critic_updates: int = option(2, "critic updates before each generator update")
    batch_size: int = option(32, "images per update")
    learning_rate: float = option(2e-4, "the generator's learning rate")
    critic_learning_rate: float = option(5e-4, "the critics' learning rate")
    beta1: float = option(0.5, "Adam's beta 1", fraction)
    beta2: float = option(0.9, "Adam's beta 2", fraction)
    lipschitz_weight: float = option(10.0, "lambda, weight of the Lipschitz penalty")
    average_decay: float = option(
        0.999, "decay of the running average of the generator's weights, 0 for none", fraction
    )
    z_dim: int = option(100, "latent dimensions")
    h_dim: int = option(64, "channels of the layer of 16 x 16 pixels, in both networks")
    precision: str = option("float32", "precision of products in training", choices=("float32", "bfloat16"))
    augment: bool = option(True, "shift and recolour images at random before critics receive them")
    whiten: bool = option(True, "measure the critic's slope in a norm that gives mean colour less weight")
    lazy_penalty: bool = option(True, "compute the penalty in one critic update per step, with the weight of all")
    guide: bool = option(True, "train a second critic on features of a digit classifier, which was trained with labels")


PRESETS = {
    "tuned": WGANOptions(),
    "handout": WGANOptions(
        preset="handout",
        generator_steps=50_000,
        critic_updates=5,
        batch_size=64,
        learning_rate=1e-4,
        critic_learning_rate=1e-4,
        schedule="constant",
        beta1=0.5,
        beta2=0.9,
        lipschitz_weight=10.0,
        average_decay=0.0,
        z_dim=100,
        h_dim=64,
        precision="float32",
        augment=False,
        whiten=False,
        lazy_penalty=False,
        guide=False,
    ),
}
