"""`python -m experiments.soup A B ... --out C`: one generator out of several that were trained from the same start.

Trained at rates that stay high, a generator circles around what it is on the way to, and so does its running average,
slowly. Of runs that went on from the same weights with other settings or seeds, the mean of the weights is nearer to it
than any of them: a model soup (Wortsman et al. 2022, arXiv 2203.05482). Of two from different starts it is worse than
either.
"""

if __name__ == "__main__":
    from experiments import interrupt

    interrupt.end_at_once()  # until the command is at work

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.optim.swa_utils import update_bn

from experiments import exploration, weights
from experiments.errors import UserError, command, understood
from experiments.files import cannot
from model import Generator, ImageCritic

BATCHES, BATCH = 20, 250  # of latents, on which the running statistics are measured


@torch.no_grad()
def average(generators: Sequence[Generator]) -> Generator:
    """The generator whose weights are the means of theirs; all are of the same sizes.

    What its batch normalisation divides by is measured anew, on latents: the mean of weights has statistics of its own.
    """
    mean = Generator(generators[0].z_dim, generators[0].h_dim)
    for weight, *same in zip(mean.parameters(), *(generator.parameters() for generator in generators)):
        weight.copy_(torch.stack(same).double().mean(0))
    update_bn(exploration.latents(mean, BATCHES, BATCH, seed=0), mean)
    return mean.eval()


def common(origins: Sequence[dict]) -> dict:
    """What all origins say alike."""
    first, *others = origins
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def soup(paths: list[Path], out: Path) -> None:
    """Write the average of the generators in these files, with the first one's critic, in half precision.

    Its origin is what theirs have in common, "average_of", and the critic's norm. UserError if a file holds no
    generator, or one of other sizes.
    """
    generators, origins = zip(*map(weights.load_generator, paths))
    for path, generator in zip(paths, generators):
        if (generator.z_dim, generator.h_dim) != (generators[0].z_dim, generators[0].h_dim):
            raise UserError(f"{path} is of other sizes than {paths[0]}; only runs from the same start have a mean")
    networks: dict[str, torch.nn.Module] = {"generator": average(generators)}
    if "critic" in (content := weights.load(paths[0])):
        networks["critic"] = ImageCritic(generators[0].h_dim)
        with understood(paths[0], "no file with a critic of these sizes", "name another"):
            weights.put_into(networks["critic"], content["critic"])
    with cannot(f"write {out}"):
        out.parent.mkdir(parents=True, exist_ok=True)
    origin = common(origins) | {"average_of": [str(path) for path in paths], "whiten": origins[0].get("whiten", False)}
    weights.save(out, networks, origin, torch.float16)


def _main(argv: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.soup", description="Average generators of question 3.")
    parser.add_argument("generators", nargs="+", type=Path, help="of runs from the same start; the first's critic comes along")
    parser.add_argument("--out", required=True, type=Path, metavar="C", help="the file to write")
    arguments = parser.parse_args(argv)
    soup(arguments.generators, arguments.out)
    print(f"the average of {len(arguments.generators)} written to {arguments.out}")


if __name__ == "__main__":
    raise SystemExit(command(_main, resumes=False))
