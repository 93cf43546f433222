"""The curves of question 2: right where the answer is known, the same bits when resumed, clear in their errors."""

import csv
import json
import math
import time

import pytest
import torch

from experiments import divergences
from experiments.harness.run import RunDirectory
from model import Critic
from q2_samplers import distribution1
from report.__main__ import FIGURES

SHORT = ("--thetas", "0,0.5,2", "--iterations", "150")


@pytest.fixture
def q2(capsys):
    def run(*arguments):
        code = divergences.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


FEW = divergences.FAMILIES["segments"]._replace(fresh_samples=16)


def few_fresh_samples():
    """Before a command in a process of its own; monkeypatch does the same for those in this one."""
    divergences.FAMILIES["segments"] = FEW


@pytest.fixture
def quick(monkeypatch):
    """Estimates from few samples, where what is compared is one run with another."""
    monkeypatch.setitem(divergences.FAMILIES, "segments", FEW)


def curves(folder):
    with open(folder / "curves.csv") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_curves_are_right_at_three_thetas(q2, figures_drawn, tmp_path):
    code, out, err = q2("--run-dir", tmp_path / "run", *SHORT)
    assert (code, err) == (0, "")
    rows = curves(tmp_path / "run")
    names = ["theta", "squared_hellinger", "squared_hellinger_exact", "wasserstein", "wasserstein_exact"]
    assert list(rows[0]) == names
    assert [row["theta"] for row in rows] == [0, 0.5, 2]
    assert [row["squared_hellinger_exact"] for row in rows] == [0, 2, 2]
    assert [row["wasserstein_exact"] for row in rows] == [0, 0.5, 2]
    for row in rows:
        assert abs(row["squared_hellinger"] - row["squared_hellinger_exact"]) <= 0.005
        assert abs(row["wasserstein"] - row["wasserstein_exact"]) <= 0.02
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for name in ("squared_hellinger", "wasserstein"):
        errors = [abs(row[name] - row[f"{name}_exact"]) for row in rows]
        assert metrics[f"{name}_largest_error"] == pytest.approx(max(errors), abs=1e-12)
        assert f"{name:18s} largest error {max(errors):.5f}, at theta = {rows[errors.index(max(errors))]['theta']:g}\n" in out
    assert (metrics["family"], metrics["preset"], metrics["seed"]) == ("segments", "tuned", 0)
    assert all(bound <= row["wasserstein_exact"] + 0.001 for bound, row in zip(metrics["wasserstein_lower_bound"], rows))
    written = {path.name for path in (tmp_path / "run").rglob("*.*") if path.name != ".lock"}
    pictures = {"squared_hellinger.png", "wasserstein.png"}
    assert written == {"options.json", "log.jsonl", "checkpoint.pt", "metrics.json", "curves.csv", divergences.FIRST} | pictures
    assert all((tmp_path / "run" / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert pictures == FIGURES["q2"].keys()  # which the report shows


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_curves_are_right_on_a_gpu(q2, tmp_path):
    assert q2("--run-dir", tmp_path / "run", *SHORT, "--device", "cuda")[0] == 0
    for row in curves(tmp_path / "run"):
        assert abs(row["squared_hellinger"] - row["squared_hellinger_exact"]) <= 0.005
        assert abs(row["wasserstein"] - row["wasserstein_exact"]) <= 0.02


def test_estimates_of_overlapping_gaussians_do_not_saturate(q2, tmp_path, monkeypatch):
    family = divergences.FAMILIES["gaussian"]._replace(fresh_samples=2**14)  # a standard error of 0.011 for W1
    monkeypatch.setitem(divergences.FAMILIES, "gaussian", family)
    code, _, err = q2("--run-dir", tmp_path / "run", "--family", "gaussian", "--thetas", "0,1", "--iterations", "40")
    assert (code, err) == (0, "")
    rows = curves(tmp_path / "run")
    assert rows[1]["squared_hellinger_exact"] == pytest.approx(2 - 2 * math.exp(-1 / 8))
    for row in rows:
        assert abs(row["squared_hellinger"] - row["squared_hellinger_exact"]) <= 0.03
        assert abs(row["wasserstein"] - row["wasserstein_exact"]) <= 0.1


def test_penalty_bias_is_what_theory_says_and_is_corrected():
    """A linear critic of slope 1.02, the penalised optimum at theta = 2 and lambda = 50."""
    critic = Critic()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
        for layer in (critic.main[0], critic.main[2], critic.main[4]):
            layer.weight[0, 0] = 1
        critic.main[0].bias[0] = 10  # keeps every LeakyReLU on its linear side
        critic.main[6].weight[0, 0] = -1.02
    x, y = (torch.from_numpy(next(distribution1(place, 4096))) for place in (0.0, 2.0))
    assert divergences.estimate("wasserstein", critic, x, y, "none")[0] == pytest.approx(2.04, abs=1e-4)
    assert divergences.estimate("wasserstein", critic, x, y, "slope") == pytest.approx((2.0, 2.0), abs=1e-4)


def test_bank_follows_each_critic_by_itself():
    """One step of SGD on the bank is one step of SGD on every critic."""
    torch.manual_seed(0)
    options = divergences.DivergenceOptions(thetas=(0.0, 1.0), optimizer="sgd", learning_rate=0.1)
    learner = divergences.Learner("squared_hellinger", options, "cpu")
    bank = learner.bank
    critics = [bank.critic(k) for k in range(2)]
    x, y = torch.randn(2, 6, 2), torch.randn(2, 6, 2)
    learner.step(x.flatten(0, 1), y.flatten(0, 1))
    for k, critic in enumerate(critics):
        alone = torch.optim.SGD(critic.parameters(), lr=0.1)
        divergences.objective_loss("squared_hellinger", x[k], y[k], critic, 50.0).backward()
        alone.step()
        for mine, theirs in zip(bank.critic(k).parameters(), critic.parameters()):
            torch.testing.assert_close(mine, theirs)


def test_killed_run_resumes_to_the_same_bits(q2, quick, forked, tmp_path):
    options = ("--thetas", "0,1", "--iterations", "60")
    assert q2("--run-dir", tmp_path / "whole", *options)[0] == 0
    for lines in (3, 13):  # once while each objective is at work
        arguments = ("--run-dir", tmp_path / "killed", "--resume", *options)
        process = forked("divergences", *arguments, before=few_fresh_samples)
        deadline = time.monotonic() + 60
        while len(RunDirectory(tmp_path / "killed").read_log()) < lines and time.monotonic() < deadline:
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode != 0  # it was at work, not done
        assert len(RunDirectory(tmp_path / "killed").read_log()) >= lines
    assert q2("--run-dir", tmp_path / "killed", "--resume")[0] == 0
    assert (tmp_path / "killed" / "curves.csv").read_bytes() == (tmp_path / "whole" / "curves.csv").read_bytes()
    logs = [
        [{**entry, "seconds": 0, "iterations_per_second": 0} for entry in RunDirectory(tmp_path / name).read_log()]
        for name in ("whole", "killed")
    ]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("done", ["both objectives", "the first"])
def test_a_longer_run_is_the_longer_run_to_the_bit(q2, quick, tmp_path, monkeypatch, done):
    handout = ("--preset", "handout", "--thetas", "0,1", "--batch-size", 8)
    assert q2("--run-dir", tmp_path / "whole", *handout, "--iterations", 40)[0] == 0
    with monkeypatch.context() as patch:
        if done == "the first":
            honest = divergences.Learner

            def killed(objective, *rest):
                if objective == "wasserstein":
                    raise KeyboardInterrupt
                return honest(objective, *rest)

            patch.setattr(divergences, "Learner", killed)
        code = q2("--run-dir", tmp_path / "run", *handout, "--iterations", 20)[0]
        assert code == (130 if done == "the first" else 0)
    code, out, err = q2("--run-dir", tmp_path / "run", "--resume", "--iterations", 40)
    assert (code, err) == (0, "")
    assert "resuming after iteration 20 of 40" in out
    assert (tmp_path / "run" / "curves.csv").read_bytes() == (tmp_path / "whole" / "curves.csv").read_bytes()


def test_one_weight_that_is_not_finite_names_its_critic():
    learner = divergences.Learner("wasserstein", divergences.DivergenceOptions(thetas=(0.0, 0.5, 1.0)), "cpu")
    assert learner.first_not_finite() is None
    with torch.no_grad():
        learner.bank.weights[1][1, 5, 7] = math.nan
    assert learner.first_not_finite() == "wasserstein critic for theta = 0.5"


def test_critic_that_explodes_is_named(q2, tmp_path):
    code, _, err = q2("--run-dir", tmp_path / "run", *SHORT, "--optimizer", "sgd", "--learning-rate", "1e6")
    assert (code, err.count("\n")) == (2, 1)
    assert "the squared_hellinger critic for theta = 0 is no longer finite" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--thetas", "0,x"], "is not a list of numbers"),
        (["--thetas", ""], "is not a list of numbers"),
        (["--thetas", "0,1e300"], "is not a list of numbers"),
        (["--thetas", "0,nan"], "is not a list of numbers"),
        (["--batch-size", "-1"], "is not a whole number"),
        (["--family", "cauchy"], "invalid choice"),
    ],
)
def test_bad_commands_are_one_line(q2, tmp_path, arguments, message):
    code, out, err = q2("--run-dir", tmp_path / "run", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "run").exists()


def test_other_presets_beside_are_drawn(q2, tmp_path, monkeypatch):
    assert (
        q2("--run-dir", tmp_path / "h", "--preset", "handout", "--thetas", "0,1", "--iterations", 2, "--batch-size", 4)[0] == 0
    )
    drawn = []
    monkeypatch.setattr(divergences.figures, "divergence_curve", lambda exact, estimates, *_: drawn.append(list(estimates)))
    assert q2("--run-dir", tmp_path / "t", "--thetas", "0,1", "--iterations", 2)[0] == 0
    assert drawn == [["tuned", "handout"]] * 2
