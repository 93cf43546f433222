"""The table of benchmarks says what was measured, and whoever is compared with us does the same work."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import divergences
from benchmarks.comparison import Comparison, duration
from experiments.divergences.train import PRESETS
from tests.conftest import PROJECT


def test_a_row_gives_medians_and_the_median_of_the_ratios():
    comparison = Comparison("a step", "plain loop", theirs=[4.0, 0.3, 6.0], ours=[1.0, 0.1, 9.0])
    assert comparison.row() == "| a step | plain loop | 4 s | 1 s | 3.00 |"


def test_durations_keep_three_digits():
    assert [duration(s) for s in (0.0012345, 0.5, 1.234, 99.96, 599, 25632)] == [
        "1.23 ms",
        "500 ms",
        "1.23 s",
        "100 s",
        "599 s",
        "427 min",
    ]


def test_the_command_prints_and_writes_one_table(tmp_path, monkeypatch, capsys):
    for name in ("plain", "ours"):
        honest = getattr(divergences, name)
        monkeypatch.setattr(divergences, name, lambda preset, iterations, honest=honest: honest(preset, 2))
    for name in ("tuned", "handout"):
        monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], batch_size=4))
    out = tmp_path / "new" / "table.md"
    benchmarks._main(["divergences", "--rounds", "1", "--device", "cpu", "--out", str(out)])
    printed, written = capsys.readouterr().out, out.read_text()
    assert printed == f"{written}written to {out}\n"
    assert written.count("question 2") == 2


def test_what_is_no_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        benchmarks.parse(["vae", "gan"])
    assert end.value.code == 2
    assert "'gan' is none of" in capsys.readouterr().err


BOTH_ELBOS = """
import jax.numpy, torch
from benchmarks import jax_vae
from experiments.vae.bounds import bound_of
from model import VAE

model, x, eps = VAE(), torch.rand(5, 784).round(), torch.randn(5, 100)
weights = {name: jax.numpy.asarray(weight.detach().numpy()) for name, weight in model.named_parameters()}
print(float(jax_vae.elbo(weights, x.numpy(), eps.numpy())), bound_of(model, x, eps[None]).mean().item())
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX, which is no dependency")
def test_jax_measures_our_elbo():
    """In a process of its own: JAX's threads do not go with other tests' forks."""
    printed = subprocess.run(
        [sys.executable, "-c", BOTH_ELBOS], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    theirs, ours = map(float, printed.stdout.split())
    assert theirs == pytest.approx(ours, rel=1e-5)
