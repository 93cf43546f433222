"""A loop with the harness's help: killed or interrupted it resumes to the same bits; it lengthens; NaN ends it."""

import dataclasses
import math
import os
import signal

import pytest
import torch

from experiments.harness import training
from experiments.harness.command import exit_code
from experiments.harness.files import UserError
from experiments.harness.options import Options, option
from experiments.harness.run import RunDirectory
from experiments.harness.training import Training, choose_device, set_learning_rate, update_average

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class ToyOptions(Options):
    question = "toy"

    schedule: str = option("constant", "of the learning rate", choices=("constant", "cosine"))
    toy_steps: int = option(12, "of training", scope="length")


def nothing(step, network):
    """What happens in the middle of a step, unless a test has something happen."""


def train(folder, options=None, happens=nothing, measure=None, log_every=1, checkpoint_minutes=0.0):
    """A point follows noisy gradients to the origin, by Adam, with a running average: all that a real loop has.

    Returns the steps that were trained.
    """
    options, steps = options or ToyOptions(), []
    torch.manual_seed(options.seed)
    network, average = torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters())
    with RunDirectory(folder) as run:
        parts = {"network": network, "average": average, "optimizer": optimizer}
        loop = Training(run, options, CPU, "toy_step", options.toy_steps, **parts)
        loop.log_every, loop.checkpoint_minutes = log_every, checkpoint_minutes
        for step in loop:
            set_learning_rate(optimizer, 0.1, step - 1, options.toy_steps, options.schedule)
            loss = network(torch.randn(5, 3)).square().mean()
            happens(step, average)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            update_average(average, network, step - 1, 0.9)
            loop.log(loss=loss.detach(), number=float(step))
            if measure and loop.checkpoint_due:
                loop.log(measured=measure(step))
            steps.append(step)
    return steps


def left(folder):
    """What a run leaves that does not depend on the clock: tensors, and the log."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    parts = [*state["learner"]["network"].values(), *state["learner"]["average"].values(), state["random_state"]["cpu"]]
    return parts, [{k: v for k, v in entry.items() if "second" not in k} for entry in RunDirectory(folder).read_log()]


def same(one, other):
    """Whether two runs ended with the same weights, random numbers and log."""
    (tensors, log), (others, other_log) = left(one), left(other)
    return all(map(torch.equal, tensors, others)) and log == other_log


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("moment", ["in a step", "measure", "log", "save"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_run_killed_at_any_moment_resumes_to_the_same_bits(tmp_path, monkeypatch, moment, call):
    calls = []

    def killing(honest):
        def kill(*arguments):
            calls.append(moment)
            if len(calls) == call:
                raise Killed
            return honest(*arguments)

        return kill

    def measured(step):
        return step / 2

    train(tmp_path / "whole", log_every=2, measure=measured)
    happens = killing(nothing) if moment == "in a step" else nothing
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if moment in ("log", "save"):
            patch.setattr(RunDirectory, moment, killing(getattr(RunDirectory, moment)))
        measure = killing(measured) if moment == "measure" else measured
        train(tmp_path / "killed", happens=happens, log_every=2, measure=measure)
    train(tmp_path / "killed", log_every=2, measure=measured)
    assert same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("forgotten", ["torch.set_rng_state", "torch.optim.Adam.load_state_dict"])
def test_a_resume_that_forgets_something_is_noticed(tmp_path, monkeypatch, forgotten):
    train(tmp_path / "whole")
    train(tmp_path / "run", ToyOptions(toy_steps=6))
    monkeypatch.setattr(forgotten, lambda *_: None)
    train(tmp_path / "run")
    assert not same(tmp_path / "whole", tmp_path / "run")


@pytest.fixture
def heard():
    """Ctrl-C is heard, unlike in a process that a script has started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def signalled(number, *steps):
    """Real signals in the middle of these steps."""

    def happens(step, _):
        for _ in range(steps.count(step)):
            os.kill(os.getpid(), number)

    return happens


WITH_SIGNALS = pytest.mark.skipif(os.name == "nt", reason="on Windows a signal of one's own is the end of the process")


