"""Evaluating the VAE: log p(x) against quadrature, the KL of each latent, metrics.json, what the figures are given."""

import json
import math
import statistics

import pytest
import torch
from matplotlib.collections import LineCollection
from torch.distributions import Bernoulli, Normal, kl_divergence

import q1_samplers
from experiments.harness.run import RunDirectory
from experiments.vae import evaluate
from experiments.vae.bounds import (
    DECODED_AT_ONCE,
    evaluate_elbo,
    evaluate_log_likelihood,
    log_likelihood_bernoulli_logits,
)
from model import VAE
from report.__main__ import FIGURES


def sharp_vae(latent_size):
    """An untrained VAE whose decoder depends strongly on its latents."""
    torch.manual_seed(0)
    model = VAE(latent_size)
    with torch.no_grad():
        model.decode.mlp[0].weight.mul_(5)
    return model


def digits(rows):
    """Random binary digits (rows, 784), a sixth of the pixels white."""
    return (torch.randn(rows, 784, generator=torch.Generator().manual_seed(0)) > 1).float()


def test_log_likelihood_agrees_with_quadrature():
    """With one latent, log p(x) is an integral over the line, exact on a fine grid."""
    model, x = sharp_vae(1).double(), digits(3).double()
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64).view(-1, 1)
    with torch.no_grad():
        log_likelihood = log_likelihood_bernoulli_logits(model.decode(grid.unsqueeze(1)), x)  # (4001, 3)
    exact = torch.logsumexp(log_likelihood + Normal(0, 1).log_prob(grid), 0) + math.log(16 / 4000)
    model, x = model.float(), x.float()
    repeats = evaluate_log_likelihood(model, x.repeat(50, 1), 400).view(50, 3)
    assert ((repeats.mean(0) - exact).abs() <= 5 * repeats.std(0) / 50**0.5 + 0.01).all(), (repeats.mean(0), exact)


def test_elbo_is_below_log_likelihood_and_both_ignore_the_batch_size():
    model, x = sharp_vae(5), digits(23)
    elbo, log_p = evaluate_elbo(model, x), evaluate_log_likelihood(model, x, 200)
    assert elbo.mean() < log_p.mean()
    for batch_size in (1, 7, 23):
        torch.testing.assert_close(evaluate_elbo(model, x, batch_size), elbo, rtol=1e-5, atol=0)
        torch.testing.assert_close(evaluate_log_likelihood(model, x, 200, batch_size), log_p, rtol=1e-5, atol=0)


def test_images_give_what_their_rows_of_pixels_give():
    model, x = sharp_vae(5), digits(9)
    images = x.view(9, 1, 28, 28)
    assert torch.equal(evaluate_elbo(model, images), evaluate_elbo(model, x))
    assert torch.equal(*(evaluate_log_likelihood(model, either, 50) for either in (images, x)))


def test_memory_does_not_grow_with_the_number_of_samples():
    model, x = sharp_vae(2), digits(2)
    decoded = []
    model.decode.register_forward_pre_hook(lambda _, arguments: decoded.append(arguments[0][..., 0].numel()))
    value = evaluate_log_likelihood(model, x, 5000)
    assert sum(decoded) == 2 * 5000
    assert max(decoded) <= DECODED_AT_ONCE
    assert (value - evaluate_log_likelihood(model, x, 200)).abs().max() < 3


