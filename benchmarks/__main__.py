"""Measure every speed claim of the README and write them as one table, runs/benchmarks.md.

    python -m benchmarks [vae] [divergences] [wgan] [--data-dir data] [--rounds 5] [--device auto]

Compared programs run in turns, so that a machine that slows down slows them all. Leave the machine alone meanwhile.
"""

import argparse
import platform
from pathlib import Path

import torch

from benchmarks import divergences, vae, wgan
from experiments.harness.command import exit_code
from experiments.harness.files import write_atomically
from experiments.harness.options import file_path, positive_integer
from experiments.harness.run import versions
from experiments.harness.training import choose_device

QUESTIONS = {"vae": vae.compare, "divergences": divergences.compare, "wgan": wgan.compare}
HEAD = "| what | against | theirs | ours | times faster |\n|---|---|---|---|---|"


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", metavar="which", help=f"of {', '.join(QUESTIONS)} (all)")
    parser.add_argument(
        "--data-dir", type=file_path, default=Path("data"), help="where binarized MNIST is or goes (data)"
    )
    parser.add_argument("--rounds", type=positive_integer, default=5, help="turns that each takes (5)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="of wgan; the others take the CPU"
    )
    parser.add_argument("--out", type=file_path, default=Path("runs/benchmarks.md"), help="(runs/benchmarks.md)")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.which) - set(QUESTIONS):
        parser.error(f"{sorted(unknown)[0]!r} is none of {', '.join(QUESTIONS)}")
    return arguments


def _main(argv: list[str]) -> None:
    arguments = parse(argv)
    arguments.device = choose_device(arguments.device)
    lines = [f"{processor()}, {versions(arguments.device)}", "", HEAD]
    print(*lines, sep="\n", flush=True)
    for name in arguments.which or QUESTIONS:
        for comparison in QUESTIONS[name](arguments):
            lines.append(comparison.row())
            print(lines[-1], flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.out, "".join(line + "\n" for line in lines).encode())
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    torch.manual_seed(0)
    raise SystemExit(exit_code(_main))
