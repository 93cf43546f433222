"""WGAN-LP's training: each update moves the right network the right way, and a run resumes and lengthens to the bit."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch

from experiments.harness.run import RunDirectory
from experiments.wgan import explore, train, weights
from experiments.wgan.classifier import DigitClassifier, load_classifier
from experiments.wgan.options import PRESETS
from experiments.wgan.stand_in import stand_in
from experiments.wgan.train import Networks, batch, update_critics, update_generator
from experiments.wgan.views import DigitView, Whitened
from q3_samplers import scale
from q3_solution import CriticLoss, critic_loss


@pytest.fixture(scope="module")
def images():
    return stand_in(50).images


def networks(images, **changed):
    torch.manual_seed(0)
    options = {"h_dim": 4, "z_dim": 6, "batch_size": 8, "guide": False, **changed}
    return Networks(replace(PRESETS["tuned"], **options), images)


identical = partial(torch.testing.assert_close, rtol=0, atol=0)


def parameters(network):
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def equal(network, kept):
    """Whether a network still has the parameters that were kept of it."""
    return all(torch.equal(value, kept[name]) for name, value in network.named_parameters())


def test_update_of_the_critics_lowers_the_loss_of_each_on_its_own_view_and_moves_nothing_else(images):
    own = networks(images, guide=True, augment=False)
    x, z = scale(images[:8]), torch.randn(8, 6)
    generator, y = parameters(own.generator), own.generator(z).detach()
    for critic, *_ in own.opponents:  # steep enough for a penalty
        critic.load_state_dict({name: 3 * value for name, value in critic.state_dict().items()})

    def losses():
        torch.manual_seed(1)  # the same points for the penalty
        found = [critic_loss(view(x), view(y), critic, 20.0) for critic, _, view, _ in own.opponents]
        return [CriticLoss(*map(torch.detach, loss)) for loss in found]

    before = losses()
    torch.manual_seed(1)
    torch.testing.assert_close(update_critics(own, x, z, 20.0), before, rtol=1e-4, atol=1e-4)
    assert all(loss.lipschitz_penalty > 0.1 for loss in before)
    assert all(after.total < loss.total for after, loss in zip(losses(), before, strict=True))
    assert equal(own.generator, generator)


@pytest.mark.parametrize("guide", [False, True])
def test_update_of_the_generator_descends_the_weighted_sum_of_its_losses_and_moves_nothing_else(images, guide):
    own, real = networks(images, guide=guide, augment=False), scale(images)
    z = torch.randn(8, 6)
    views = [(own.critic, Whitened(real), 1.0)]
    if guide:
        views.append((own.opponents[1].critic, DigitView(load_classifier(weights.GUIDE)[0], real), 6.0))
    plain, before = copy.deepcopy(own.generator), [parameters(critic) for critic, *_ in own.opponents]

    def loss(generator):
        return sum(-weight * critic(view(generator(z))).mean() for critic, view, weight in views)

    expected = torch.autograd.grad(loss(plain), [*plain.parameters()])
    assert update_generator(own, z).item() == pytest.approx(loss(plain).item(), abs=1e-4)
    for parameter, gradient in zip(own.generator.parameters(), expected):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    assert loss(own.generator) < loss(plain)
    assert all(equal(critic, kept) for (critic, *_), kept in zip(own.opponents, before, strict=True))


def step(own, images):
    """One step of every critic and of the generator. Returns the losses."""
    losses = update_critics(own, batch(images, 8), torch.randn(8, 6), 10.0)
    return torch.stack([*losses[0], update_generator(own, torch.randn(8, 6))])


@pytest.mark.parametrize(("precision", "error"), [("float32", 0), ("bfloat16", 0.02)])
def test_bfloat16_changes_the_losses_little_and_the_type_of_weights_and_losses_not_at_all(images, precision, error):
    measured = []
    for kind in ("float32", precision):
        own = networks(images, precision=kind)
        measured.append(torch.stack([step(own, images) for _ in range(3)]))
        assert all(p.dtype == torch.float32 for p in (*own.generator.parameters(), *own.critic.parameters()))
    reference, other = measured
    assert torch.equal(reference, other) == (error == 0)
    assert not torch.equal(other, other.bfloat16().float())  # what is measured is not rounded to 16 bits
    torch.testing.assert_close(other, reference, rtol=error, atol=error * reference.abs().max().item())


@pytest.mark.parametrize(
    ("lazy", "weights_of_penalty"), [("--no-lazy-penalty", [10, 10, 10]), ("--lazy-penalty", [30, 0, 0])]
)
def test_every_critic_update_has_fresh_images_and_noise_and_its_weight_of_the_penalty(
    q3, tmp_path, monkeypatch, lazy, weights_of_penalty
):
    given = []
    monkeypatch.setattr(train, "update_critics", lambda *asked: given.append(asked[1:]) or [CriticLoss(*torch.ones(3))])
    monkeypatch.setattr(train, "update_generator", lambda _, z: given.append((None, z, None)) or torch.zeros(()))
    assert q3("train", "--run-dir", tmp_path, "--critic-updates", 3, lazy, "--generator-steps", 1, "--no-guide")[0] == 0
    x, z, weight = zip(*given)
    assert [*weight] == [*weights_of_penalty, None]
    assert all(not torch.equal(a, b) for tensors in (x[:3], z) for i, a in enumerate(tensors) for b in tensors[:i])
    (entry,) = RunDirectory(tmp_path).read_log()
    assert [entry[name] for name in ("wasserstein_estimate", "lipschitz_penalty", "generator_loss")] == [1, 1, 0]


def test_training_brings_the_generator_nearer_to_the_images():
    """40 steps on pictures of one colour: the distance falls to less than half."""
    colour = torch.tensor([200, 90, 40], dtype=torch.uint8).view(1, 3, 1, 1)
    images = colour + torch.randint(20, (64, 3, 32, 32), dtype=torch.uint8)
    own = networks(images, whiten=False)  # in pixels, since all they have is brightness
    for optimizer in (own.generator_optimizer, own.opponents[0].optimizer):
        optimizer.param_groups[0]["lr"] = 2e-3

    def distance():
        return torch.dist(*(x.mean((0, 2, 3)) for x in (explore.draw(own.generator, 64), scale(images))))

    before = distance()
    for _ in range(40):
        update_critics(own, batch(images, 8), torch.randn(8, 6), 10.0)
        step(own, images)
    assert distance() < before / 2


@pytest.mark.parametrize("change", ["augment", "whiten"])
def test_real_and_generated_images_are_changed_alike_and_the_generator_learns_through_it(images, monkeypatch, change):
    """All images made blank by one change: the critic measures no distance, and gives the generator no direction."""
    changed = []

    def blank(x):
        changed.append(x.requires_grad)
        return 0 * x

    monkeypatch.setattr(train, *(("augmented", blank) if change == "augment" else ("Whitened", lambda _: blank)))
    own = networks(images)
    before = parameters(own.generator)
    assert step(own, images)[1] == 0
    assert changed == [False, False, True]  # x and y at the critic's update, then the generator's own
    assert equal(own.generator, before)
    assert step(networks(images, **{change: False}), images)[1] != 0


# Interrupted, resumed, made longer


def killed_at(call, update=train.update_generator):
    """An `update_generator` that ends everything when it is called for the call-th time."""
    calls = []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise BaseException("nothing catches it, as nothing catches a kill")
        return update(*arguments)

    return killed


def record(folder):
    """What a run has learnt, and what its log says apart from the time and from what is measured at checkpoints."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    kept = ("generator_step", "wasserstein_estimate", "lipschitz_penalty", "generator_loss")
    log = [[entry[name] for name in kept] for entry in RunDirectory(folder).read_log()]
    return {"log": repr(log).encode(), "learner": state["learner"], "random_state": state["random_state"]}