def test_whole_run(figures_drawn, q1, small_data, tmp_path):
    """Files, log and metrics: each number anew from the weights; reconstruction and KL by torch.distributions."""
    folder = tmp_path / "run"
    code, out, err = q1("--run-dir", folder, "--epochs", 3, "--num-samples", 20)
    assert (code, err) == (0, "")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"validation ELBO  {metrics['valid_elbo']:8.2f} +- {metrics['valid_elbo_stderr']:.2f} nats\n" in out
    log_p = f"{metrics['test_log_likelihood']:8.2f} +- {metrics['test_log_likelihood_stderr']:.2f} nats, K = 20\n"
    assert f"test log p(x)    {log_p}" in out
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".lock"}
    pictures = {f"figures/{name}" for name in FIGURES["q1"]}  # which the report shows
    assert written == {"options.json", "log.jsonl", "checkpoint.pt", "metrics.json", "figures"} | pictures
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert (metrics["epochs"], metrics["dataset"]) == (3, "binarized-mnist")
    assert [metrics[f"valid_log_likelihood_num_{what}"] for what in ("images", "samples")] == [100, 200]
    log = RunDirectory(folder).read_log()
    names = {"epoch", "valid_elbo", "train_elbo", "seconds", "epochs_per_second"}
    assert [set(entry) for entry in log] == [names] * 3
    assert log[0]["valid_elbo"] < log[1]["valid_elbo"] < log[2]["valid_elbo"] == pytest.approx(metrics["valid_elbo"])

    model, data = VAE(), q1_samplers.binarized_mnist(small_data)
    model.load_state_dict(torch.load(folder / "checkpoint.pt", weights_only=True)["learner"]["average"])
    for split, x in (("train", data.train[: len(data.valid)]), ("valid", data.valid), ("test", data.test)):
        assert metrics[f"{split}_elbo"] == pytest.approx(evaluate_elbo(model, x).mean().item(), rel=1e-5)
    for split, x, K in (("valid", data.valid, 200), ("test", data.test, 20)):
        log_p = evaluate_log_likelihood(model, x, K)
        assert metrics[f"{split}_log_likelihood"] == pytest.approx(log_p.mean().item(), rel=1e-5)
        assert metrics[f"{split}_log_likelihood_stderr"] == pytest.approx(log_p.std().item() / len(x) ** 0.5, rel=1e-3)
    by_num_samples = metrics["test_log_likelihood_by_num_samples"]
    assert list(by_num_samples) == ["1", "10", "20"]
    assert by_num_samples["1"] < by_num_samples["10"] < by_num_samples["20"]
    assert by_num_samples["20"] == pytest.approx(metrics["test_log_likelihood"])
    assert metrics["test_log_likelihood_by_num_samples_stderr"]["20"] == metrics["test_log_likelihood_stderr"]

    with torch.no_grad():
        mean, logvar = model.encode(data.valid)
        q = Normal(mean, (logvar / 2).exp())
        kl = kl_divergence(q, Normal(0.0, 1.0))  # (images, latents)
        z = q.sample((50,))
        log_likelihood = Bernoulli(logits=model.decode(z)).log_prob(data.valid).sum(-1)  # (50, images)
    assert metrics["valid_kl"] == pytest.approx(kl.sum(1).mean().item(), rel=1e-4)
    assert metrics["active_latents"] == (kl.mean(0) > 0.01).sum()
    assert metrics["kl_by_latent"] == pytest.approx(sorted(kl.mean(0).tolist(), reverse=True), abs=1e-5)
    assert f"carried by {metrics['active_latents']} active latents" in out
    stderr = (log_likelihood.var(0).sum() * (1 + 1 / 50)).sqrt() / len(data.valid)  # of one sample an image against 50
    assert abs(metrics["valid_reconstruction"] - log_likelihood.mean()) <= 5 * stderr
    assert metrics["valid_elbo"] == pytest.approx(metrics["valid_reconstruction"] - metrics["valid_kl"], rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_trained_on_a_gpu_measures_the_same_on_the_cpu(q1, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "run", "--epochs", 1, "--device", "cuda")[0] == 0
    log_p = []
    for device in ("cpu", "cuda"):
        assert q1("evaluate", "--run-dir", tmp_path / "run", "--num-samples", 20, "--device", device)[0] == 0
        log_p.append(json.loads((tmp_path / "run" / "metrics.json").read_text())["test_log_likelihood"])
    assert log_p[0] == pytest.approx(log_p[1], rel=1e-3)


def lines(figure):
    """The curves of a figure: label to x and y."""
    drawn = [line for axes in figure.axes for line in axes.lines if not line.get_label().startswith("_")]
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in drawn}


def test_runs_beside_are_drawn_with_what_sets_them_apart(q1, figures, tmp_path):
    """A run that is not named is not looked at, whatever is in it."""
    (tmp_path / "unreadable").mkdir()
    (tmp_path / "unreadable" / "options.json").write_text("no record")
    iwae = ("--objective", "iwae", "--epochs", 1)
    for seed, name in enumerate("ab"):  # K of 1, 10, 12 and of 1, 10, 13
        assert q1("--run-dir", tmp_path / name, *iwae, "--seed", seed, "--num-samples", 12 + seed)[0] == 0
    assert q1("--run-dir", tmp_path / "h", "--preset", "handout", "--epochs", 2, "--num-samples", 2)[0] == 0
    figures.clear()
    beside = [word for name in "abh" for word in ("--beside", tmp_path / name)]
    assert q1("--run-dir", tmp_path / "d", "--epochs", 2, "--num-samples", 3, "--seed", 4, *beside)[0] == 0
    elbos, log_ps = lines(figures[0]), lines(figures[1])
    names = ["tuned preset, --epochs 2, seed 4", "tuned preset, --epochs 1, --objective iwae"]
    names.append("handout preset, --epochs 2, seed 0")
    drawn = [[label.split(":")[0] for label in curves] for curves in (elbos, log_ps)]
    assert drawn == [[*names, "required by the assignment"], names]
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in "dabh"]
    by_K = "test_log_likelihood_by_num_samples"
    at_K = [[found[key][K] for found, K in zip(metrics, ("3", "10", "10", "2"))] for key in (by_K, f"{by_K}_stderr")]
    for curves, where, (one, *two, three) in (
        (elbos, ("at epoch 2", "at epoch 1", "at epoch 2"), [found["valid_elbo"] for found in metrics]),
        (log_ps, ("at K = 3", "at K = 10", "at K = 2"), at_K[0]),
    ):
        means = [one, statistics.mean(two), three]
        assert [y[-1] for _, y in [*curves.values()][:3]] == pytest.approx(means)
        ends = [f": {mean:.2f} {at}" for mean, at in zip(means, where)]
        ends[1] += f", mean of 2 seeds (band: deviation {statistics.stdev(two):.2f})"
        assert all(label.endswith(end) for label, end in zip(curves, ends)), (curves, ends)
    bars = [part for part in figures[1].axes[0].collections if isinstance(part, LineCollection)]
    low_and_high = [part.get_segments()[-1][:, 1].tolist() for part in bars]
    stderrs = [at_K[1][0], statistics.mean(at_K[1][1:3]), at_K[1][3]]
    for ends, mean, stderr in zip(low_and_high, means, stderrs, strict=True):
        assert ends == pytest.approx([mean - stderr, mean + stderr])
    for axes, start in zip(figures[0].axes, (0, -1), strict=True):  # all epochs, and the end of each run
        inside = [elbo for line in axes.lines if line.get_xdata()[0] == 1 for elbo in line.get_ydata()[start:]]
        assert axes.get_ylim()[0] < min(inside) and max(inside) < axes.get_ylim()[1]
    assert [x for x, _ in elbos.values()][:3] == [[1, 2], [1], [1, 2]]
    assert [K for K, _ in log_ps.values()] == [[1, 3], [1, 10], [1, 2]]
    dashed = [line.get_ydata()[-1] for line in figures[0].axes[0].lines if line.get_linestyle() == "--"]
    logs = [RunDirectory(tmp_path / name).read_log()[-1] for name in "dh"]  # the others train another bound
    assert dashed == pytest.approx([log["train_elbo"] for log in logs])


