"""The training loop on a toy: killed or interrupted anywhere it resumes to the same bits; it lengthens; NaN ends it."""

import dataclasses
import math
import os
import signal

import pytest
import torch

from experiments.harness import training
from experiments.harness.files import UserError, command
from experiments.harness.options import Options, option
from experiments.harness.run import RunDirectory
from experiments.harness.training import choose_device, fit, set_learning_rate, update_average

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class ToyOptions(Options):
    question = "toy"

    schedule: str = option("constant", "of the learning rate", choices=("constant", "cosine"))
    toy_steps: int = option(12, "of training", scope="length")


class Learner(training.Learner):
    """A point that follows noisy gradients to the origin, by Adam, and its running average: all that a real one has."""

    parts = ("network", "average", "optimizer")

    def __init__(self, options):
        torch.manual_seed(options.seed)
        self.options, self.advanced = options, []
        self.network, self.average = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.Adam(self.network.parameters())

    def advance(self, number):
        self.advanced.append(number)
        set_learning_rate(self.optimizer, 0.1, number - 1, self.options.toy_steps, self.options.schedule)
        loss = self.network(torch.randn(5, 3)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        update_average(self.average, self.network, number - 1, 0.9)
        return {"loss": loss.detach(), "number": float(number)}


def train(folder, options=None, **more):
    """A run from its last checkpoint, if it has one. Returns the learner."""
    options = options or ToyOptions()
    with RunDirectory(folder) as run:
        learner = Learner(options)
        fit(learner, run, options, CPU, run.resume(options), {"dataset": "toy"}, **more)
    return learner


def left(folder):
    """What a run leaves that does not depend on the clock: tensors, and the log."""
    state, times = torch.load(folder / "checkpoint.pt", weights_only=True), ("seconds", "steps_per_second")
    weights = [
        *state["learner"]["network"].values(),
        *state["learner"]["average"].values(),
        state["random_state"]["cpu"],
    ]
    return weights, [{k: v for k, v in entry.items() if k not in times} for entry in RunDirectory(folder).read_log()]


def same(one, other):
    """Whether two runs ended with the same weights, random numbers and log."""
    (weights, log), (others, other_log) = left(one), left(other)
    return all(map(torch.equal, weights, others)) and log == other_log


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def killed_once(call, left):
    """The call, which is killed before it does anything the left-th time."""
    calls = iter(range(left, 0, -1))

    def killing(*arguments):
        if next(calls, None) == 1:
            raise Killed
        return call(*arguments)

    return killing


@pytest.mark.parametrize("moment", ["advance", "measure", "log", "save", "export"])
def test_run_killed_at_any_moment_resumes_to_the_same_bits(tmp_path, monkeypatch, moment):
    exported = {"whole": [], "killed": []}

    def hooks(name):
        return dict(measure=lambda n: {"measured": n / 2}, export=lambda n, _: exported[name].append(n), log_every=2)

    train(tmp_path / "whole", **hooks("whole"))
    for call in (1, 2, 3):
        more = hooks("killed")
        with monkeypatch.context() as patch, pytest.raises(Killed):
            if moment in more:
                more[moment] = killed_once(more[moment], call)
            else:
                owner = Learner if moment == "advance" else RunDirectory
                patch.setattr(owner, moment, killed_once(getattr(owner, moment), call))
            train(tmp_path / "killed", **more)
    train(tmp_path / "killed", **hooks("killed"))
    assert same(tmp_path / "whole", tmp_path / "killed")
    assert exported["whole"] == [2, 4, 6, 8, 10, 12]
    assert exported["killed"][-1] == 12


@pytest.mark.parametrize("forgotten", ["set_random_state", "load_state_dict"])
def test_a_resume_that_forgets_something_is_noticed(tmp_path, monkeypatch, forgotten):
    train(tmp_path / "whole")
    train(tmp_path / "run", ToyOptions(toy_steps=6))
    monkeypatch.setattr(Learner if forgotten == "load_state_dict" else training, forgotten, lambda *_: None)
    train(tmp_path / "run")
    assert not same(tmp_path / "whole", tmp_path / "run")


def signalling(monkeypatch, number, *units):
    """Real signals in the middle of these units; returns which units ended."""
    ended, honest = [], Learner.advance

    def advance(learner, unit):
        for _ in range(units.count(unit)):
            os.kill(os.getpid(), number)
        measured = honest(learner, unit)
        ended.append(unit)
        return measured

    monkeypatch.setattr(Learner, "advance", advance)
    return ended


@pytest.fixture
def heard():
    """Ctrl-C is heard, unlike in a process that a script has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_unit_finish_and_saves(heard, tmp_path, monkeypatch, capsys, number):
    before = signal.getsignal(number)
    train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        ended = signalling(patch, number, 5)
        assert command(lambda argv: train(tmp_path / "run", checkpoint_minutes=60), []) == 130
    assert ended == [1, 2, 3, 4, 5]
    assert signal.getsignal(number) == before
    err = capsys.readouterr().err
    assert "finishing this toy step, then saving; Ctrl-C again ends at once" in err
    assert err.endswith("interrupted after toy step 5; the same command with --resume goes on from there\n")
    assert train(tmp_path / "run").advanced == [6, 7, 8, 9, 10, 11, 12]
    assert same(tmp_path / "whole", tmp_path / "run")


def test_the_second_signal_ends_at_once_with_the_last_checkpoint(heard, tmp_path, monkeypatch, capsys):
    train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        ended = signalling(patch, signal.SIGINT, 5, 5)
        assert command(lambda argv: train(tmp_path / "run"), []) == 130
    assert ended == [1, 2, 3, 4]
    assert capsys.readouterr().err.endswith(
        "interrupted; --resume goes on from the last checkpoint, if one was saved\n"
    )
    assert train(tmp_path / "run").advanced == [5, 6, 7, 8, 9, 10, 11, 12]
    assert same(tmp_path / "whole", tmp_path / "run")


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        signalling(monkeypatch, signal.SIGINT, 5, 5)
        assert command(lambda argv: train(tmp_path / "run"), []) == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_export_is_made_again_when_a_kill_came_between(tmp_path):
    """Also where nothing is left to train."""
    exported = []
    with pytest.raises(Killed):
        train(tmp_path / "run", export=killed_once(None, 1), log_every=12)
    learner = train(tmp_path / "run", export=lambda unit, _: exported.append(unit), log_every=12)
    assert (exported, learner.advanced) == ([12], [])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_longer_run(tmp_path, capsys, schedule):
    """At a constant rate a run made longer is the longer run, to the bit; along a cosine it is not, and says so."""
    train(tmp_path / "whole", ToyOptions(schedule=schedule))
    train(tmp_path / "run", ToyOptions(schedule=schedule, toy_steps=6))
    capsys.readouterr()
    learner = train(tmp_path / "run", ToyOptions(schedule=schedule))
    assert learner.advanced == [7, 8, 9, 10, 11, 12]
    assert same(tmp_path / "whole", tmp_path / "run") == (schedule == "constant")
    assert ("made longer, from 6 to 12" in capsys.readouterr().out) == (schedule == "cosine")


def test_log_averages_over_its_interval_and_checkpoints_go_by_the_clock(tmp_path, monkeypatch, capsys):
    clock, saved, honest = [0.0], [], Learner.advance
    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])

    def advance(learner, number):
        clock[0] += 10
        return honest(learner, number)

    monkeypatch.setattr(Learner, "advance", advance)
    train(
        tmp_path / "run",
        export=lambda unit, seconds: saved.append((unit, seconds)),
        log_every=2,
        checkpoint_minutes=0.8,
    )
    log = RunDirectory(tmp_path / "run").read_log()
    assert [entry["number"] for entry in log] == [1.5, 3.5, 5.5, 7.5, 9.5, 11.5]
    assert [entry["seconds"] for entry in log] == [20, 40, 60, 80, 100, 120]
    assert {entry["steps_per_second"] for entry in log} == {0.1}
    assert saved == [(6, 60.0), (12, 120.0)]
    assert "\ntoy, toy step 12/12  loss " in capsys.readouterr().out


def test_training_that_is_no_longer_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    def explode(learner, number, honest=Learner.advance):
        measured = honest(learner, number)
        if number == 5:  # one weight is enough
            learner.average.weight.data[0, 1] = math.inf
        return measured

    monkeypatch.setattr(Learner, "advance", explode)
    with pytest.raises(
        UserError, match=r"^the average is no longer finite by toy step 6 in [^\n]* a smaller --learning-rate"
    ):
        train(tmp_path / "run", log_every=2)
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["toy_step"] == 4
    assert [entry["toy_step"] for entry in RunDirectory(tmp_path / "run").read_log()] == [2, 4]


def test_a_measurement_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(UserError, match="the distance is no longer finite by toy step 1 "):
        train(tmp_path / "run", measure=lambda unit: {"distance": math.nan})
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_learning_rate_is_constant_or_follows_half_a_cosine_down_to_0():
    rates, optimizer = {"constant": [], "cosine": []}, torch.optim.SGD([torch.zeros(1)], lr=1.0)
    for schedule, found in rates.items():
        for step in range(11):
            set_learning_rate(optimizer, 0.5, step, 10, schedule)
            found.append(optimizer.param_groups[0]["lr"])
    assert set(rates["constant"]) == {0.5}
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert rates["cosine"][::5] == pytest.approx([0.5, 0.25, 0])


def test_average_of_weights_follows_its_definition():
    """Weights and running statistics; the count of batches is left alone."""
    torch.manual_seed(0)
    average, network = (torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)) for _ in range(2))
    expected = {name: value.clone() for name, value in average.state_dict().items()}
    for step, decay in ((0, 1 / 10), (1, 2 / 11), (2, 3 / 12), (10_000, 0.5)):
        network(torch.randn(8, 4))
        update_average(average, network, step, 0.5)
        for name, value in network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, torch.tensor(0) if name.endswith("tracked") else expected[name])


def test_device():
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(UserError, match="use --device cpu"):
            choose_device("cuda")
