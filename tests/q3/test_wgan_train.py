"""WGAN-LP's training: each update moves the right network the right way, and a run resumes and lengthens to the bit."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch

import q3_samplers
from experiments.harness.run import RunDirectory
from experiments.wgan import explore, train, weights
from experiments.wgan.options import PRESETS
from experiments.wgan.stand_in import stand_in
from experiments.wgan.train import Learner, Monitor, overfitting_score
from experiments.wgan.views import DigitView, Whitened
from model import DigitClassifier
from q3_solution import CriticLoss, critic_loss


@pytest.fixture(scope="module")
def images():
    return stand_in(50).images


def options(**changed):
    return replace(PRESETS["tuned"], **{"h_dim": 4, "z_dim": 6, "batch_size": 8, "guide": False, **changed})


identical = partial(torch.testing.assert_close, rtol=0, atol=0)


def equal(first, second):
    """Whether two dictionaries of tensors hold the same bits."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def parameters(network):
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def test_update_of_the_critics_lowers_the_loss_of_each_on_its_own_view_and_moves_nothing_else(images):
    torch.manual_seed(0)
    learner, x, z = (
        Learner(options(guide=True, augment=False), images),
        q3_samplers.scale(images[:8]),
        torch.randn(8, 6),
    )
    generator, critics, y = parameters(learner.generator), [*learner.critics()], learner.generator(z).detach()
    for critic, *_ in critics:
        critic.load_state_dict(
            {name: 3 * value for name, value in critic.state_dict().items()}
        )  # steep enough for a penalty

    def losses():
        torch.manual_seed(1)  # the same points for the penalty
        return [CriticLoss(*map(torch.detach, critic_loss(view(x), view(y), f, 20.0))) for f, _, view, _ in critics]

    before = losses()
    torch.manual_seed(1)
    torch.testing.assert_close(learner.update_critics(x, z, 20.0), before, rtol=1e-4, atol=1e-4)
    assert all(loss.lipschitz_penalty > 0.1 for loss in before)
    assert all(after.total < loss.total for after, loss in zip(losses(), before, strict=True))
    assert equal(generator, parameters(learner.generator))


@pytest.mark.parametrize("guide", [False, True])
def test_update_of_the_generator_descends_the_weighted_sum_of_its_losses_and_moves_nothing_else(images, guide):
    torch.manual_seed(0)
    learner, z, real = (
        Learner(options(guide=guide, augment=False), images),
        torch.randn(8, 6),
        q3_samplers.scale(images),
    )
    views = [(learner.critic, Whitened(real), 1.0)]
    views += [(learner.digit_critic, DigitView(weights.load_classifier(weights.GUIDE)[0], real), 6.0)] if guide else []
    plain, before = copy.deepcopy(learner.generator), [parameters(critic) for critic, _, _ in views]

    def loss(generator):
        return sum(-weight * critic(view(generator(z))).mean() for critic, view, weight in views)

    expected = torch.autograd.grad(loss(plain), [*plain.parameters()])
    assert learner.update_generator(z).item() == pytest.approx(loss(plain).item(), abs=1e-4)
    for parameter, gradient in zip(learner.generator.parameters(), expected):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    assert loss(learner.generator) < loss(plain)
    assert all(equal(parameters(critic), kept) for (critic, _, _), kept in zip(views, before))


@pytest.mark.parametrize(("precision", "error"), [("float32", 0), ("bfloat16", 0.02)])
def test_bfloat16_changes_the_losses_little_and_the_type_of_weights_and_losses_not_at_all(images, precision, error):
    measured = []
    for kind in ("float32", precision):
        torch.manual_seed(0)
        learner = Learner(options(precision=kind), images)
        measured.append(torch.stack([torch.stack([*learner.advance(step).values()]) for step in (1, 2, 3)]))
        assert all(p.dtype == torch.float32 for p in (*learner.generator.parameters(), *learner.critic.parameters()))
    reference, other = measured
    assert torch.equal(reference, other) == (error == 0)
    assert not torch.equal(other, other.bfloat16().float())  # what is measured is not rounded to 16 bits
    torch.testing.assert_close(other, reference, rtol=error, atol=error * reference.abs().max().item())


