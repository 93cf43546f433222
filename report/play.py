"""What the page is played with: networks in 16 bits, validation digits, question 2's curves, names of directions."""

import base64
import csv
import json
from pathlib import Path

import numpy as np
import torch

from experiments.harness.files import load_plain
from experiments.vae.train import VAEOptions, load
from experiments.wgan import explore, weights
from experiments.wgan.classifier import load_classifier
from q1_samplers import STAND_IN

SCRIPT = Path(__file__).with_name("page.js")
DIGITS = 60  # validation digits that the page can show
CURVES = {"theta": "theta", "h2": "squared_hellinger", "w1": "wasserstein"}
CONVOLUTION, TRANSPOSED = (2, 3, 1, 0), (2, 3, 0, 1)  # axes of a kernel as [row, column, input, output]


def content(runs: Path, data_dir: Path, metrics: dict[str, dict]) -> dict[str, str]:
    """Fields of page.html that let it be played with, from runs/q1, q2 and q3, whose metrics.json are `metrics`."""
    own, dataset = runs / "q3" / "generator.pt", metrics["q1"]["dataset"]
    generator, _ = weights.load_generator(own if own.exists() else weights.BUNDLED_GENERATOR)
    valid = load(VAEOptions(dataset=dataset, data_dir=data_dir)).content.valid[:DIGITS]
    digits = np.packbits(valid.bool().numpy(), axis=1)
    rows = list(csv.DictReader((runs / "q2" / "curves.csv").read_text().splitlines()))
    vae = load_plain(runs / "q1" / "checkpoint.pt", "run make report again")["learner"]["average"]
    data = {
        "vae": _packed(vae),
        "generator": _packed(generator.state_dict(), TRANSPOSED),
        "classifier": _packed(load_classifier()[0].state_dict(), CONVOLUTION),
        "directions": [_bits(row) for row in explore.directions(generator)],
        "dials": dials(metrics["q3"]),
        "digits": base64.b64encode(digits.tobytes()).decode(),
        "curves": {name: [float(row[column]) for row in rows] for name, column in CURVES.items()},
        "gradients": {name: metrics["q2"].get(f"{column}_gradient") for name, column in CURVES.items()},
    }
    named = f"{dataset}, a stand-in" if dataset == STAND_IN else dataset
    return {"script": SCRIPT.read_text(encoding="utf-8"), "data": json.dumps(data), "vae_dataset": named}


def dials(metrics: dict) -> list[tuple[int, str]]:
    """Which singular direction each dial of the page moves, and its name: what it changes, and how often the digit."""
    found = metrics["directions"]
    named, shares = found["dials"].items(), found["singular"]["digit_of_legible"]["value"]
    return [(int(i), f"direction {i}: {change} (digit changes in {shares[int(i)]:.0%})") for i, change in named]


def _packed(state: dict[str, torch.Tensor], order: tuple[int, ...] = ()) -> dict[str, tuple[list[int], str]]:
    """Shape and numbers by name. `order`: of a kernel's axes."""
    tensors = {name: tensor.permute(order) if tensor.dim() == 4 else tensor for name, tensor in state.items()}
    return {name: (list(tensor.shape), _bits(tensor)) for name, tensor in tensors.items() if tensor.is_floating_point()}


def _bits(tensor: torch.Tensor) -> str:
    return base64.b64encode(tensor.contiguous().numpy().astype("<f2").tobytes()).decode()
