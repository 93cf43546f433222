"""The answers to questions 3.1 to 3.3 for one generator: its figures and metrics.json."""

from pathlib import Path

import torch

import q3_samplers
from experiments import exploration, measures, weights, wgan_figures
from experiments.errors import UserError
from experiments.figures import literal
from experiments.run import RunDirectory
from model import DigitClassifier, Generator

IMAGES_SHOWN = 49  # in a picture of samples, and the least that is compared with
DESCRIBED = ("preset", "seed", "generator_step", "generator_steps", "train_seconds")  # of a generator's origin


def evaluate(run: RunDirectory, path: Path, blocks: q3_samplers.Blocks | None, epsilon: float, device: torch.device) -> None:
    """Explore the generator in the file `path`, beside real images if there are any: figures and metrics.json."""
    generator, origin = weights.load_generator(path)
    generator, classifier = generator.to(device), weights.load_classifier()[0].to(device)
    print(f"exploring {path}, trained on {origin.get('dataset', 'images it does not name')}", flush=True)
    metrics = {
        "trained_on": origin.get("dataset"),
        **{name: origin.get(name) for name in DESCRIBED},
        "dataset": blocks and blocks.test.name,
    }
    trained_on = literal(f"generator trained on {metrics['trained_on'] or 'images it does not name'}")
    metrics |= explore_samples(run, generator, classifier, blocks, trained_on)
    metrics |= explore_dimensions(run, generator, classifier, epsilon, trained_on)
    metrics |= explore_paths(run, generator, classifier, trained_on)
    run.write_json("metrics.json", metrics)
    print_metrics(metrics)
    print(f"written to {run.folder}: metrics.json, figures/")


def explore_samples(
    run: RunDirectory,
    generator: Generator,
    classifier: DigitClassifier,
    blocks: q3_samplers.Blocks | None,
    trained_on: str,
) -> dict:
    """3.1: samples beside real images of the test block, measured against these; is one learnt by heart?"""
    images = exploration.draw(generator, exploration.SAMPLES)
    if not images.isfinite().all():
        raise UserError("the generator's images are not finite; name another by --generator")
    if blocks is None:
        wgan_figures.samples(images[: 2 * IMAGES_SHOWN], None, run.figures / "samples.png", trained_on, None)
        legible = measures.legible(measures.look(classifier, images))
        return {"legible": legible.value, "legible_stderr": legible.stderr}
    most = exploration.SAMPLES // 5  # coverage is averaged over as many draws of them
    real = q3_samplers.scale(q3_samplers.spread(blocks.test.images, most)).to(images.device)
    training = q3_samplers.scale(q3_samplers.spread(blocks.train.images, exploration.SAMPLES)).to(images.device)
    shown = q3_samplers.scale(q3_samplers.spread(blocks.test.images, IMAGES_SHOWN))
    wgan_figures.samples(images[:IMAGES_SHOWN], shown, run.figures / "samples.png", trained_on, literal(blocks.test.name))
    metrics = exploration.compare(real, images, classifier)
    floor = exploration.compare(real, training, classifier)
    of_real = measures.legible(measures.look(classifier, real))
    wgan_figures.digit_shares(
        metrics["digit_shares"], floor["digit_shares"], run.figures / "digits.png", literal(blocks.test.name)
    )
    every = q3_samplers.scale(blocks.train.images).to(images.device)
    (distances, rows), (of_test, _) = (measures.nearest(part, every) for part in (images[: len(real)], real))
    wgan_figures.nearest(images[:20], every[rows[:20]], run.figures / "nearest.png", trained_on)
    return {
        **metrics,
        **{f"{name}_of_training_images": value for name, value in floor.items()},
        "legible_of_test_images": of_real.value,
        "legible_of_test_images_stderr": of_real.stderr,
        "classifier_accuracy": measures.accuracy(classifier, blocks.test),
        "nearest_training_image": distances.median().item(),
        "nearest_training_image_of_test_images": of_test.median().item(),
    }


