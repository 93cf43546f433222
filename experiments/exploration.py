"""Questions 3.1 to 3.3: what a trained generator draws, what its latent dimensions do, the ways between its pictures."""

import io
from pathlib import Path

import torch

import q3_samplers
from experiments import figures
from experiments.distance import SCALES, sliced_wasserstein
from experiments.options import UserError
from experiments.run import RunDirectory, load_plain, write_atomically
from model import Generator
from q3_solution import interpolate, interpolate_spherical, perturb

BUNDLED = Path(__file__).parents[1] / "data" / "pretrained" / "generator.pt"
EVALUATION_SEED = 2**31  # apart from the seeds people train with
FEWEST = 49  # images in a picture of samples, and the least that is trained on or compared with
MOST = 2000  # images compared: more takes longer, and the floor hardly moves
REPEATS = 3  # of the distance, with other noise, places and directions
PLACES = 32  # latents at which the effect of a dimension is averaged
SHOWN = 12  # strongest dimensions


def save_generator(path: Path, generator: Generator, origin: dict) -> None:
    """Write a generator's weights and their origin, a dictionary of plain values, for evaluate and for others."""
    buffer = io.BytesIO()
    weights = {name: tensor.cpu().contiguous() for name, tensor in generator.state_dict().items()}
    torch.save({"generator": weights, "origin": origin}, buffer)
    write_atomically(path, buffer.getvalue())