DAMAGED = {
    "options.json": ("{", '{"question": "q2"}'),
    "metrics.json": ("{}", '{"test_log_likelihood_by_num_samples": [1]}'),
    "log.jsonl": ("[1]", "1"),
}


def test_a_run_beside_that_lacks_a_file_or_is_damaged_is_one_line(q1, tmp_path, monkeypatch):
    monkeypatch.setattr("model.HIDDEN", 8)
    for name in "ab":
        assert q1("--run-dir", tmp_path / name, "--epochs", 1, "--num-samples", 2)[0] == 0
    for name, contents in DAMAGED.items():
        path = tmp_path / "b" / name
        kept = path.read_text()
        for content in (None, *contents):
            path.unlink() if content is None else path.write_text(content)
            code, _, err = q1("evaluate", "--run-dir", tmp_path / "a", "--beside", tmp_path / "b", "--num-samples", 2)
            assert (code, err.count("\n")) == (2, 1), (name, content)
            assert err.startswith("error: ") and str(tmp_path / "b") in err
            path.write_text(kept)


class Latents(torch.nn.Module):
    """A decoder that shows the latents themselves, as the logits of the first pixels."""

    def __init__(self):
        super().__init__()
        self.unit = torch.nn.Parameter(torch.ones(()))

    def forward(self, z):
        return torch.nn.functional.pad(self.unit * z, (0, 684))


class Codes(torch.nn.Module):
    """An encoder whose latents 3 and 7 carry what there is to know; the mean of latent k is k / 1000."""

    def forward(self, x):
        z_logvar = torch.zeros(len(x), 100)
        z_logvar[:, 7], z_logvar[:, 3] = -6, -4
        return (torch.arange(100.0) / 1000).expand(len(x), 100), z_logvar


def test_walk_crosses_the_two_latents_that_carry_most(figures, tmp_path):
    model = VAE()
    model.encode, model.decode = Codes(), Latents()
    digits = q1_samplers.Digits("", "", *torch.zeros(3, 60, 784))
    evaluate.draw_digits(RunDirectory(tmp_path), model, digits, evaluate.kl_by_latent(model, digits.valid))
    (axes, bars), steps = figures[2].axes, torch.linspace(-2.5, 2.5, 11)
    heights = [bar.get_height() for bar in bars.patches]
    assert heights == sorted(heights, reverse=True) and heights[1] > 1 > 0.01 > heights[2]
    assert bars.get_title().startswith("2 of 100 latents carry ")
    assert (axes.get_ylabel()[:5], axes.get_xlabel()[:5]) == ("$z_{7", "$z_{3")
    (image,) = axes.images
    assert image.get_extent() == pytest.approx((-2.75, 2.75, 2.75, -2.75))
    tiles = torch.from_numpy(image.get_array().data).view(11, 30, 11, 30)[:, 1:29, :, 1:29].transpose(1, 2)
    z = torch.logit(tiles.reshape(11, 11, 784)[:, :, :100])
    torch.testing.assert_close(z[:, :, 7], steps.unsqueeze(1).expand(11, 11))
    torch.testing.assert_close(z[:, :, 3], steps.expand(11, 11))
    others = [k for k in range(100) if k not in (3, 7)]
    torch.testing.assert_close(z[:, :, others], (torch.arange(100.0) / 1000)[others].expand(11, 11, 98))
    assert [figures[k].axes[0].images[0].get_array().shape for k in (0, 1)] == [(300, 300), (300, 300)]
