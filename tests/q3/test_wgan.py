"""WGAN-LP training: the right network moves the right way, runs repeat to the bit, and the faults of real life."""

import copy
import hashlib
import json
import math
import os
import pickle
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import torch
import torch.nn.functional as F

import q3_samplers
from experiments.wgan import explore, measures, wgan, wgan_data, wgan_evaluation, wgan_learner
from experiments import weights as files
from experiments.run import RunDirectory
from experiments.training import learning_rate_at
from experiments.whitening import Whitening
from model import DigitClassifier, Generator, ImageCritic
from q3_solution import CriticLoss, critic_loss, generator_loss, perturb

TINY = ("--h-dim", 2, "--z-dim", 5, "--batch-size", 4, "--generator-steps", 8, "--log-every", 2, "--no-guide")
OFTEN = ("--checkpoint-minutes", 1e-6)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def options(**changed):
    tiny = {"h_dim": 4, "z_dim": 6, "batch_size": 8, "generator_steps": 100, "guide": False}
    return replace(wgan.PRESETS["tuned"], **{**tiny, **changed})


NO_IMAGES = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)


@pytest.fixture
def q3(data_file, capsys):
    """Run `python q3_solution.py ...` on that file in this process; returns exit code, output and errors."""

    def run(*arguments):
        code = wgan.main(["--data-file", str(data_file), "--samples", "100", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


def tensors(state):
    """Every tensor of a nested dictionary, by path."""
    if isinstance(state, torch.Tensor):
        return {"": state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {f"/{key}{path}": tensor for key, value in items for path, tensor in tensors(value).items()}


def same(first, second):
    first, second = tensors(first), tensors(second)
    return first.keys() == second.keys() and all(torch.equal(first[path], second[path]) for path in first)


def halved(state):
    """A state as it comes back from a file of 16 bits a number."""
    return {name: value.half().float() if value.is_floating_point() else value for name, value in state.items()}


def checkpoint(folder):
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    return {**state["learner"], "random_state": state["random_state"]}


def log_without_times(folder):
    """What does not depend on the clock: neither times, nor what is measured at checkpoints only."""
    kept = ("dataset", "generator_step", "wasserstein_estimate", "lipschitz_penalty", "generator_loss")
    return [{name: entry[name] for name in kept} for entry in RunDirectory(folder).read_log()]


def test_each_step_moves_its_own_network_and_lowers_its_loss():
    torch.manual_seed(0)
    learner = wgan.Learner(options(whiten=False), NO_IMAGES)
    learner.set_rates(0)
    x, z = torch.rand(8, 3, 32, 32) * 2 - 1, torch.randn(8, 6)

    def losses():
        torch.manual_seed(1)  # the same points for the penalty
        with torch.no_grad():
            y = learner.generator(z)
            return critic_loss(x, y, learner.critic).total.item(), generator_loss(y, learner.critic).item()

    def weights(network):
        return {name: value.clone() for name, value in network.named_parameters()}

    generator, critic, (critic_before, _) = weights(learner.generator), weights(learner.critic), losses()
    learner.critic_step(x, z, 10.0)
    assert same(generator, weights(learner.generator))
    assert not same(critic, weights(learner.critic))
    assert losses()[0] < critic_before

    critic, (_, generator_before) = weights(learner.critic), losses()
    learner.generator_step(z)
    assert same(critic, weights(learner.critic))
    assert not same(generator, weights(learner.generator))
    assert losses()[1] < generator_before


def test_gradient_of_the_generator_step_is_the_plain_one():
    """Restricting backward to the generator changes nothing but the work done."""
    torch.manual_seed(0)
    learner = wgan.Learner(options(whiten=False, augment=False), NO_IMAGES)
    learner.set_rates(0)
    generator, critic, z = Generator(6, 4), ImageCritic(4), torch.randn(8, 6)
    generator.load_state_dict(learner.generator.state_dict())
    critic.load_state_dict(learner.critic.state_dict())
    (-critic(generator(z)).mean()).backward()
    learner.generator_step(z)
    for mine, plain in zip(learner.generator.parameters(), generator.parameters()):
        torch.testing.assert_close(mine.grad, plain.grad, rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in learner.critic.parameters())


@pytest.mark.parametrize("precision, error", [("float32", 0), ("bfloat16", 0.02)])
def test_bfloat16_changes_the_losses_little_and_the_weights_kind_not_at_all(precision, error):
    measured = []
    for kind in ("float32", precision):
        torch.manual_seed(0)
        learner = wgan.Learner(options(precision=kind), NO_IMAGES)
        learner.set_rates(0)
        learner.images = torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8)
        measured.append(torch.stack([torch.stack([*learner.step().values()]) for _ in range(3)]))
        assert all(p.dtype == torch.float32 for p in (*learner.generator.parameters(), *learner.critic.parameters()))
    reference, other = measured
    assert torch.equal(reference, other) == (error == 0)
    assert not torch.equal(other, other.bfloat16().float())  # what is measured is not rounded to 16 bits
    torch.testing.assert_close(other, reference, rtol=error, atol=error * reference.abs().max().item())


def test_every_critic_update_has_fresh_images_and_fresh_noise(monkeypatch):
    learner, seen = wgan.Learner(options(critic_updates=3), q3_samplers.stand_in(50).images), []
    monkeypatch.setattr(learner, "critic_step", lambda x, z, _: seen.append((x, z)) or [CriticLoss(*torch.zeros(3))])
    monkeypatch.setattr(learner, "generator_step", lambda z: seen.append((z, z)) or torch.zeros(()))
    learner.step()
    assert len(seen) == 4
    noises = [z for _, z in seen]
    assert all(not torch.equal(a, b) for i, a in enumerate(noises) for b in noises[:i])
    assert not torch.equal(seen[0][0], seen[1][0])


def test_average_follows_the_generator_by_its_decay():
    torch.manual_seed(0)
    learner = wgan.Learner(options(average_decay=0.9), q3_samplers.stand_in(50).images)
    before = {name: value.clone() for name, value in learner.average.state_dict().items()}
    learner.set_rates(10_000)
    learner.step()
    now, average = learner.generator.state_dict(), learner.average.state_dict()
    for name in ("decoder.0.weight", "decoder.1.running_var"):
        torch.testing.assert_close(average[name], 0.9 * before[name] + 0.1 * now[name])
    plain = wgan.Learner(options(average_decay=0.0), NO_IMAGES)
    assert plain.average is plain.generator


@pytest.mark.parametrize(
    ("cooldown", "shares"), [(0, [1] * 6), (3, [1, 1, 1, 1, 2 / 3, 1 / 3]), (6, [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])]
)
def test_cooldown_ends_either_schedule_in_a_straight_line(cooldown, shares):
    for schedule in ("constant", "cosine"):
        asked = options(generator_steps=6, cooldown=cooldown, schedule=schedule, learning_rate=0.1, critic_learning_rate=0.2)
        learner = wgan.Learner(asked, NO_IMAGES)
        for step, share in enumerate(shares):
            learner.set_rates(step)
            for optimizer, rate in ((learner.generator_optimizer, 0.1), (learner.critic_optimizer, 0.2)):
                scheduled = learning_rate_at(step, 6, rate, schedule)
                assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(share * scheduled)


def test_run_is_bound_to_its_length_once_its_cooldown_has_begun():
    """Until then, and at its first step, whose rate is still the whole, a run made longer is the longer run."""
    constant = options(schedule="constant", cooldown=3)
    assert [constant.bound_to_length(done, 6) for done in range(1, 7)] == [False, False, False, False, True, True]
    assert not replace(constant, cooldown=0).bound_to_length(6, 6)
    assert replace(constant, schedule="cosine").bound_to_length(1, 6)


def test_training_brings_the_generator_nearer_to_the_images():
    """40 steps on pictures of one colour: the distance falls to less than half."""
    torch.manual_seed(0)
    images = torch.tensor([200, 90, 40], dtype=torch.uint8).view(1, 3, 1, 1).repeat(64, 1, 32, 32)
    images += torch.randint(0, 20, images.shape, dtype=torch.uint8)
    rates = dict(learning_rate=2e-3, critic_learning_rate=2e-3, schedule="constant", critic_updates=2, average_decay=0.0)
    learner = wgan.Learner(options(**rates, whiten=False), images)  # in pixels, since all they have is brightness
    real = q3_samplers.scale(images)
    before = (exploration.draw(learner.generator, 64).mean((0, 2, 3)) - real.mean((0, 2, 3))).abs().max()
    for step in range(1, 41):
        learner.advance(step)
    after = (exploration.draw(learner.generator, 64).mean((0, 2, 3)) - real.mean((0, 2, 3))).abs().max()
    assert after < before / 2


def test_lazy_penalty_comes_once_a_step_at_the_weight_of_all(monkeypatch):
    weights, losses = {}, [CriticLoss(*torch.ones(3))]
    for lazy in (False, True):
        learner = wgan.Learner(options(critic_updates=3, lazy_penalty=lazy), q3_samplers.stand_in(50).images)
        weights[lazy] = []
        monkeypatch.setattr(learner, "critic_step", lambda *given, lazy=lazy: weights[lazy].append(given[2]) or losses)
        assert [*learner.step().values()][:2] == [1, 1]
    assert weights == {False: [10, 10, 10], True: [30, 0, 0]}


def test_critic_sees_real_and_generated_images_changed_alike_and_the_generator_through_it(monkeypatch):
    learner, changed = wgan.Learner(options(critic_updates=2), q3_samplers.stand_in(50).images), []
    learner.set_rates(0)
    monkeypatch.setattr(wgan_learner, "augment", lambda images: changed.append(images.requires_grad) or 0 * images)
    before = copy.deepcopy(learner.generator.state_dict())
    measured = learner.step()["wasserstein_estimate"]
    assert changed == [False, False, False, False, True]  # x and y at each update, then the generator's own
    assert measured == 0  # blank images, real and generated, are all the same to a critic
    parameters = dict(learner.generator.named_parameters())
    assert all(torch.equal(parameters[name], before[name]) for name in parameters)  # and it gives no direction
    plain = wgan.Learner(options(critic_updates=2, augment=False), q3_samplers.stand_in(50).images)
    plain.set_rates(0)
    assert plain.step()["wasserstein_estimate"] != 0


def test_critic_sees_whitened_images_in_training_and_at_checkpoints(tmp_path, monkeypatch):
    images = q3_samplers.stand_in(500).images
    learner, seen = wgan.Learner(options(critic_updates=1), images), []
    learner.set_rates(0)
    real = q3_samplers.scale(images)
    assert torch.equal(learner.shown(real), Whitening(real)(real))
    monkeypatch.setattr(learner, "whitening", lambda x: seen.append(len(x)) or 0 * x)
    assert learner.step()["wasserstein_estimate"] == 0
    assert seen == [8, 8, 8]  # x, y, then the generator's own
    with RunDirectory(tmp_path / "run") as run:
        measured = wgan.Monitor(run, learner, q3_samplers.in_blocks(q3_samplers.stand_in(500)), 60).measure(1)
    assert seen[3:] == [400, 50, 50]
    blank = torch.zeros(8, 3, 32, 32)
    assert measured["gradient_norm"] == pytest.approx(wgan.gradient_norm_between(learner.critic, blank, blank))
    plain = wgan.Learner(options(whiten=False), images)
    assert plain.shown(images) is images


def test_both_critics_train_on_what_they_see_and_the_generator_faces_their_sum():
    torch.manual_seed(0)
    learner = wgan.Learner(options(guide=True, augment=False), q3_samplers.stand_in(50).images)
    learner.set_rates(0)
    critics = [(ImageCritic(4), learner.shown, 1.0), (ImageCritic(4), learner.digit_view, 6.0)]
    generator, x, z = Generator(6, 4), q3_samplers.scale(q3_samplers.stand_in(8).images), torch.randn(8, 6)
    generator.load_state_dict(learner.generator.state_dict())
    for (critic, _, _), mine in zip(critics, (learner.critic, learner.digit_critic)):
        critic.load_state_dict(mine.state_dict())
    sum(-weight * critic(view(generator(z))).mean() for critic, view, weight in critics).backward()
    learner.generator_step(z)
    for mine, plain in zip(learner.generator.parameters(), generator.parameters()):
        torch.testing.assert_close(mine.grad, plain.grad, rtol=1e-3, atol=1e-5)

    with torch.no_grad():
        y = copy.deepcopy(learner.generator)(z)
    losses = learner.critic_step(x, z, 0.0)
    for (critic, view, _), mine, loss in zip(critics, (learner.critic, learner.digit_critic), losses, strict=True):
        with torch.no_grad():
            before, after = ((f(view(x)).mean() - f(view(y)).mean()).item() for f in (critic, mine))
        assert loss.wasserstein_estimate.item() == pytest.approx(before, abs=1e-5)
        assert after > before


def test_a_run_with_a_guide_resumes_to_the_bit(q3, tmp_path, monkeypatch):
    asked = (*TINY, "--guide", "--schedule", "constant")
    assert q3("train", "--run-dir", tmp_path / "whole", *asked)[0] == 0
    assert q3("train", "--run-dir", tmp_path / "parts", *asked, "--generator-steps", 4)[0] == 0
    files.save(tmp_path / "other.pt", {"classifier": DigitClassifier()}, {})
    monkeypatch.setattr(files, "GUIDE", tmp_path / "other.pt")  # the run has a view of its own by now
    assert q3("train", "--run-dir", tmp_path / "parts", "--resume", "--generator-steps", 8)[0] == 0
    whole, parts = (checkpoint(tmp_path / name) for name in ("whole", "parts"))
    assert whole.keys() >= {"digit_view", "digit_critic"}
    assert same(whole, parts)
    assert all(abs(entry["digit_wasserstein_estimate"]) < 100 for entry in RunDirectory(tmp_path / "whole").read_log())


def test_the_judge_is_no_guide_and_neither_is_a_generator(q3, tmp_path, monkeypatch):
    missing = tmp_path / "none.pt"
    for path, word in ((files.CLASSIFIER, "judges"), (files.GENERATOR, "classifier"), (missing, "--seed 1 makes it anew")):
        monkeypatch.setattr(files, "GUIDE", path)
        code, _, err = q3("train", "--run-dir", tmp_path / "run", *TINY, "--guide")
        assert (code, err.count("\n")) == (2, 1)
        assert word in err
        assert not (tmp_path / "run" / "options.json").exists()


def test_a_learner_without_a_guide_has_one_critic():
    assert len([*wgan.Learner(options(), NO_IMAGES).opponents()]) == 1


def test_overfitting_score_is_the_share_of_the_distance_that_holds_for_training_images_alone(tmp_path, monkeypatch):
    """Brightness as the critic: training images white, validation images grey, generated ones black."""
    learner = wgan.Learner(options(), NO_IMAGES)
    learner.critic = lambda x: x.mean((1, 2, 3))
    blocks = q3_samplers.in_blocks(q3_samplers.stand_in(500))
    white, grey = (torch.full_like(blocks.valid.images, value) for value in (255, 153))
    blocks = q3_samplers.Blocks(blocks.train._replace(images=white), blocks.valid._replace(images=grey), blocks.test)
    with RunDirectory(tmp_path / "run") as run:
        monitor = wgan.Monitor(run, learner, blocks, 60)
        monkeypatch.setattr(exploration, "draw", lambda generator, n: torch.full((n, 3, 32, 32), -1.0))
        measured = monitor.measure(1)
    assert measured["overfitting"] == pytest.approx((1 - 0.2) / 2, rel=1e-3)
    assert measured["gradient_norm"] == pytest.approx((3 * 32 * 32) ** -0.5, rel=1e-5)
    assert measured["legible"] == 0


def test_error_of_the_overfitting_score_is_its_spread():
    """200 scores know their standard deviation to 5%. Values 3, 2 and 0 on average: a score of 1/3."""
    generator = torch.Generator().manual_seed(0)

    def values(mean):
        return mean + torch.randn(100, 10, 1, generator=generator).expand(100, 10, 3).flatten()[:1000]

    scores = [wgan.overfitting_score(values(3), values(2), values(0)[::3]) for _ in range(200)]
    found, errors = (torch.tensor(part) for part in zip(*scores))
    assert abs(found.mean() - 1 / 3) < 4 * found.std() / 200**0.5
    assert 0.8 < errors.mean() / found.std() < 1.2


def test_a_run_starts_from_the_networks_of_another(q3, tmp_path, capsys):
    assert q3("train", "--run-dir", tmp_path / "first", *TINY)[0] == 0
    first = checkpoint(tmp_path / "first")
    torch.save({"generator": first["average"], "origin": {}}, tmp_path / "first" / "alone.pt")
    for name, has_critic in (("checkpoint.pt", True), ("generator.pt", True), ("alone.pt", False)):
        learner = wgan.Learner(options(h_dim=2, z_dim=5), NO_IMAGES)
        capsys.readouterr()
        learner.start_from(tmp_path / "first" / name)
        assert ("holds no critic" in capsys.readouterr().out) != has_critic
        kept = halved if name == "generator.pt" else dict
        assert same(learner.generator.state_dict(), kept(first["average"]))
        assert same(learner.average.state_dict(), kept(first["average"]))
        assert same(learner.critic.state_dict(), kept(first["critic"])) == has_critic
        learner = wgan.Learner(options(h_dim=2, z_dim=5, whiten=False), NO_IMAGES)
        learner.start_from(tmp_path / "first" / name)
        assert not same(learner.critic.state_dict(), first["critic"])  # that one is of another norm
        assert ("another norm" in capsys.readouterr().out) == has_critic
    start = ("--initial-weights", tmp_path / "first" / "checkpoint.pt")
    assert q3("train", "--run-dir", tmp_path / "second", *TINY, *start, "--learning-rate", 1e-12)[0] == 0
    second = checkpoint(tmp_path / "second")
    torch.testing.assert_close(dict(second["generator"])["decoder.0.weight"], first["average"]["decoder.0.weight"])
    code, _, err = q3("train", "--run-dir", tmp_path / "third", *TINY, *start, "--h-dim", 3)
    assert (code, err.count("\n")) == (2, 1)
    assert "--initial-weights" in err
    assert q3("train", "--run-dir", tmp_path / "fourth", *TINY, "--initial-weights", tmp_path / "none.pt")[0] == 2


def test_run_writes_its_whole_record(q3, figures_drawn, tmp_path):
    code, out, err = q3("--run-dir", tmp_path / "run", *TINY)
    assert (code, err) == (0, "")
    log = RunDirectory(tmp_path / "run").read_log()
    assert [entry["generator_step"] for entry in log] == [2, 4, 6, 8]
    named = {"wasserstein_estimate", "lipschitz_penalty", "generator_loss", "steps_per_second"}
    assert all(named <= entry.keys() and all(math.isfinite(entry[name]) for name in named) for entry in log)
    assert log[-1].keys() >= {"gradient_norm", "legible", "kernel_distance", "overfitting"}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["dataset"], metrics["trained_on"]) == ("SVHN small", "SVHN small")
    assert (metrics["generator_step"], metrics["generator_steps"]) == (8, 8)
    for name, sign in (("legible", 1), ("kernel_distance", -1), ("coverage", 1)):
        kinds = (name, f"{name}_of_validation_images", f"{name}_stderr", f"{name}_stderr_of_validation_images")
        assert all(math.isfinite(metrics[kind]) for kind in kinds)
        assert sign * metrics[name] < sign * metrics[f"{name}_of_validation_images"]
    kinds = ("dimension_digit", "dimension_colour", "direction_digit", "direction_colour")
    assert all(len(metrics[f"{kind}{of}"]) == 5 for kind in kinds for of in ("", "_stderr"))
    assert [metrics[f"num_{name}"] for name in ("images", "test_images", "latents", "pairs")] == [100, 20, 20, 40]
    for name in ("nearest_by_pixels", "nearest_by_features"):
        assert all(metrics[f"{name}{of}"] == sorted(metrics[f"{name}{of}"]) for of in ("", "_of_unseen_photographs"))
    assert "by features, least/0.1%/1%" in out
    written = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    own = {"samples.png", "nearest.png", "digits.png", "training.png", "samples_000008.png"}
    latent = {"perturbations.png", "directions.png", "effects.png", "interpolation.png", "interpolation_legible.png"}
    assert written == own | latent
    assert all((tmp_path / "run" / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in written)
    assert "against the test block of SVHN small" in out


def test_training_is_drawn_beside_that_of_runs_beside(q3, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(wgan.wgan_figures, "training_curves", lambda logs, *_: drawn.append(logs))
    monkeypatch.setattr(wgan, "evaluate", lambda *_: None)
    assert q3("train", "--run-dir", tmp_path / "a", *TINY, "--preset", "handout", "--augment")[0] == 0
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "options.json").write_text("no record")
    assert q3("--run-dir", tmp_path / "c", *TINY)[0] == 0
    sizes = " --generator-steps 8 --batch-size 4 --z-dim 5 --h-dim 2"
    assert [*drawn[0]] == ["tuned" + sizes + " --no-guide", "handout" + sizes + " --augment"]
    assert [log[-1]["generator_step"] for log in drawn[0].values()] == [8, 8]


def test_same_seed_same_bits_and_killed_runs_resume_to_them(q3, forked, data_file, tmp_path):
    long = (*TINY, "--generator-steps", 15, "--log-every", 3, *OFTEN)
    assert q3("train", "--run-dir", tmp_path / "whole", *long)[0] == 0
    process = forked("wgan", "train", "--data-file", data_file, "--run-dir", tmp_path / "killed", *long)
    deadline = time.monotonic() + 60
    while len(RunDirectory(tmp_path / "killed").read_log()) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode != 0
    assert 0 < len(RunDirectory(tmp_path / "killed").read_log()) < 5
    code, out, err = q3("train", "--run-dir", tmp_path / "killed", "--resume", "--log-every", 3, "--checkpoint-minutes", 9)
    assert (code, err) == (0, "")
    assert "resuming after generator step" in out
    assert same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "killed"))
    assert log_without_times(tmp_path / "whole") == log_without_times(tmp_path / "killed")


