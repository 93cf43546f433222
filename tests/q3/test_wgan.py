"""WGAN-LP training: the right network moves the right way, runs repeat to the bit, and the faults of real life."""

import copy
import json
import math
import os
import pickle
import signal
import statistics
import time
from dataclasses import replace

import pytest
import scipy.io
import torch
from experiments.whitening import Whitening

import q3_samplers
from experiments import wgan, wgan_learner
from experiments.harness.run import RunDirectory
from experiments.harness.training import learning_rate_at
from experiments.wgan import explore
from experiments.wgan import weights as files
from model import DigitClassifier, Generator, ImageCritic
from q3_solution import CriticLoss, critic_loss, generator_loss
from report.__main__ import FIGURES

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
        code = wgan.main(["--data-file", str(data_file), *map(str, arguments)])
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
        measured = wgan.Checkpoint(run, learner, q3_samplers.in_blocks(q3_samplers.stand_in(500))).measure(1)
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


def test_overfitting_is_the_share_that_the_critic_knows_by_heart(tmp_path, monkeypatch):
    """Brightness as the critic: training images white, validation images grey, generated ones black."""
    learner = wgan.Learner(options(), NO_IMAGES)
    learner.critic = lambda x: x.mean((1, 2, 3))
    blocks = q3_samplers.in_blocks(q3_samplers.stand_in(500))
    white, grey = (torch.full_like(blocks.valid.images, value) for value in (255, 153))
    blocks = q3_samplers.Blocks(blocks.train._replace(images=white), blocks.valid._replace(images=grey), blocks.test)
    with RunDirectory(tmp_path / "run") as run:
        checkpoint = wgan.Checkpoint(run, learner, blocks)
        monkeypatch.setattr(exploration, "draw", lambda generator, n: torch.full((n, 3, 32, 32), -1.0))
        measured = checkpoint.measure(1)
    assert measured["overfitting"] == pytest.approx((1 - 0.2) / 2, rel=1e-3)
    assert measured["gradient_norm"] == pytest.approx((3 * 32 * 32) ** -0.5, rel=1e-5)
    assert measured["legible"] == 0


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
    for name in ("legible", "kernel_distance", "coverage", "sliced_wasserstein"):
        error = "spread" if name == "sliced_wasserstein" else "stderr"
        kinds = (name, f"{name}_of_training_images", f"{name}_{error}", f"{name}_{error}_of_training_images")
        assert all(math.isfinite(metrics[kind]) for kind in kinds)
        sign = -1 if name in ("kernel_distance", "sliced_wasserstein") else 1
        assert sign * metrics[name] < sign * metrics[f"{name}_of_training_images"]
    written = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    paths = {f"interpolation_{name}.png" for name in ("latent", "data", "spherical", "legible")}
    own = {"samples.png", "perturbations.png", "nearest.png", "digits.png", "training.png", "samples_000008.png"}
    assert written == own | paths
    assert all((tmp_path / "run" / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in written)
    assert written - {"samples_000008.png"} == FIGURES["q3"].keys()  # which the report shows
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
    assert wgan.main([*map(str, TINY), *where]) == 0
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


def test_dimensions_are_known_by_what_they_do():
    found = exploration.dimensions(Known(), 2.0, Brightness())
    assert found.change.tolist() == pytest.approx([0.2 * 0.5**0.5, 0, 0.2], abs=1e-6)
    assert found.colour.tolist() == pytest.approx([0.1, 0, 0.2], abs=1e-6)
    assert found.agreement[[0, 2]].tolist() == pytest.approx([1, 1], abs=1e-4)
    z = exploration.latents(Known(), exploration.LATENTS)
    brightness = 0.05 * z[:, 0] + 0.1 * z[:, 2]
    expected = [((brightness <= 0) & (brightness + step > 0)).float().mean().item() for step in (0.1, 0, 0.2)]
    assert found.digit.tolist() == pytest.approx(expected)
    sure = torch.softmax(100 * brightness.unsqueeze(1) * (torch.arange(10) == 1), 1).amax(1)
    quartiles = sure.argsort(descending=True)[[exploration.LATENTS * quarter // 4 for quarter in (1, 2, 3)]]
    assert torch.equal(exploration.typical(Known(), Brightness()), z[quartiles])
    moved = exploration.walk(Known(), z[:4], [2, 1], torch.tensor([-1.0, 0.0, 1.0]))
    assert moved.shape == (2, 4, 3, 3, 32, 32)
    torch.testing.assert_close(moved[0, :, 2] - moved[0, :, 0], torch.full((4, 3, 32, 32), 0.2))
    assert torch.equal(moved[1, :, 0], moved[0, :, 1])
    torch.testing.assert_close(moved[1, :, 1], exploration.images_of(Known(), z[:4]))


def test_all_three_paths_join_the_same_images():
    torch.manual_seed(0)
    alpha = torch.linspace(0, 1, 11)
    paths = exploration.paths(Generator(50, 4), alpha, 8)
    assert paths.latent.shape == (11, 8, 3, 32, 32)
    for images in (paths.data, paths.spherical):
        torch.testing.assert_close(images[[0, -1]], paths.latent[[0, -1]])
    torch.testing.assert_close(paths.data[5], (paths.data[0] + paths.data[-1]) / 2)
    straight, arc = (z.norm(dim=-1)[5].mean() for z in (paths.straight_latents, paths.arc_latents))
    assert straight < 0.85 * arc
    white = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1, 1).expand(3, 4, 3, 32, 32)
    assert [value for value, _ in exploration.legible_along(Brightness(), white)] == [0, 0, 1]


def test_images_do_not_depend_on_their_company():
    torch.manual_seed(0)
    generator, z = Generator(6, 4), torch.randn(5, 6)
    together = exploration.images_of(generator, z)
    torch.testing.assert_close(together[3:4], exploration.images_of(generator, z[3:4]))
    assert generator.training


def test_comparison_of_real_with_real_is_the_floor_and_draws_other_images_at_each_repeat():
    images = q3_samplers.scale(q3_samplers.stand_in(600).images)
    classifier, _ = files.load_classifier()
    real, more = images[:100], images[100:]
    floor = exploration.compare(real, more, classifier)
    drawn = exploration.compare(real, exploration.draw(Generator(6, 4), 500), classifier)
    assert floor["num_images"] == drawn["num_images"] == 500
    assert abs(floor["kernel_distance"]) < 5 * floor["kernel_distance_stderr"] < drawn["kernel_distance"]
    assert floor["coverage"] > 0.8 > drawn["coverage"]
    assert floor["sliced_wasserstein"] < drawn["sliced_wasserstein"]
    same = exploration.compare(real, more[:100], classifier)  # no others to draw: only places and directions vary
    assert 0 < same["sliced_wasserstein_spread"] < floor["sliced_wasserstein_spread"]
    assert sum(floor["digit_shares"]) == pytest.approx(1)


def test_spread_is_the_standard_deviation_over_ten_repeats_of_the_mean_over_scales(monkeypatch):
    """Repeat k measures k, 2k and 6k at the three scales, each time on other images, equally many of both sets."""
    drawn, repeats = [], range(10)

    def measure(x, y, seed):
        drawn.append((x, y))
        return [seed, 2.0 * seed, 6.0 * seed]

    monkeypatch.setattr(exploration, "REPEATS", len(repeats))
    monkeypatch.setattr(exploration.measures, "sliced_wasserstein", measure)
    real, images = (torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in (6, 20))
    compared = exploration.compare(real, images, Brightness())
    assert compared["sliced_wasserstein"] == pytest.approx(3 * statistics.mean(repeats))
    assert compared["sliced_wasserstein_spread"] == pytest.approx(3 * statistics.stdev(repeats))
    by_scale = {"32": statistics.mean(repeats), "16": 2 * statistics.mean(repeats), "8": 6 * statistics.mean(repeats)}
    assert compared["sliced_wasserstein_by_scale"] == pytest.approx(by_scale)
    numbers = {image.sum().item(): number for part in (real, images) for number, image in enumerate(part)}
    rows = [([numbers[image.sum().item()] for image in x], [numbers[image.sum().item()] for image in y]) for x, y in drawn]
    assert all(sorted(x) == list(range(6)) and len(set(y)) == 6 for x, y in rows)  # without one twice
    assert len({tuple(sorted(y)) for _, y in rows}) == 10
    assert exploration.compare(real, images, Brightness()) == compared


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