@pytest.mark.parametrize(("lazy", "weights_of_penalty"), [(False, [10, 10, 10]), (True, [30, 0, 0])])
def test_every_critic_update_has_fresh_images_and_noise_and_its_weight_of_the_penalty(
    images, monkeypatch, lazy, weights_of_penalty
):
    learner, given = Learner(options(critic_updates=3, lazy_penalty=lazy), images), []
    monkeypatch.setattr(learner, "update_critics", lambda *asked: given.append(asked) or [CriticLoss(*torch.ones(3))])
    monkeypatch.setattr(learner, "update_generator", lambda z: given.append((None, z, None)) or torch.zeros(()))
    assert [*map(float, learner.advance(1).values())] == [1, 1, 0]
    x, z, weight = zip(*given)
    assert [*weight] == [*weights_of_penalty, None]
    assert all(not torch.equal(a, b) for tensors in (x[:3], z) for i, a in enumerate(tensors) for b in tensors[:i])


def test_average_follows_the_generator_by_its_decay(images):
    torch.manual_seed(0)
    learner = Learner(options(average_decay=0.9), images)
    before = copy.deepcopy(learner.average.state_dict())
    learner.advance(10_001)
    now, average = learner.generator.state_dict(), learner.average.state_dict()
    for name in ("decoder.0.weight", "decoder.1.running_var"):
        torch.testing.assert_close(average[name], 0.9 * before[name] + 0.1 * now[name])


def test_training_brings_the_generator_nearer_to_the_images():
    """40 steps on pictures of one colour: the distance falls to less than half."""
    torch.manual_seed(0)
    colour = torch.tensor([200, 90, 40], dtype=torch.uint8).view(1, 3, 1, 1)
    images = colour + torch.randint(20, (64, 3, 32, 32), dtype=torch.uint8)
    rates = dict(learning_rate=2e-3, critic_learning_rate=2e-3, schedule="constant", average_decay=0.0)
    learner = Learner(options(**rates, whiten=False), images)  # in pixels, since all they have is brightness

    def distance():
        return torch.dist(
            *(x.mean((0, 2, 3)) for x in (explore.draw(learner.generator, 64), q3_samplers.scale(images)))
        )

    before = distance()
    for step in range(1, 41):
        learner.advance(step)
    assert distance() < before / 2


@pytest.mark.parametrize("change", ["augment", "whiten"])
def test_real_and_generated_images_are_changed_alike_and_the_generator_learns_through_it(images, monkeypatch, change):
    """All images made blank by one change: the critic measures no distance, and gives the generator no direction."""
    learner, changed = Learner(options(critic_updates=2), images), []

    def blank(x):
        changed.append(x.requires_grad)
        return 0 * x

    monkeypatch.setattr(*((train, "augmented") if change == "augment" else (learner, "whitened")), blank)
    before = parameters(learner.generator)
    assert learner.advance(1)["wasserstein_estimate"] == 0
    assert changed == [False, False, False, False, True]  # x and y at each update, then the generator's own
    assert equal(parameters(learner.generator), before)
    assert Learner(options(**{change: False}), images).advance(1)["wasserstein_estimate"] != 0


# What is followed while training


def test_overfitting_score_is_the_share_of_the_distance_that_holds_for_training_images_alone(tmp_path, monkeypatch):
    """The critic squares the brightness of its view, x + 3: white training images 16, grey ones 3.2^2, black ones 4."""
    learner = Learner(options(), stand_in(8).images)
    learner.critic, learner.whitened = lambda x: x.mean((1, 2, 3)) ** 2, lambda x: x + 3
    blocks = q3_samplers.in_blocks(stand_in(500))
    train, valid = (block._replace(images=torch.full_like(block.images, v)) for block, v in zip(blocks, (255, 153)))
    monkeypatch.setattr(explore, "draw", lambda generator, n: torch.full((n, 3, 32, 32), -1.0))
    with RunDirectory(tmp_path / "run") as run:
        measured = Monitor(run, learner, q3_samplers.Blocks(train, valid, blocks.test), 60).measure(1)
    assert measured["overfitting"] == pytest.approx((16 - 3.2**2) / (16 - 4), rel=1e-3)
    assert measured["legible"] == 0


def test_error_of_the_overfitting_score_is_its_spread():
    """200 scores know their standard deviation to 5%. Values 3, 2 and 0 on average: a score of 1/3."""
    generator = torch.Generator().manual_seed(0)

    def values(mean):
        return mean + torch.randn(100, 10, 1, generator=generator).expand(100, 10, 3).flatten()[:1000]

    found, errors = torch.tensor([overfitting_score(values(4), values(3), values(1)[::3]) for _ in range(200)]).T
    assert abs(found.mean() - 1 / 3) < 4 * found.std() / 200**0.5
    assert 0.8 < errors.mean() / found.std() < 1.2


# Interrupted, resumed, made longer