def test_other_seeds_give_other_weights(q3, tmp_path):
    for seed in (1, 2):
        assert q3("train", "--run-dir", tmp_path / str(seed), *TINY, "--seed", seed)[0] == 0
    assert not same(checkpoint(tmp_path / "1"), checkpoint(tmp_path / "2"))


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_interrupt_is_one_line_and_keeps_what_is_logged(forked, data_file, tmp_path):
    """The first checkpoint would come in an hour."""
    arguments = ("train", "--data-file", data_file, "--run-dir", tmp_path / "run", *TINY, "--checkpoint-minutes", 60)
    process = forked("wgan", *arguments, "--generator-steps", 10**6)
    run, deadline = RunDirectory(tmp_path / "run"), time.monotonic() + 60
    while len(run.read_log()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    err = process.errors.read_text()
    assert (process.exitcode, err.count("\n")) == (130, 1)
    assert "--resume" in err
    saved = torch.load(run.checkpoint, weights_only=True)
    assert 1 <= saved["log_entries"] == saved["generator_step"] / 2 >= len(run.read_log()) - 1


def test_training_that_explodes_stops_and_keeps_the_last_good_checkpoint(q3, tmp_path, monkeypatch):
    honest = wgan_learner.learning_rate_at
    monkeypatch.setattr(wgan_learner, "learning_rate_at", lambda step, *rest: math.nan if step == 5 else honest(step, *rest))
    code, _, err = q3("train", "--run-dir", tmp_path / "run", *TINY, *OFTEN)
    assert (code, err.count("\n")) == (2, 1)
    assert "the generator is no longer finite by generator step 6" in err
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["generator_step"] == 4
    assert all(tensor.isfinite().all() for tensor in tensors(checkpoint(tmp_path / "run")).values())


def test_disk_that_fills_up_is_one_clear_error(q3, tmp_path, monkeypatch):
    assert q3("train", "--run-dir", tmp_path / "run", *TINY, "--generator-steps", 2)[0] == 0
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = q3("train", "--run-dir", tmp_path / "run", "--resume")
    assert (code, err.count("\n")) == (2, 1)
    assert "No space left on device" in err
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before
    assert not list((tmp_path / "run").glob("*.tmp"))


def test_resume_insists_on_the_same_images(q3, tmp_path, data_file):
    assert q3("train", "--run-dir", tmp_path / "run", *TINY)[0] == 0
    arrays = scipy.io.loadmat(data_file)
    scipy.io.savemat(tmp_path / "other.mat", {"X": arrays["X"][..., ::-1], "y": arrays["y"]})
    code, _, err = q3("train", "--run-dir", tmp_path / "run", "--resume", "--data-file", tmp_path / "other.mat")
    assert (code, err.count("\n")) == (2, 1)
    assert "was trained on other images" in err


def test_without_data_and_network_the_stand_in_is_named_everywhere(tmp_path, monkeypatch, capsys):
    few = q3_samplers.stand_in(500)
    monkeypatch.setattr(q3_samplers, "stand_in", lambda: few)
    monkeypatch.setattr(q3_samplers, "ADDRESSES", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    where = ["--data-dir", str(tmp_path / "data"), "--run-dir", str(tmp_path / "run")]
    assert wgan.main(["--dataset", "svhn", *where]) == 2
    assert "could not download" in capsys.readouterr().err
    assert wgan.main([*map(str, TINY), "--samples", "100", *where]) == 0
    out, err = capsys.readouterr()
    assert err.count("going on with svhn-stand-in instead, drawn digits") == 1
    assert "svhn-stand-in" in out
    for name in ("options.json", "metrics.json", "log.jsonl"):
        assert (
            json.loads(
                (tmp_path / "run" / name).read_text().splitlines()[0]
                if name == "log.jsonl"
                else (tmp_path / "run" / name).read_text()
            )["dataset"]
            == "svhn-stand-in"
        )


def test_generator_is_made_again_when_a_kill_came_between(q3, tmp_path):
    assert q3("train", "--run-dir", tmp_path / "run", *TINY)[0] == 0
    made = (tmp_path / "run" / "generator.pt").read_bytes()
    (tmp_path / "run" / "generator.pt").unlink()
    code, _, err = q3("evaluate", "--run-dir", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "go on with train --resume" in err
    assert q3("train", "--run-dir", tmp_path / "run", "--resume")[0] == 0
    assert (tmp_path / "run" / "generator.pt").read_bytes() == made


def test_a_longer_run_at_a_constant_rate_is_the_longer_run_to_the_bit(q3, tmp_path):
    constant = (*TINY, "--preset", "handout")
    assert q3("train", "--run-dir", tmp_path / "whole", *constant)[0] == 0
    assert q3("train", "--run-dir", tmp_path / "run", *constant, "--generator-steps", 4)[0] == 0
    code, out, err = q3("train", "--run-dir", tmp_path / "run", "--resume", "--generator-steps", 8)
    assert (code, err) == (0, "")
    assert "resuming after generator step 4 of 8" in out
    assert "made longer" not in out
    assert same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "run"))


def test_a_longer_run_after_a_cooldown_says_that_it_is_not_the_longer_run(q3, tmp_path):
    cooled = (*TINY, "--schedule", "constant", "--generator-steps", 4, "--cooldown", 2)
    assert q3("train", "--run-dir", tmp_path / "run", *cooled)[0] == 0
    code, out, _ = q3("train", "--run-dir", tmp_path / "run", "--resume", "--generator-steps", 8)
    assert code == 0
    assert "made longer, from 4 to 8" in out


def test_a_cooldown_is_no_longer_than_the_run(q3, tmp_path):
    code, _, err = q3("train", "--run-dir", tmp_path / "run", *TINY, "--generator-steps", 4, "--cooldown", 5)
    assert (code, err) == (2, "error: --cooldown 5 is more than the 4 of --generator-steps\n")
    assert q3("train", "--run-dir", tmp_path / "run", *TINY, "--generator-steps", 4, "--cooldown", 4)[0] == 0


def test_evaluating_their_generator_leaves_the_own_figures_and_metrics_alone(q3, tmp_path):
    assert q3("train", "--run-dir", tmp_path / "run", *TINY)[0] == 0
    for name in ("metrics.json", "figures/samples.png"):
        (tmp_path / "run" / name).write_text("what evaluating the own generator has left")
    own = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    torch.save(Generator(7, 3).state_dict(), tmp_path / "theirs.pt")
    assert q3("evaluate", "--run-dir", tmp_path / "run", "--generator", tmp_path / "theirs.pt")[0] == 0
    assert {path: path.read_bytes() for path in own} == own
    assert (tmp_path / "run" / "of-theirs" / "metrics.json").exists()
    assert (tmp_path / "run" / "of-theirs" / "figures" / "samples.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data-file", "{}/none.mat"], "none.mat is not there"),
        (["--generator-steps", "0"], "the least is 1"),
        (["--beta1", "1"], "is not a number of at least 0 and below 1"),
        (["evaluate", "--generator", "{}/none.pt"], "none.pt is not there"),
        (["evaluate", "--run-dir", "{}/new", "--preset", "handout"], "leave out --preset"),
        (["--epsilon", "0"], "is not a number above 0"),
        (["evaluate", "--samples", "99"], "99 is too small, the least is 100"),
        (["train", "--data-file", "{}"], "is not a regular file"),
    ],
)
def test_bad_commands_are_one_line(q3, tmp_path, arguments, message):
    code, out, err = q3("--run-dir", tmp_path / "run", *(argument.format(tmp_path) for argument in arguments))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


