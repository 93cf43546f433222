"""The training loop on a toy: killed anywhere it resumes to the same bits; it lengthens, and stops at infinity."""

import dataclasses
import math
import os
import random
from dataclasses import replace

import pytest
import torch

from experiments.harness import run as run_module
from experiments.harness import training
from experiments.harness.options import Options, UserError, option
from experiments.harness.run import RunDirectory
from experiments.harness.training import (
    average_decay_at,
    choose_device,
    fit,
    learning_rate_at,
    set_learning_rate,
    update_average,
)

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class ToyOptions(Options):
    question = "toy"

    schedule: str = option("constant", "of the learning rate", choices=("constant", "cosine"))
    toy_steps: int = option(12, "of training", scope="length")
    learning_rate: float = option(0.1, "of Adam")
    average_decay: float = option(0.9, "of the running average")


class Learner:
    """A point that follows noisy gradients to the origin, by Adam, and its running average: all that a real one has."""

    def __init__(self, options, explode_at=None):
        torch.manual_seed(options.seed)
        self.options, self.explode_at, self.advanced = options, explode_at, []
        self.network, self.average = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.Adam(self.network.parameters())

    def advance(self, number):
        self.advanced.append(number)
        rate = learning_rate_at(number - 1, self.options.toy_steps, self.options.learning_rate, self.options.schedule)
        set_learning_rate(self.optimizer, math.inf if number == self.explode_at else rate)
        loss = self.network(torch.randn(5, 3)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        update_average(self.average, self.network, average_decay_at(number - 1, self.options.average_decay))
        return {"loss": loss.detach(), "number": float(number)}

    def first_not_finite(self):
        return training.first_not_finite({"toy": self.network})

    def state_dict(self):
        return {part: getattr(self, part).state_dict() for part in ("network", "average", "optimizer")}

    def load_state_dict(self, state):
        for part in ("network", "average", "optimizer"):
            getattr(self, part).load_state_dict(state[part])


def train(folder, options=None, explode_at=None, **more):
    """A run from its last checkpoint, if it has one. Returns the learner."""
    options = options or ToyOptions()
    with RunDirectory(folder) as run:
        learner = Learner(options, explode_at)
        fit(learner, run, options, CPU, run.resume(options), {"dataset": "toy"}, **more)
    return learner


def weights(folder):
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    return [*state["learner"]["network"].values(), *state["learner"]["average"].values(), state["random_state"]["cpu"]]


def same(one, other):
    return all(torch.equal(*pair) for pair in zip(weights(one), weights(other), strict=True))


def log_without_times(folder):
    times = ("seconds", "steps_per_second")
    return [{k: v for k, v in entry.items() if k not in times} for entry in RunDirectory(folder).read_log()]


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("moment", ["advance", "measure", "log", "save", "export"])
def test_run_killed_at_any_moment_resumes_to_the_same_bits(tmp_path, monkeypatch, moment):
    exported = {"whole": [], "killed": []}

    def hooks(name):
        return dict(measure=lambda n: {"measured": n / 2}, export=lambda n, _: exported[name].append(n), log_every=2)

    train(tmp_path / "whole", **hooks("whole"))
    assert exported["whole"] == [2, 4, 6, 8, 10, 12]
    dice = random.Random(0)
    for _ in range(6):
        left = dice.randrange(1, 4)

        def killing(call):
            def killed(*arguments):
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed
                return call(*arguments)

            return killed

        more = hooks("killed")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            if moment in more:
                more[moment] = killing(more[moment])
            else:
                owner = Learner if moment == "advance" else RunDirectory
                patch.setattr(owner, moment, killing(getattr(owner, moment)))
            for _ in range(4):  # a run that finishes before it is killed is started anew
                train(tmp_path / "killed", **more)
                (tmp_path / "killed" / "checkpoint.pt").unlink()
    train(tmp_path / "killed", **hooks("killed"))
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert log_without_times(tmp_path / "whole") == log_without_times(tmp_path / "killed")
    assert exported["killed"][-1] == 12


@pytest.mark.parametrize(("minutes", "copied"), [(60, True), (60, False), (0, True)])
def test_interrupted_run_goes_on_from_its_last_line(tmp_path, monkeypatch, minutes, copied):
    """To the same bits; not if what is to be saved changes as training goes on."""
    train(tmp_path / "whole", log_every=2)
    honest = Learner.advance

    def interrupted(learner, number):
        if number == 9:  # by now step 8 is over, and its line is written
            honest(learner, number)
            raise KeyboardInterrupt
        return honest(learner, number)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Learner, "advance", interrupted)
        if not copied:
            patch.setattr(run_module.copy, "deepcopy", lambda content: content)
        train(tmp_path / "run", log_every=2, checkpoint_minutes=minutes)
    learner = train(tmp_path / "run", log_every=2)
    assert learner.advanced == [9, 10, 11, 12]
    assert same(tmp_path / "whole", tmp_path / "run") is copied
    assert log_without_times(tmp_path / "whole")[:4] == log_without_times(tmp_path / "run")[:4]
    assert (log_without_times(tmp_path / "whole") == log_without_times(tmp_path / "run")) is copied