class Killed(BaseException):
    """In place of a kill: nothing catches it."""


def killed_at(step, advance=Learner.advance):
    """An `advance` that ends everything as this step begins."""

    def killed(learner, number):
        if number == step:
            raise Killed
        return advance(learner, number)

    return killed


def record(folder):
    """What a run has learnt, and what its log says apart from the time and from what is measured at checkpoints."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    kept = ("dataset", "generator_step", "wasserstein_estimate", "lipschitz_penalty", "generator_loss")
    log = [[entry[name] for name in kept] for entry in RunDirectory(folder).read_log()]
    return {"log": repr(log).encode(), "learner": state["learner"], "random_state": state["random_state"]}


KINDS = {"handout": ("--preset", "handout"), "tuned": ("--critic-updates", 1, "--schedule", "constant")}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_run_killed_at_any_step_and_resumed_or_made_longer_is_the_run_never_stopped(q3, tmp_path, monkeypatch, kind):
    """A checkpoint every second step. By then the guide may be another one: a run keeps its own digit view."""
    assert q3("train", "--run-dir", tmp_path / "whole", *kind)[0] == 0
    whole, resume = record(tmp_path / "whole"), ("--resume", "--log-every", 2)
    weights.save(tmp_path / "other.pt", {"classifier": DigitClassifier()}, {"seen": []})
    for step in (1, 4, 7):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Learner, "advance", killed_at(step))
            q3("train", "--run-dir", tmp_path / str(step), "--checkpoint-minutes", 1e-6, *kind)
        with monkeypatch.context() as patch:
            patch.setattr(weights, "GUIDE", weights.GUIDE if step == 1 else tmp_path / "other.pt")
            code, out, err = q3("train", "--run-dir", tmp_path / str(step), *resume)
        assert (code, err) == (0, "")
        assert step == 1 or f"resuming after generator step {(step - 1) // 2 * 2} of 8" in out
        identical(record(tmp_path / str(step)), whole)
    assert q3("train", "--run-dir", tmp_path / "short", *kind, "--generator-steps", 4)[0] == 0
    assert q3("train", "--run-dir", tmp_path / "short", *resume, "--generator-steps", 8)[0] == 0
    identical(record(tmp_path / "short"), whole)


def test_whatever_a_resume_forgets_changes_the_run(images):
    torch.manual_seed(0)
    learner = Learner(options(guide=True), images)
    learner.advance(1)
    state, randomness = copy.deepcopy(learner.state_dict()), torch.get_rng_state()

    def go_on(learner):
        """Steps 2 and 3: their losses and the average generator."""
        losses = [torch.stack([*learner.advance(step).values()]) for step in (2, 3)]
        return torch.cat([*losses, *(parameter.detach().flatten() for parameter in learner.average.parameters())])

    whole = go_on(learner)
    for forgotten in (None, "randomness", *learner.parts):
        resumed = Learner(learner.options, images)
        for channel in resumed.digit_view.channels:
            channel.principal.neg_()  # as if from another guide
        resumed.parts = [part for part in learner.parts if part != forgotten]
        resumed.load_state_dict(state)
        torch.set_rng_state(torch.get_rng_state() if forgotten == "randomness" else randomness)
        assert torch.equal(go_on(resumed), whole) == (forgotten is None), forgotten


def test_generator_is_made_again_when_a_kill_came_between(q3, tmp_path):
    assert q3("train", "--run-dir", tmp_path / "run", "--no-guide")[0] == 0
    made = (tmp_path / "run" / "generator.pt").read_bytes()
    (tmp_path / "run" / "generator.pt").unlink()
    code, _, err = q3("evaluate", "--run-dir", tmp_path / "run")
    assert (code, err.count("\n")) == (2, 1)
    assert "generator.pt is missing; train a generator" in err
    assert q3("train", "--run-dir", tmp_path / "run", "--resume")[0] == 0
    assert (tmp_path / "run" / "generator.pt").read_bytes() == made


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_run_on_a_gpu_resumes_and_its_generator_draws_the_same_on_the_cpu(q3, tmp_path):
    assert q3("train", "--run-dir", tmp_path / "run", "--device", "cuda")[0] == 0
    assert q3("--run-dir", tmp_path / "run", "--resume", "--device", "cuda")[0] == 0
    generator, _ = weights.load_generator(tmp_path / "run" / "generator.pt")
    on_cpu = explore.draw(generator, 8)
    torch.testing.assert_close(explore.draw(generator.cuda(), 8).cpu(), on_cpu, rtol=0.02, atol=0.02)