def explore_dimensions(
    run: RunDirectory, generator: Generator, classifier: DigitClassifier, epsilon: float, trained_on: str
) -> dict:
    """3.2: which latent dimensions change the digit, and which the colour."""
    moved = exploration.dimensions(generator, epsilon, classifier)
    count = min(6, generator.z_dim)
    strongest = {kind: getattr(moved, kind).topk(count).indices.tolist() for kind in ("digit", "colour")}
    steps = torch.tensor([-epsilon, 0.0, epsilon])
    z = exploration.typical(generator, classifier)
    rows = {kind: exploration.walk(generator, z, which, steps) for kind, which in strongest.items()}
    wgan_figures.perturbations(rows, strongest, steps.tolist(), moved, run.figures / "perturbations.png", trained_on)
    effects = {f"dimension_{name}": values.tolist() for name, values in moved._asdict().items()}
    return {"epsilon": epsilon, **{f"strongest_by_{kind}": which for kind, which in strongest.items()}, **effects}


def explore_paths(run: RunDirectory, generator: Generator, classifier: DigitClassifier, trained_on: str) -> dict:
    """3.3: the same pairs of images joined in three ways, and what each way costs in legibility."""
    alpha = torch.linspace(0, 1, 11)
    joined = exploration.paths(generator, alpha, exploration.PAIRS)
    for kind, title in (
        ("latent", r"$g((1 - \alpha) z_0 + \alpha z_1)$, straight through the latents"),
        ("data", r"$(1 - \alpha) g(z_0) + \alpha g(z_1)$, straight through the pixels"),
        ("spherical", r"$g$ of the arc from $z_0$ to $z_1$, round through the latents"),
    ):
        path = run.figures / f"interpolation_{kind}.png"
        wgan_figures.interpolation(getattr(joined, kind)[:, :8], alpha.tolist(), path, title, trained_on)
    legible = {kind: exploration.legible_along(classifier, getattr(joined, kind)) for kind in ("latent", "data", "spherical")}
    norms = {"straight": joined.straight_latents.norm(dim=-1), "arc": joined.arc_latents.norm(dim=-1)}
    path = run.figures / "interpolation_legible.png"
    wgan_figures.along_paths(legible, norms, alpha.tolist(), generator.z_dim, path, trained_on)
    return {
        "alpha": alpha.tolist(),
        **{f"legible_along_{kind}": [estimate.value for estimate in along] for kind, along in legible.items()},
        **{f"midpoint_norm_{kind}": norm[5].mean().item() for kind, norm in norms.items()},
    }


def print_metrics(metrics: dict) -> None:
    """Print what was measured."""
    if metrics["dataset"]:
        print(
            f"beside real training images, on {metrics['num_images']:,} of each against the test block of {metrics['dataset']}:"
        )
    for name, error in (
        ("legible", "stderr"),
        ("kernel_distance", "stderr"),
        ("coverage", "stderr"),
        ("sliced_wasserstein", "spread"),
    ):
        if name in metrics:
            pairs = [(metrics.get(f"{name}{of}"), metrics.get(f"{name}_{error}{of}")) for of in ("", "_of_training_images")]
            shown = [f"{value:8.3f} ({spread:.3f})" for value, spread in pairs if value is not None]
            print(f"  {name.replace('_', ' '):18s} {shown[0]}", *(f"   real {real}" for real in shown[1:]))
    if metrics["dataset"]:
        print(f"  by a classifier that names {100 * metrics['classifier_accuracy']:.1f}% of the test block right")
        print(
            f"  nearest training image, RMS of pixels in [-1, 1]: {metrics['nearest_training_image']:.3f}   "
            f"real test images {metrics['nearest_training_image_of_test_images']:.3f}"
        )
    for kind in ("digit", "colour"):
        print(f"dimensions that change the {kind} most: {', '.join(map(str, metrics[f'strongest_by_{kind}']))}")
    half_way = ", ".join(f"{kind} {metrics[f'legible_along_{kind}'][5]:.2f}" for kind in ("latent", "data", "spherical"))
    print(f"legible half way between two images: {half_way}")