@pytest.mark.parametrize("forgotten", ["set_random_state", "load_state_dict"])
def test_a_resume_that_forgets_something_is_noticed(tmp_path, monkeypatch, forgotten):
    train(tmp_path / "whole")
    train(tmp_path / "run", ToyOptions(toy_steps=6))
    monkeypatch.setattr(Learner if forgotten == "load_state_dict" else training, forgotten, lambda *_: None)
    train(tmp_path / "run")
    assert not same(tmp_path / "whole", tmp_path / "run")


def test_export_is_made_again_when_a_kill_came_between(tmp_path):
    """Also where nothing is left to train."""
    exported = []

    def killed(unit, seconds):
        raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "run", export=killed, log_every=12)
    learner = train(tmp_path / "run", export=lambda unit, _: exported.append(unit), log_every=12)
    assert (exported, learner.advanced) == ([12], [])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_longer_run(tmp_path, capsys, schedule):
    """At a constant rate a run made longer is the longer run, to the bit; along a cosine it is not, and says so."""
    short = ToyOptions(schedule=schedule, toy_steps=6)
    longer = replace(short, toy_steps=12)
    train(tmp_path / "whole", longer)
    train(tmp_path / "run", short)
    capsys.readouterr()
    learner = train(tmp_path / "run", longer)
    assert learner.advanced == [7, 8, 9, 10, 11, 12]
    assert same(tmp_path / "whole", tmp_path / "run") == (schedule == "constant")
    out = capsys.readouterr().out
    assert ("made longer, from 6 to 12" in out) == (schedule == "cosine")
    if schedule == "constant":
        assert log_without_times(tmp_path / "whole") == log_without_times(tmp_path / "run")
    else:  # the rate goes on where the longer curve stands
        rates = [group["lr"] for group in learner.optimizer.param_groups]
        assert rates == [learning_rate_at(11, 12, 0.1, "cosine")]


def test_log_averages_over_its_interval_and_checkpoints_go_by_the_clock(tmp_path, monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])
    honest = Learner.advance

    def advance(learner, number):
        clock[0] += 10
        return honest(learner, number)

    monkeypatch.setattr(Learner, "advance", advance)
    saved = []
    train(tmp_path / "run", export=lambda unit, seconds: saved.append((unit, seconds)), log_every=2, checkpoint_minutes=0.8)
    log = RunDirectory(tmp_path / "run").read_log()
    assert [entry["number"] for entry in log] == [1.5, 3.5, 5.5, 7.5, 9.5, 11.5]
    assert [entry["seconds"] for entry in log] == [20, 40, 60, 80, 100, 120]
    assert {entry["steps_per_second"] for entry in log} == {0.1}
    assert saved == [(6, 60.0), (12, 120.0)]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("toy, toy step 6/12  loss ")
    assert lines[0].endswith("  60 s, 60 s left")