KINDS = {"handout": ("--preset", "handout"), "tuned": ("--critic-updates", 1, "--schedule", "constant")}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_run_killed_at_any_step_and_resumed_or_made_longer_is_the_run_never_stopped(q3, tmp_path, monkeypatch, kind):
    """A checkpoint every second step. By then the guide may be another one: a run keeps its own digit view."""
    assert q3("train", "--run-dir", tmp_path / "whole", *kind)[0] == 0
    whole, resume = record(tmp_path / "whole"), ("--resume", "--log-every", 2)
    weights.save(tmp_path / "other.pt", {"classifier": DigitClassifier()}, {})
    for step in (1, 4, 7):
        with monkeypatch.context() as patch, pytest.raises(BaseException, match="a kill"):
            patch.setattr(train, "update_generator", killed_at(step))
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


def test_whatever_a_resume_forgets_changes_the_run(q3, tmp_path, monkeypatch):
    """Each part of the checkpoint, as if it were that of a run that has not begun."""
    assert q3("train", "--run-dir", tmp_path / "whole")[0] == 0
    whole, part = record(tmp_path / "whole"), tmp_path / "part"
    with monkeypatch.context() as patch, pytest.raises(BaseException, match="a kill"):
        patch.setattr(train, "update_generator", killed_at(5))
        q3("train", "--run-dir", part, "--checkpoint-minutes", 1e-6)
    kept = torch.load(part / "checkpoint.pt", weights_only=True)
    torch.manual_seed(9)
    fresh = Networks(replace(PRESETS["tuned"], h_dim=2, z_dim=5), stand_in(500).images[:400])
    for name in kept["learner"]:
        state = fresh.parts[name].state_dict()
        if name.endswith("view"):
            state = {key: -value if key.endswith("principal") else value for key, value in state.items()}
        torch.save({**kept, "learner": {**kept["learner"], name: state}}, part / "checkpoint.pt")
        assert q3("train", "--run-dir", part, "--resume", "--log-every", 2)[0] == 0
        with pytest.raises(AssertionError):
            identical(record(part), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_run_on_a_gpu_resumes_and_its_generator_draws_the_same_on_the_cpu(q3, tmp_path):
    assert q3("train", "--run-dir", tmp_path / "run", "--device", "cuda")[0] == 0
    assert q3("--run-dir", tmp_path / "run", "--resume", "--device", "cuda")[0] == 0
    generator, _ = weights.load_generator(tmp_path / "run" / "generator.pt")
    on_cpu = explore.draw(generator, 8)
    torch.testing.assert_close(explore.draw(generator.cuda(), 8).cpu(), on_cpu, rtol=0.02, atol=0.02)