# Exploration


class Known(torch.nn.Module):
    """A generator whose dimensions are known: 2 moves every pixel, 0 half of them as much, 1 none."""

    z_dim = 3

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3, 3, 32, 32))
        with torch.no_grad():
            self.weight[2] = 0.1
            self.weight[0, :, :16] = 0.1

    def forward(self, z):
        return torch.einsum("bz,zcij->bcij", z, self.weight)


class Brightness(torch.nn.Module):
    """A classifier that takes bright images for a 1, dark ones for a 0, and is sure of it far from grey."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def features(self, x):
        return x.mean((1, 2, 3)).unsqueeze(1)

    def digit(self, features):
        return 100 * features * (torch.arange(10) == 1)


def check_effects(effects):
    generator, epsilon = Known(), 2.0
    z = exploration.latents(generator, 64)
    found = effects(generator, Brightness(), z, perturb(z, epsilon))
    assert found.colour.tolist() == pytest.approx([0.1, 0, 0.2], abs=1e-6)
    assert found.colour_stderr.tolist() == pytest.approx([0, 0, 0], abs=1e-6)  # the same at every latent
    brightness = 0.05 * z[:, 0] + 0.1 * z[:, 2]
    expected = [((brightness <= 0) & (brightness + step > 0)).float() for step in (0.1, 0, 0.2)]
    assert found.digit.tolist() == pytest.approx([changed.mean().item() for changed in expected])
    assert found.digit_stderr.tolist() == pytest.approx([changed.std().item() / 8 for changed in expected])


def test_effects_of_known_dimensions():
    check_effects(exploration.effects)


WRONG_EFFECTS = {
    "of moving back": lambda g, c, z, moved: exploration.effects(g, c, z, 2 * z - moved),
    "of other latents": lambda g, c, z, moved: exploration.effects(g, c, z.flip(0), moved),
    "colour and digit exchanged": lambda *given: exploration.Effects(*(exploration.effects(*given)[i] for i in (2, 3, 0, 1))),
}


@pytest.mark.parametrize("wrong", WRONG_EFFECTS.values(), ids=WRONG_EFFECTS)
def test_wrong_effects_are_rejected(wrong):
    with pytest.raises(AssertionError):
        check_effects(wrong)


class Uneven(Known):
    """A generator whose dimension 0 changes the colour by z^2, so that the effect differs from latent to latent."""

    def forward(self, z):
        return super().forward(z**2)


def test_error_of_the_change_of_colour_is_its_spread():
    """100 sets know their standard deviation to 7%."""
    sets = (exploration.latents(Uneven(), 50, seed=seed) for seed in range(100))
    found = [exploration.effects(Uneven(), Brightness(), z, perturb(z, 0.5)) for z in sets]
    colours, errors = (torch.stack([getattr(one, name)[2] for one in found]) for name in ("colour", "colour_stderr"))
    assert 0.75 < errors.mean() / colours.std() < 1.3


def test_a_walk_leads_from_each_latent_along_each_direction():
    generator, z = Known(), exploration.latents(Known(), 64)
    images, digits = exploration.walk(generator, Brightness(), z[:4], torch.eye(3)[[2, 1]], torch.tensor([-1.0, 0.0, 1.0]))
    assert images.shape == (4, 2, 3, 3, 32, 32)
    torch.testing.assert_close(images[:, 0, 2] - images[:, 0, 0], torch.full((4, 3, 32, 32), 0.2))
    for row, column in ((1, 0), (0, 1), (1, 2)):
        torch.testing.assert_close(images[:, row, column], exploration.images_of(generator, z[:4]))
    assert torch.equal(digits, (images.mean((3, 4, 5)) > 0).long())
    brightness = (0.05 * z[:, 0] + 0.1 * z[:, 2]).unsqueeze(1)
    sure = torch.softmax(100 * brightness * (torch.arange(10) == 1), 1).amax(1)
    quartiles = sure.argsort(descending=True)[[16, 32]]
    assert torch.equal(exploration.typical(generator, Brightness(), z), z[quartiles])


def test_all_three_paths_join_the_same_images():
    torch.manual_seed(0)
    along = exploration.along_paths(generator := Generator(50, 4), Brightness(), torch.linspace(0, 1, 11), 8, shown=3)
    z0, z1 = exploration.latents(generator, 2, 8, seed=exploration.EVALUATION_SEED + 1)
    latent, arc, data = (along.images[name] for name in ("latent", "spherical", "data"))
    for images in (latent, arc, data):
        assert images.shape == (11, 3, 3, 32, 32)
        torch.testing.assert_close(images[0], exploration.images_of(generator, z1[:3]))  # alpha z0 + (1 - alpha) z1
        torch.testing.assert_close(images[-1], exploration.images_of(generator, z0[:3]))
    torch.testing.assert_close(data[5], (data[0] + data[-1]) / 2)
    torch.testing.assert_close(latent[5], exploration.images_of(generator, (z0 + z1)[:3] / 2))
    assert along.lengths["latent"][5].mean() < 0.85 * along.lengths["spherical"][5].mean()
    assert torch.equal(along.lengths["latent"][-1], z0.norm(dim=1))
    assert all(len(along.legible[name]) == 11 for name in exploration.PATHS)
    assert along.legible["data"][0] == along.legible["latent"][0] == along.legible["spherical"][0]


class Centre(Known):
    """A generator that is bright, which Brightness reads as a 1, where dimension 0 is below 20 in size."""

    def forward(self, z):
        return super().forward(F.pad(20 - z[:, :1].abs(), (0, 2)))


def test_half_way_is_counted_what_is_legible_as_the_digit_of_an_end(monkeypatch):
    """Of four pairs three are legible half way, and one of them as a 1 that its ends show too."""
    ends = torch.tensor([[60.0, 60, 60, 10], [60, -60, -40, 10]]).unsqueeze(2) * torch.tensor([1.0, 0, 0])
    monkeypatch.setattr(exploration, "latents", lambda *_, **__: ends)
    along = exploration.along_paths(Centre(), Brightness(), torch.linspace(0, 1, 3), 4, shown=1)
    assert (along.legible["latent"][1].value, along.agreeing["latent"].value) == (0.75, 0.25)


def test_images_do_not_depend_on_their_company():
    torch.manual_seed(0)
    generator, z = Generator(6, 4), torch.randn(5, 6)
    together = exploration.images_of(generator, z)
    torch.testing.assert_close(together[3:4], exploration.images_of(generator, z[3:4]))
    assert generator.training


def test_photographs_beside_photographs_come_out_better_than_noise():
    images, (judge, _) = q3_samplers.scale(q3_samplers.stand_in(600).images), files.load_classifier()
    reference, more = (measures.classify(judge, part) for part in (images[:100], images[100:]))
    photographs = exploration.compare(reference, more)
    drawn = exploration.compare(reference, measures.classify(judge, exploration.draw(Generator(6, 4), 500)))
    distance = photographs["kernel_distance"]
    assert abs(distance.value) < 5 * distance.stderr < drawn["kernel_distance"].value
    assert photographs["coverage"].value > 0.8 > drawn["coverage"].value
    assert exploration.compare(reference, more, 10)["legible"].value == photographs["legible"].value


# Who has seen what


@pytest.fixture
def published(data_file, tmp_path, monkeypatch):
    """A folder with both published files, small: the test file's first 100 of 500 images are used up."""
    photos = q3_samplers.svhn(data_file)
    digits = photos.labels.numpy()[:, None]
    for name, images in (("train_32x32.mat", 255 - photos.images), ("test_32x32.mat", photos.images)):
        X = images.permute(2, 3, 1, 0).numpy()
        scipy.io.savemat(tmp_path / name, {"X": X, "y": np.where(digits == 0, 10, digits).astype(np.uint8)})
    digests = {name: hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in q3_samplers.MD5}
    monkeypatch.setattr(q3_samplers, "MD5", digests)
    monkeypatch.setattr(q3_samplers, "USED", 100)
    return tmp_path