def test_training_that_explodes_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"^the toy is no longer finite by toy step 6; [^\n]*smaller --learning-rate$"):
        train(tmp_path / "run", explode_at=5, log_every=2)
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["toy_step"] == 4
    assert [entry["toy_step"] for entry in RunDirectory(tmp_path / "run").read_log()] == [2, 4]


def test_one_weight_that_is_not_finite_is_enough():
    networks = {name: torch.nn.Linear(2, 2) for name in ("first", "second")}
    assert training.first_not_finite(networks) is None
    with torch.no_grad():
        networks["second"].weight[1, 0] = math.inf
    assert training.first_not_finite(networks) == "second"


def test_a_measurement_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(UserError, match="the distance is no longer finite by toy step 1;"):
        train(tmp_path / "run", measure=lambda unit: {"distance": math.nan})
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def damaged(state, name):
    return {**state, name: {}} if name in ("learner", "random_state") else {**state, name: "x"}


@pytest.mark.parametrize("name", ["learner", "random_state", "toy_step", "train_seconds", "options"])
def test_checkpoint_of_another_version_is_one_line(tmp_path, name):
    train(tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    for wrong in ({k: v for k, v in state.items() if k != name}, damaged(state, name)):
        torch.save(wrong, path)
        with pytest.raises(UserError, match=r"^[^\n]*checkpoint\.pt (is damaged|belongs to another run)[^\n]*$"):
            train(tmp_path / "run")
    torch.save({**state, "toy_step": 13}, path)
    with pytest.raises(UserError, match="13 toy_steps long"):
        train(tmp_path / "run")


def test_disk_that_fills_up_is_one_clear_error(tmp_path, monkeypatch):
    train(tmp_path / "run", ToyOptions(toy_steps=2))
    before = (tmp_path / "run" / "checkpoint.pt").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        train(tmp_path / "run", ToyOptions(toy_steps=4))
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == before


def test_learning_rate_schedules():
    assert {learning_rate_at(step, 10, 0.5, "constant") for step in range(10)} == {0.5}
    cosine = [learning_rate_at(step, 10, 0.5, "cosine") for step in range(11)]
    assert cosine == sorted(cosine, reverse=True)
    assert (cosine[0], cosine[5], cosine[10]) == pytest.approx((0.5, 0.25, 0))


def test_duration_is_in_minutes_from_two_on():
    assert [training.duration(seconds) for seconds in (0.4, 119.4, 120, 3600)] == ["0 s", "119 s", "2 min", "60 min"]


def test_device():
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(UserError, match="use --device cpu"):
            choose_device("cuda")


def test_average_of_weights_follows_its_definition():
    """Weights and running statistics, by a number or by a tensor; the count of batches is left alone."""
    torch.manual_seed(0)
    average, network = (torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)) for _ in range(2))
    expected = {name: value.clone() for name, value in average.state_dict().items()}
    for step, decay in enumerate((1 / 10, 2 / 11, 3 / 12)):
        network(torch.randn(8, 4))
        assert average_decay_at(step, 0.5) == pytest.approx(decay)
        update_average(average, network, decay if step else torch.tensor(decay))
        for name, value in network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, torch.tensor(0) if name.endswith("tracked") else expected[name])
    assert average_decay_at(10_000, 0.5) == 0.5
    update_average(network, network, 0.5)  # the average of nothing is the network itself


def test_weight_decay_takes_its_share_of_the_weights_and_none_leaves_adam():
    ends = []
    for weight_decay in (None, 0.0, 0.1):
        torch.manual_seed(0)
        network, x = torch.nn.Linear(4, 1), torch.randn(8, 4)
        before = network.weight.detach().clone()
        optimizer = torch.optim.Adam(network.parameters(), betas=(0.5, 0.9), fused=True)
        if weight_decay is not None:
            optimizer = training.adam(network, 0.5, 0.9, weight_decay)
        network(x).square().mean().backward()
        training.set_learning_rate(optimizer, 0.01)
        optimizer.step()
        ends.append(network.weight.detach().clone())
    assert torch.equal(ends[0], ends[1])
    torch.testing.assert_close(ends[1] - ends[2], 0.01 * 0.1 * before)
