"""How much sooner the VAE reaches the ELBO asked for, and how much faster an epoch is, than by the plain loop.

    python -m benchmarks.vae [--data-dir data] [--epochs 20] [--seed 0]

Three trainings take turns, an epoch each, so that a machine that slows down slows them all: the plain loop, ours with the
handout's hyperparameters, ours tuned. Each stops when its validation ELBO passes the -102 nats that the assignment asks for.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from experiments import vae
from experiments.run import versions
from model import VAE
from q1_samplers import Digits


def log_likelihood_bernoulli(mu: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """As a student writes it."""
    return -F.binary_cross_entropy(mu, target, reduction="none").sum(1)


def kl_gaussian_gaussian_analytic(
    mu_q: torch.Tensor, logvar_q: torch.Tensor, mu_p: torch.Tensor, logvar_p: torch.Tensor
) -> torch.Tensor:
    """As a student writes it."""
    return 0.5 * (logvar_p - logvar_q + (logvar_q.exp() + (mu_q - mu_p) ** 2) / logvar_p.exp() - 1).sum(1)


class Plain:
    """The handout's notebook, filled in: eager PyTorch, DataLoaders over arrays of images (1, 28, 28), Adam 3e-4."""

    def __init__(self, digits: Digits) -> None:
        self.train = DataLoader(digits.train.view(-1, 1, 28, 28).numpy(), batch_size=64, shuffle=True)
        self.valid = DataLoader(digits.valid.view(-1, 1, 28, 28).numpy(), batch_size=64)
        self.model = VAE(100)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-4)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        z_mean, z_logvar, logits = self.model(x)
        zero = torch.zeros(z_mean.size())
        kl = kl_gaussian_gaussian_analytic(z_mean, z_logvar, zero, zero).mean()
        mu = torch.sigmoid(logits.view(x.size(0), -1))
        return kl - log_likelihood_bernoulli(mu, x.view(x.size(0), -1)).mean()

    def epoch(self) -> float:
        """Train for one epoch; returns the validation ELBO."""
        for x in self.train:
            self.optimizer.zero_grad()
            loss = self.loss(x)
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            total = sum(self.loss(x).item() * len(x) for x in self.valid)
        return -total / len(self.valid.dataset)


class Ours:
    """The loop of experiments/vae.py under a preset."""

    def __init__(self, digits: Digits, preset: str) -> None:
        self.digits, self.learner, self.epochs = digits, vae.Learner(vae.PRESETS[preset], "cpu"), 0

    def epoch(self) -> float:
        """Train for one epoch; returns the validation ELBO."""
        self.epochs += 1
        self.learner.train_epoch(self.digits.train, self.epochs)
        return vae.evaluate_elbo(self.learner.average, self.digits.valid).mean().item()


def matrix_products(images: int, batch_size: int = 64) -> float:
    """Seconds that the matrix products of one epoch take by themselves, the least an epoch can take."""
    layers = [layer for layer in VAE(100).modules() if isinstance(layer, torch.nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in layers]
    operands = [(torch.randn(batch_size, i), torch.randn(i, o), torch.randn(batch_size, o)) for i, o in shapes]
    began = time.perf_counter()
    for _ in range(images // batch_size):
        for number, (x, weight, gradient) in enumerate(operands):
            x @ weight
            x.t() @ gradient
            if number > 0:  # nothing needs the gradient of the image
                gradient @ weight.t()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--epochs", type=int, default=20, help="after which a training that has not passed -102 is given up")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    digits = vae.load_digits("binarized-mnist", arguments.data_dir)
    contenders = {"plain loop": Plain(digits), "ours, handout": Ours(digits, "handout"), "ours, tuned": Ours(digits, "tuned")}
    seconds, passed, products = {name: [] for name in contenders}, {}, []
    for _ in range(arguments.epochs):
        products.append(matrix_products(len(digits.train)))
        for name in [name for name in contenders if name not in passed]:
            began = time.perf_counter()
            elbo = contenders[name].epoch()
            seconds[name].append(time.perf_counter() - began)
            if elbo >= vae.REQUIRED_ELBO:
                passed[name] = len(seconds[name])
            print(f"{name:14s} epoch {len(seconds[name]):2d}  ELBO {elbo:8.2f}  {seconds[name][-1]:5.1f} s", flush=True)

    print(versions(torch.device("cpu")))
    print("| | epoch, median (s) | epochs to -102 | seconds to -102 |\n|---|---|---|---|")
    for name, times in seconds.items():
        print(f"| {name} | {statistics.median(times):.2f} | {passed.get(name, 'not reached')} | {sum(times):.1f} |")
    print(f"| matrix products alone | {statistics.median(products):.2f} | | |")
    plain, handout, tuned = (seconds[name] for name in contenders)
    print(
        f"an epoch at the handout's hyperparameters: {statistics.median(plain) / statistics.median(handout):.2f} times faster"
    )
    print(f"ELBO of -102: {sum(plain) / sum(tuned):.2f} times sooner")


if __name__ == "__main__":
    main()