@WITH_SIGNALS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_unit_finish_and_saves(heard, tmp_path, capsys, number):
    before = signal.getsignal(number)
    train(tmp_path / "whole")
    interrupted = signalled(number, 5)
    assert exit_code(lambda argv: train(tmp_path / "run", None, interrupted, checkpoint_minutes=60), []) == 130
    assert signal.getsignal(number) == before
    err = capsys.readouterr().err
    assert "finishing this toy step, then saving; Ctrl-C again ends at once" in err
    assert err.endswith("interrupted after toy step 5; the same command with --resume goes on from there\n")
    assert train(tmp_path / "run") == [6, 7, 8, 9, 10, 11, 12]
    assert same(tmp_path / "whole", tmp_path / "run")


@WITH_SIGNALS
def test_the_second_signal_ends_at_once_with_the_last_checkpoint(heard, tmp_path, capsys):
    train(tmp_path / "whole")
    assert exit_code(lambda argv: train(tmp_path / "run", None, signalled(signal.SIGINT, 5, 5)), []) == 130
    assert capsys.readouterr().err.endswith(
        "interrupted; --resume goes on from the last checkpoint, if one was saved\n"
    )
    assert train(tmp_path / "run") == [5, 6, 7, 8, 9, 10, 11, 12]
    assert same(tmp_path / "whole", tmp_path / "run")


@WITH_SIGNALS
def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert exit_code(lambda argv: train(tmp_path / "run", None, signalled(signal.SIGINT, 5, 5)), []) == 0
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_longer_run(tmp_path, capsys, schedule):
    """At a constant rate a run made longer is the longer run, to the bit; along a cosine it is not, and says so."""
    train(tmp_path / "whole", ToyOptions(schedule=schedule))
    train(tmp_path / "run", ToyOptions(schedule=schedule, toy_steps=6))
    capsys.readouterr()
    assert train(tmp_path / "run", ToyOptions(schedule=schedule)) == [7, 8, 9, 10, 11, 12]
    assert same(tmp_path / "whole", tmp_path / "run") == (schedule == "constant")
    assert ("made longer, from 6 to 12" in capsys.readouterr().out) == (schedule == "cosine")


def test_the_log_averages_over_its_interval_and_checkpoints_go_by_the_clock(tmp_path, monkeypatch, capsys):
    """Each step takes 10 s; what is measured at a checkpoint takes time, too, which does not count as training."""
    clock, saved, honest = [0.0], [], RunDirectory.save
    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])

    def measure(step):
        clock[0] += 1000
        return step

    def save(run, state, options):
        saved.append(state["toy_step"])
        honest(run, state, options)

    def wait(step, _):
        clock[0] += 10

    monkeypatch.setattr(RunDirectory, "save", save)
    train(tmp_path, ToyOptions(toy_steps=9), wait, measure, log_every=2, checkpoint_minutes=1)
    log = RunDirectory(tmp_path).read_log()
    assert [entry["toy_step"] for entry in log] == [2, 4, 6, 8, 9]
    assert [entry["number"] for entry in log] == [1.5, 3.5, 5.5, 7.5, 9]
    assert [entry["seconds"] for entry in log] == [20, 40, 60, 80, 90]
    assert [entry["steps_per_second"] for entry in log] == pytest.approx(5 * [0.1])
    assert [entry.get("measured") for entry in log] == [None, None, 6, None, 9]
    assert saved == [6, 9]
    assert capsys.readouterr().out.count("toy step ") == 2


def test_weights_that_are_no_longer_finite_end_the_run_and_the_last_checkpoint_is_kept(tmp_path):
    def explode(step, average):
        if step == 6:
            average.weight.data[0, 1] = math.inf

    remedy = r"^the average is no longer finite by toy step 6 in [^\n]* a smaller --learning-rate"
    with pytest.raises(UserError, match=remedy):
        train(tmp_path, None, explode, log_every=2)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["toy_step"] == 4
    assert [entry["toy_step"] for entry in RunDirectory(tmp_path).read_log()] == [2, 4]


def test_a_measurement_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(UserError, match="the measured is no longer finite by toy step 1 "):
        train(tmp_path, measure=lambda step: math.nan)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("reader", ["closed at the start", "gone after a line"])
def test_training_goes_on_where_nobody_reads_its_progress(tmp_path, monkeypatch, reader):
    read, write = os.pipe()
    os.close(read)
    stdout = None if reader == "closed at the start" else open(write, "w")  # noqa: SIM115 (it is the standard output)
    monkeypatch.setattr("sys.stdout", stdout)
    assert len(train(tmp_path)) == 12


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