def seen_by(path, images, network, digest=""):
    """Write a file of weights whose network was trained on these images."""
    torch.manual_seed(0)
    files.save(path, network, {"dataset": "some", "dataset_digest": digest, "seen": files.seen(images, [])})
    return path


def evaluate(folder, *arguments):
    return wgan.main(["evaluate", "--data-dir", str(folder), "--run-dir", str(folder / "run"), *map(str, arguments)])


def test_with_the_published_files_the_test_begins_after_what_is_used_up(published, capsys):
    test = q3_samplers.svhn(published / "test_32x32.mat")
    blocks = wgan_data.load_blocks(replace(wgan.PRESETS["tuned"], data_dir=published))
    assert [len(block.images) for block in blocks] == [450, 50, 400]
    assert torch.equal(blocks.test.images, test.images[100:])
    generator = seen_by(published / "theirs.pt", test.images[:100], {"generator": Generator(5, 2)})
    assert evaluate(published, "--generator", generator, "--samples", 100) == 0
    out = capsys.readouterr().out
    assert "memory is not searched: the images that this generator was trained on are not at hand" in out
    metrics = json.loads((published / "run" / "metrics.json").read_text())
    assert metrics["num_test_images"] == 20 and "nearest_by_pixels" not in metrics


@pytest.mark.parametrize("kind", ["generator", "classifier", "guide"])
def test_what_has_seen_an_image_is_not_measured_on_it(published, monkeypatch, capsys, kind):
    """Also where it has seen the third of a block, or where training would begin with it."""
    images = q3_samplers.svhn(published / "test_32x32.mat").images
    network = {"generator": Generator(5, 2)} if kind == "generator" else {"classifier": DigitClassifier()}
    path = seen_by(published / "theirs.pt", images[:101], network)
    if kind != "generator":
        monkeypatch.setattr(files, kind.upper(), path)
    where = ("--data-dir", published, "--run-dir", published / "run")
    training = ("--initial-weights", path, *TINY) if kind == "generator" else (*TINY, "--guide")
    asked = (("evaluate", *where, "--generator", path),) if kind == "generator" else ()
    for arguments in (*asked, ("train", *where, *training)):
        assert wgan.main([*map(str, arguments)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "trained on 1 of the 400 images of SVHN test_32x32's test block" in err


def test_a_run_records_what_it_has_seen_and_its_memory_is_searched(q3, data_file, tmp_path):
    blocks = q3_samplers.in_blocks(q3_samplers.svhn(data_file))
    other = seen_by(tmp_path / "other.pt", NO_IMAGES[:1], {"generator": Generator(5, 2)})
    assert q3("train", "--run-dir", tmp_path / "run", *TINY, "--initial-weights", other, "--guide")[0] == 0
    other.unlink()  # which a resumed run does without
    assert q3("train", "--run-dir", tmp_path / "run", "--resume")[0] == 0
    origin = files.load_generator(tmp_path / "run" / "generator.pt")[1]
    marks = {*q3_samplers.fingerprints(blocks.train.images), *q3_samplers.fingerprints(NO_IMAGES), *files.seen_by(files.GUIDE)}
    assert (set(origin["seen"]), origin["images"]) == (marks, [0, 399])
    assert "nearest training image by features" in q3("evaluate", "--run-dir", tmp_path / "run")[1]


def test_bundled_networks_say_that_they_have_seen_8000_images_of_the_test_file():
    for path in (files.GENERATOR, files.CLASSIFIER, files.GUIDE):
        origin = files.load(path)["origin"]
        assert (origin["dataset"], origin["images"]) == ("SVHN test_32x32_first10000", [0, 7999])
        assert len(set(origin["seen"])) == 8000


def test_a_copy_is_found_by_pixels_and_a_lighter_one_by_features(data_file, tmp_path):
    judge, blocks = files.load_classifier()[0], q3_samplers.in_blocks(q3_samplers.svhn(data_file))
    rows = torch.arange(20) * 7
    copies = q3_samplers.scale(blocks.train.images[rows])
    with RunDirectory(tmp_path / "run") as run:
        exact, lighter = (wgan_evaluation.search_memory(run, x, judge, blocks, "") for x in (copies, 0.5 * copies + 0.5))
    assert max(exact["nearest_by_pixels"]) < 2e-3 < exact["nearest_by_pixels_of_unseen_photographs"][0]
    assert max(exact["nearest_by_features"]) < 2e-3 < exact["nearest_by_features_of_unseen_photographs"][0]
    assert lighter["nearest_by_pixels"][0] > 0.05


def test_a_file_of_nine_images_is_one_line(q3, data_file, tmp_path):
    arrays = scipy.io.loadmat(data_file)
    scipy.io.savemat(tmp_path / "nine.mat", {"X": arrays["X"][..., :9], "y": arrays["y"][:9]})
    for action in ("evaluate", "train"):
        code, _, err = q3(action, "--run-dir", tmp_path / "run", "--data-file", tmp_path / "nine.mat")
        assert (code, err.count("\n")) == (2, 1)
        assert "has 9 images, of which a tenth each is kept" in err


def test_weights_of_the_handouts_class_load(q3, tmp_path):
    torch.manual_seed(0)
    torch.save(Generator(7, 3).state_dict(), tmp_path / "theirs.pt")
    code, out, err = q3("evaluate", "--run-dir", tmp_path / "run", "--generator", tmp_path / "theirs.pt")
    assert (code, err) == (0, "")
    assert "trained on images it does not name" in out


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def write_malicious(path, folder):
    path.write_bytes(pickle.dumps({"generator": Malicious(folder / "hacked")}))


def write_flipped(path, folder):
    torch.save(Generator(7, 3).state_dict(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # among the weights, where torch.load notices nothing
    path.write_bytes(content)


def write_other_sizes(path, folder):
    weights = Generator(7, 3).state_dict()
    weights["decoder.3.weight"] = torch.zeros(1, 2, 3)
    torch.save(weights, path)


FOREIGN = {
    "empty": lambda path, folder: path.write_bytes(b""),
    "text": lambda path, folder: path.write_text("weights"),
    "a list": lambda path, folder: torch.save([1, 2], path),
    "a critic": lambda path, folder: torch.save(ImageCritic(3).state_dict(), path),
    "other sizes": write_other_sizes,
    "one bit flipped": write_flipped,
    "malicious": write_malicious,
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN)
def test_foreign_weights_are_refused_and_never_executed(q3, tmp_path, write):
    write(tmp_path / "theirs.pt", tmp_path)
    code, _, err = q3("evaluate", "--run-dir", tmp_path / "run", "--generator", tmp_path / "theirs.pt")
    assert (code, err.count("\n")) == (2, 1)
    assert "is damaged or no such generator" in err
    assert not (tmp_path / "hacked").exists()


def test_a_state_from_another_device_fits_this_one():
    learner = wgan.Learner(options(), NO_IMAGES)
    state = copy.deepcopy(learner.state_dict())
    for group in state["critic_optimizer"]["param_groups"]:
        group["capturable"] = True  # as on a GPU
    learner.load_state_dict(state)
    assert not any(group["capturable"] for group in learner.critic_optimizer.param_groups)


@needs_gpu
@pytest.mark.parametrize("steps_before", [0, 3])
def test_recorded_steps_leave_the_state_that_eager_ones_do(steps_before, capsys):
    """Weights, moments, average, random state; along a cosine, with slopes above 1, from the start or a checkpoint."""
    images, ends = q3_samplers.stand_in(100).images.cuda(), []
    for graph in ("off", "auto"):
        torch.manual_seed(0)
        learner = wgan.Learner(options(graph=graph, generator_steps=12, learning_rate=1e-3), images)
        with torch.no_grad():
            for parameter in learner.critic.parameters():
                parameter *= 3  # so that the penalty has something to do
        if steps_before:
            eager = wgan.Learner(options(graph="off", generator_steps=12, learning_rate=1e-3), images)
            eager.load_state_dict(learner.state_dict())
            torch.cuda.manual_seed(1)
            for number in range(1, steps_before + 1):
                eager.advance(number)
            learner.load_state_dict(eager.state_dict())
        torch.cuda.manual_seed(2)
        measured = [[*map(float, learner.advance(steps_before + number).values())] for number in range(1, 8)]
        ends.append((torch.tensor(measured), tensors(learner.state_dict()), torch.cuda.get_rng_state()))
    (measured, state, randomness), (replayed, replayed_state, replayed_randomness) = ends
    assert measured[:, 1].max() > 0.01
    torch.testing.assert_close(replayed, measured, rtol=0.02, atol=0.02)
    for path, tensor in state.items():
        torch.testing.assert_close(replayed_state[path], tensor, rtol=0.05, atol=0.02, msg=path)
    assert torch.equal(replayed_randomness, randomness)
    assert capsys.readouterr().err == ""  # it was recorded


@needs_gpu
def test_bfloat16_is_refused_where_it_is_emulated(q3, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    code, _, err = q3("train", "--run-dir", tmp_path / "run", *TINY, "--device", "cuda", "--precision", "bfloat16")
    assert (code, err.count("\n")) == (2, 1)
    assert "has no bfloat16 products" in err


@needs_gpu
def test_gpu_run_resumes_and_its_generator_draws_the_same_on_the_cpu(q3, tmp_path):
    assert q3("train", "--run-dir", tmp_path / "run", *TINY, "--device", "cuda")[0] == 0
    assert q3("--run-dir", tmp_path / "run", "--resume", "--device", "cuda")[0] == 0
    generator, _ = files.load_generator(tmp_path / "run" / "generator.pt")
    on_cpu = exploration.draw(generator, 8)
    torch.testing.assert_close(exploration.draw(generator.cuda(), 8).cpu(), on_cpu, rtol=0.02, atol=0.02)