def load_generator(path: Path) -> tuple[Generator, dict]:
    """A generator and its origin from save_generator's file, or from a bare state dict such as the handout's class makes.

    The sizes are those of the tensors. UserError if the file is missing, damaged or something else; no code in it is executed.
    """
    try:
        content = load_plain(path)
        weights, origin = (content["generator"], content["origin"]) if "origin" in content else (content, {})
        z_dim, widest = weights["decoder.0.weight"].shape[:2]
        generator = Generator(z_dim, widest // 4)
        generator.load_state_dict(weights)
    except FileNotFoundError as error:
        raise UserError(f"{path} is not there; train a generator first, or name its weights by --generator") from error
    except Exception as error:  # whatever torch.load meets in a damaged or foreign file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is damaged or no such generator ({reason}); name another by --generator") from error
    return generator, origin


@torch.no_grad()
def pictures(generator: Generator, z: torch.Tensor) -> torch.Tensor:
    """What the generator makes of latents z (..., z_dim), each by itself: (..., 3, 32, 32) in [-1, 1]."""
    was_training = generator.training
    generator.eval()  # batch normalisation by its running statistics
    device = next(generator.parameters()).device
    images = torch.cat([generator(part.to(device)) for part in z.flatten(0, -2).split(250)])
    generator.train(was_training)
    return images.view(*z.shape[:-1], *images.shape[1:])


def draw(generator: Generator, n: int, seed: int = EVALUATION_SEED) -> torch.Tensor:
    """n pictures from the prior, the same ones for the same weights and seed."""
    return pictures(generator, torch.randn(n, generator.z_dim, generator=torch.Generator().manual_seed(seed)))


def average_distance(real: torch.Tensor, fake: torch.Tensor, seed: int = 0) -> float:
    """The sliced Wasserstein distance averaged over its scales."""
    distances = sliced_wasserstein(real, fake, seed)
    return sum(distances) / len(distances)


def explore(run: RunDirectory, generator: Generator, origin: dict, photos: q3_samplers.Photos | None, epsilon: float) -> dict:
    """Draw every figure, and measure. photos: to compare with, or None. Returns what goes into metrics.json."""
    metrics = {
        "trained_on": origin.get("dataset"),
        **{name: origin.get(name) for name in ("preset", "seed", "generator_step", "generator_steps", "train_seconds")},
        "dataset": photos.name if photos else None,
    }
    trained_on = f"generator trained on {metrics['trained_on'] or 'images it does not name'}"
    images, real = draw(generator, FEWEST if photos else 2 * FEWEST), None
    if photos:
        training, held_out = blocks(photos, origin.get("held_out", 0.2))
        metrics |= compare(generator, training, held_out)
        real = q3_samplers.scale(_spread(held_out, FEWEST))
        metrics |= find_nearest(run, images, real, training, trained_on)
    figures.samples(images, real, run.figures / "samples.png", trained_on, photos and photos.name)
    metrics |= explore_dimensions(run, generator, epsilon, trained_on)
    metrics |= explore_paths(run, generator, trained_on)
    return metrics


def blocks(photos: q3_samplers.Photos, held_out: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The images to train on, and those held out. UserError if either are too few."""
    parts = q3_samplers.hold_out(photos.images, held_out)
    if min(len(part) for part in parts) < FEWEST:
        raise UserError(
            f"{photos.name} has {len(photos.images)} images, of which holding out {held_out:g} leaves fewer than {FEWEST} to "
            "train on or to compare with; name a larger --data-file"
        )
    return parts


def compare(generator: Generator, training: torch.Tensor, held_out: torch.Tensor) -> dict:
    """The distance of generated from held-out images, and of as many training images from them: the floor.

    Each is repeated with other samples, places and directions; the spread is the standard deviation over the repeats.
    """
    seen, real = equally_many(training, held_out, next(generator.parameters()).device)
    n = len(real)
    drawn = torch.tensor([sliced_wasserstein(real, draw(generator, n, EVALUATION_SEED + r), r) for r in range(REPEATS)])
    floor = torch.tensor([sliced_wasserstein(real, seen, r) for r in range(REPEATS)])
    return {
        "num_images": n,
        "sliced_wasserstein": drawn.mean().item(),
        "sliced_wasserstein_spread": drawn.mean(1).std().item(),
        "sliced_wasserstein_by_scale": dict(zip(map(str, SCALES), drawn.mean(0).tolist())),
        "sliced_wasserstein_floor": floor.mean().item(),
        "sliced_wasserstein_floor_spread": floor.mean(1).std().item(),
        "sliced_wasserstein_floor_by_scale": dict(zip(map(str, SCALES), floor.mean(0).tolist())),
    }


def find_nearest(run: RunDirectory, images: torch.Tensor, real: torch.Tensor, training: torch.Tensor, trained_on: str) -> dict:
    """The nearest training image to each of `images`: had they been learnt by heart, it would be nearer than to `real` ones."""
    images, training = images.cpu(), q3_samplers.scale(training)
    to_images, to_real = (torch.cdist(x.flatten(1), training.flatten(1)) for x in (images, real))
    distances, rows = to_images.min(1)
    figures.nearest(images[:20], training[rows[:20]], run.figures / "nearest.png", trained_on)
    rms = training[0].numel() ** -0.5  # from a Euclidean distance to the root mean square over pixels
    return {
        "nearest_training_image": rms * distances.median().item(),
        "nearest_training_image_of_held_out": rms * to_real.min(1).values.median().item(),
    }


def explore_dimensions(run: RunDirectory, generator: Generator, epsilon: float, trained_on: str) -> dict:
    """Rank the latent dimensions by how much the picture changes on average, and show the strongest where they do most."""
    z = torch.randn(PLACES, generator.z_dim, generator=torch.Generator().manual_seed(EVALUATION_SEED))
    change = pictures(generator, perturb(z, epsilon)) - pictures(generator, z)  # (z_dim, PLACES, 3, 32, 32)
    effect = change.square().mean((1, 2, 3, 4)).sqrt()
    uniform = change.mean((3, 4)).square().mean((1, 2)) / effect.square().clamp(min=1e-12)
    direction = torch.nn.functional.normalize(change.flatten(2), dim=-1)
    agreement = (direction.sum(1).square().sum(-1) - PLACES) / (PLACES * (PLACES - 1))  # mean cosine over pairs of z
    strongest = effect.topk(min(SHOWN, len(effect))).indices.cpu()
    here = change[strongest].square().mean((0, 2, 3, 4)).median(0).indices  # neither the picture that changes most nor least

    steps = torch.linspace(-epsilon, epsilon, 7)
    moved = torch.stack([perturb(z, step)[strongest, here] for step in steps], dim=1)  # (SHOWN, steps, z_dim)
    path = run.figures / "perturbations.png"
    figures.perturbations(pictures(generator, moved), strongest.tolist(), steps.tolist(), effect.tolist(), path, trained_on)
    return {
        "epsilon": epsilon,
        "strongest_dimensions": strongest.tolist(),
        "dimension_effects": effect.tolist(),
        "dimension_uniform_shares": uniform.tolist(),
        "dimension_agreements": agreement.tolist(),
    }


def explore_paths(run: RunDirectory, generator: Generator, trained_on: str) -> dict:
    """The same pairs of pictures joined in three ways: straight in latents, straight in pixels, and round in latents."""
    z0, z1 = torch.randn(2, 8, generator.z_dim, generator=torch.Generator().manual_seed(EVALUATION_SEED + 1))
    alpha = torch.linspace(0, 1, 11)
    straight, arc = interpolate(z0, z1, alpha), interpolate_spherical(z0, z1, alpha)  # (11, 8, z_dim)
    in_pixels = interpolate(pictures(generator, z0).cpu(), pictures(generator, z1).cpu(), alpha)
    for name, title, rows in (
        ("latent", r"$g((1 - \alpha) z_0 + \alpha z_1)$, straight through the latents", pictures(generator, straight)),
        ("data", r"$(1 - \alpha) g(z_0) + \alpha g(z_1)$, straight through the pixels", in_pixels),
        ("spherical", r"$g$ of the arc from $z_0$ to $z_1$, round through the latents", pictures(generator, arc)),
    ):
        figures.interpolation(rows, alpha.tolist(), run.figures / f"interpolation_{name}.png", title, trained_on)
    norms = {"straight": straight.norm(dim=-1), "arc": arc.norm(dim=-1)}
    figures.latent_norms(norms, alpha.tolist(), generator.z_dim, run.figures / "interpolation_norms.png")
    return {f"midpoint_norm_{name}": norm[5].mean().item() for name, norm in norms.items()}


def print_metrics(metrics: dict) -> None:
    """Print what was measured."""
    if metrics["dataset"]:
        print(
            f"sliced Wasserstein distance to held-out {metrics['dataset']}: {metrics['sliced_wasserstein']:.1f} "
            f"+- {metrics['sliced_wasserstein_spread']:.1f}, of real training images {metrics['sliced_wasserstein_floor']:.1f}"
        )
        print(
            f"nearest training image, RMS of pixels in [-1, 1]: generated {metrics['nearest_training_image']:.3f}, "
            f"held-out {metrics['nearest_training_image_of_held_out']:.3f}"
        )
    print(f"strongest latent dimensions: {', '.join(map(str, metrics['strongest_dimensions']))}")
    straight, arc = metrics["midpoint_norm_straight"], metrics["midpoint_norm_arc"]
    print(f"length of the latent half way between two: straight {straight:.1f}, on the arc {arc:.1f}")


def equally_many(training: torch.Tensor, held_out: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Of both sets of bytes as many images as a distance is measured between, at most MOST, scaled to [-1, 1]."""
    n = min(len(training), len(held_out), MOST)
    seen, real = (q3_samplers.scale(_spread(images, n)).to(device) for images in (training, held_out))
    return seen, real


def _spread(images: torch.Tensor, n: int) -> torch.Tensor:
    """n of the images, evenly spread over them."""
    return images[torch.arange(n) * len(images) // n]
