"""The curves of question 2: right where the answer is known, each objective by itself, the same bits when resumed."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from experiments.divergences.bank import CriticBank
from experiments.divergences.evaluate import estimate, gradients, main
from experiments.divergences.train import OBJECTIVES, PRESETS, Objective, update
from experiments.harness.run import RunDirectory
from model import Critic
from q2_samplers import FAMILIES, distribution1
from q2_solution import lp_reg
from report.__main__ import FIGURES

SHORT = ("--thetas", "0,0.5,2", "--iterations", "150")


@pytest.fixture
def q2(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def quick(monkeypatch):
    """Estimates from few samples, where what is compared is one run with another."""
    monkeypatch.setitem(FAMILIES, "segments", FAMILIES["segments"]._replace(fresh_samples=16))


def keep_objectives(monkeypatch, names):
    for module in ("train", "evaluate"):
        kept = {name: OBJECTIVES[name] for name in names}
        monkeypatch.setattr(f"experiments.divergences.{module}.OBJECTIVES", kept)


def curves(folder):
    with open(folder / "curves.csv") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_right(rows):
    for row in rows:
        assert abs(row["squared_hellinger"] - row["squared_hellinger_exact"]) <= 0.005
        assert abs(row["wasserstein"] - row["wasserstein_exact"]) <= 0.02


def test_curves_are_right_at_three_thetas(q2, figures_drawn, tmp_path):
    code, out, err = q2("--run-dir", tmp_path / "run", *SHORT)
    assert (code, err) == (0, "")
    rows = curves(tmp_path / "run")
    names = [column for name in ("squared_hellinger", "wasserstein") for column in (name, f"{name}_exact")]
    assert list(rows[0]) == ["theta", *names]
    assert [row["theta"] for row in rows] == [0, 0.5, 2]
    assert [row["squared_hellinger_exact"] for row in rows] == [0, 2, 2]
    assert [row["wasserstein_exact"] for row in rows] == [0, 0.5, 2]
    assert_right(rows)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for name in OBJECTIVES:
        errors = [abs(row[name] - row[f"{name}_exact"]) for row in rows]
        assert metrics[f"{name}_largest_error"] == pytest.approx(max(errors), abs=1e-12)
        where = rows[errors.index(max(errors))]["theta"]
        assert f"{name:18s} largest error {max(errors):.5f}, at theta = {where:g}\n" in out
        above = [bound - row[f"{name}_exact"] for bound, row in zip(metrics[f"{name}_lower_bound"], rows)]
        # A 1-Lipschitz function of U[0, 1] has at most its variance, 1 / 12.
        assert max(above) <= 5 * (2 / 12 / 4096) ** 0.5
        assert metrics[f"{name}_seconds"] > 0
    # Where the segments are apart, Wasserstein's gradient is about 1, and squared Hellinger's nothing to follow.
    assert metrics["wasserstein_gradient"][1:] == pytest.approx([1, 1], abs=0.1)
    assert metrics["wasserstein_slope"] == pytest.approx(metrics["wasserstein_gradient"])
    assert max(metrics["squared_hellinger_gradient"][1:]) < 0.01 < 1 < min(metrics["squared_hellinger_slope"][1:])
    assert (metrics["family"], metrics["preset"], metrics["seed"]) == ("segments", "tuned", 0)
    files = [path for path in (tmp_path / "run").rglob("*.*") if path.name != ".lock"]
    trained = {f"{name}/{file}" for name in OBJECTIVES for file in ("checkpoint.pt", "log.jsonl")}
    pictures = {f"figures/{name}" for name in FIGURES["q2"]}  # which the report shows
    written = {path.relative_to(tmp_path / "run").as_posix() for path in files}
    assert written == {"options.json", "metrics.json", "curves.csv"} | trained | pictures
    assert all((tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_curves_are_right_on_a_gpu(q2, tmp_path):
    assert q2("--run-dir", tmp_path / "run", *SHORT, "--device", "cuda")[0] == 0
    assert_right(curves(tmp_path / "run"))


def test_estimates_of_overlapping_gaussians_do_not_saturate(q2, tmp_path, monkeypatch):
    family = FAMILIES["gaussian"]._replace(fresh_samples=2**14)  # a standard error of 0.011 for W1
    monkeypatch.setitem(FAMILIES, "gaussian", family)
    options = ("--batch-size", 256, "--learning-rate", 2e-3, "--lipschitz-weight", 10, "--iterations", 40)
    code, _, err = q2("--run-dir", tmp_path / "run", "--family", "gaussian", "--thetas", "0,1", *options)
    assert (code, err) == (0, "")
    rows = curves(tmp_path / "run")
    assert rows[1]["squared_hellinger_exact"] == pytest.approx(2 - 2 * math.exp(-1 / 8))
    for row in rows:
        assert abs(row["squared_hellinger"] - row["squared_hellinger_exact"]) <= 0.03
        assert abs(row["wasserstein"] - row["wasserstein_exact"]) <= 0.1


def test_penalty_bias_is_what_theory_says_and_is_corrected():
    """A linear critic of slope 1.02, the penalised optimum at theta = 2 and lambda = 50."""
    x, y = (torch.from_numpy(next(distribution1(place, 4096))) for place in (0.0, 2.0))
    for correction, value in (("none", 2.04), ("slope", 2.0)):
        found = estimate(OBJECTIVES["wasserstein"], lambda points: -1.02 * points[:, 0], x, y, correction)
        assert found == pytest.approx((value, 2.0), abs=1e-4)


def test_gradients_at_q_are_those_that_analysis_gives():
    """Of a critic -3 x_1, at theta = 0.5: -grad f for W1, -exp(v) grad v for squared Hellinger."""
    x, y = (torch.from_numpy(next(distribution1(place, 64))) for place in (0.0, 0.5))
    for name, length in (("wasserstein", 3), ("squared_hellinger", 3 * math.exp(-1.5))):
        of_objective, of_critic = gradients(OBJECTIVES[name], lambda points: -3 * points[:, 0], x, y)
        torch.testing.assert_close(of_objective, torch.tensor([length, 0.0]).expand(64, 2))
        torch.testing.assert_close(of_critic, torch.tensor([-3.0, 0.0]).expand(64, 2))


def test_figure_of_critics_has_arrows_down_the_gradients_in_one_scale(q2, quick, figures, tmp_path):
    """The critics nearest to 0.1, apart from 0 itself, and to 1; each panel names the mean length of metrics.json."""
    assert q2("--run-dir", tmp_path / "run", "--thetas", "0,0.3,1", "--iterations", 40)[0] == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    panels = [axes for axes in figures[-1].axes if axes.get_title()]
    shown = [(name, k, theta) for name in OBJECTIVES for k, theta in ((1, 0.3), (2, 1))]
    for axes, (name, k, theta) in zip(panels, shown, strict=True):
        arrows, length = axes.collections[-1], metrics[f"{name}_gradient"][k]
        named = f"{length:.3g}" if length >= 1e-4 else "below 0.0001"
        assert f"= {theta}\nmean gradient at Q: {named} " in axes.get_title()
        assert abs(arrows.X - theta).max() < 1e-6 and max(arrows.U) <= 0
        assert arrows.scale == panels[0].collections[-1].scale
        assert np.hypot(arrows.U, arrows.V) == pytest.approx(length, rel=0.5, abs=0.01)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_bank_follows_each_critic_by_itself(objective, monkeypatch):
    """One update of the bank by SGD is one update of every critic by SGD."""
    torch.manual_seed(0)
    critics, (x, y) = [Critic() for _ in range(2)], torch.randn(2, 2, 6, 2)
    bank, losses = CriticBank(critics), []
    monkeypatch.setattr(torch, "rand", lambda n, *shape, **_: torch.full((n, *shape), 0.3))  # the same points for both
    sgd = torch.optim.SGD(bank.parameters(), lr=0.1)
    together = update(bank, sgd, objective, x.flatten(0, 1), y.flatten(0, 1), lipschitz_weight=50.0)
    for k, critic in enumerate(critics):
        loss = -objective.function(x[k], y[k], critic) + objective.penalised * 50.0 * lp_reg(x[k], y[k], critic)
        loss.backward()
        torch.optim.SGD(critic.parameters(), lr=0.1).step()
        losses.append(loss.detach())
        for mine, theirs in zip(bank.critic(k).parameters(), critic.parameters()):
            torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(together, torch.stack(losses).mean())


def result(folder, name):
    """What a run found for one objective: its column of curves.csv, and its log without times."""
    log = [{**entry, "seconds": 0, "iterations_per_second": 0} for entry in RunDirectory(folder / name).read_log()]
    return [row[name] for row in curves(folder)], log


@pytest.mark.parametrize("done", [1, 2])
def test_a_longer_run_is_the_longer_run_to_the_bit(q2, quick, tmp_path, monkeypatch, done):
    """Made longer after both objectives, or after the first alone."""
    handout = ("--preset", "handout", "--thetas", "0,1", "--batch-size", 8)
    assert q2("--run-dir", tmp_path / "whole", *handout, "--iterations", 20)[0] == 0
    with monkeypatch.context() as patch:
        keep_objectives(patch, list(OBJECTIVES)[:done])
        assert q2("--run-dir", tmp_path / "run", *handout, "--iterations", 10)[0] == 0
    code, out, err = q2("--run-dir", tmp_path / "run", "--resume", "--iterations", 20)
    assert (code, err, out.count("resuming after iteration 10 of 20")) == (0, "", done)
    assert (tmp_path / "run" / "curves.csv").read_bytes() == (tmp_path / "whole" / "curves.csv").read_bytes()


def test_an_objective_trained_alone_gives_the_same_bits(q2, quick, tmp_path, monkeypatch):
    options = ("--thetas", "0,1", "--iterations", "10")
    assert q2("--run-dir", tmp_path / "both", *options)[0] == 0
    for name in OBJECTIVES:
        keep_objectives(monkeypatch, [name])
        assert q2("--run-dir", tmp_path / name, *options)[0] == 0
        assert result(tmp_path / name, name) == result(tmp_path / "both", name)


def total_variation(x, y, critic):
    """sup over |f| <= 1/2 of E_P[f] - E_Q[f]."""
    return (torch.tanh(critic(x)).mean() - torch.tanh(critic(y)).mean()) / 2


def test_another_objective_is_one_entry(q2, tmp_path, monkeypatch):
    """A run that had only the others trains, evaluates and draws it."""
    assert q2("--run-dir", tmp_path / "run", "--thetas", "0,0.5,2", "--batch-size", 8, "--iterations", 100)[0] == 0
    others = [result(tmp_path / "run", name) for name in OBJECTIVES]
    monkeypatch.setitem(OBJECTIVES, "total_variation", Objective(total_variation, False, "total variation"))
    monkeypatch.setitem(FAMILIES["segments"].exact, "total_variation", lambda theta: float(theta != 0))
    code, out, err = q2("--run-dir", tmp_path / "run", "--resume")
    assert (code, err) == (0, "")
    assert "total_variation    largest error" in out
    rows = curves(tmp_path / "run")
    assert [row["total_variation"] for row in rows] == pytest.approx([0, 1, 1], abs=0.005)
    assert [row["total_variation_exact"] for row in rows] == [0, 1, 1]
    assert (tmp_path / "run" / "figures" / "total_variation.png").exists()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["total_variation_largest_error"] <= 0.005
    assert [result(tmp_path / "run", name) for name in list(OBJECTIVES)[:2]] == others


def test_critic_that_explodes_is_one_line(q2, tmp_path):
    code, _, err = q2("--run-dir", tmp_path / "run", *SHORT, "--optimizer", "sgd", "--learning-rate", "1e6")
    assert (code, err.count("\n")) == (2, 1)
    assert "the bank is no longer finite" in err


@pytest.mark.parametrize("thetas", ["0", "-0.7,1", "1,-0.7,0", "-1,-3", "2"])
def test_any_distances_are_drawn_over_an_axis_of_numbers(q2, quick, figures, tmp_path, thetas):
    """H2 is 2 on both sides of 0, where it is 0; W1 is the distance."""
    code, _, err = q2("--run-dir", tmp_path / "run", f"--thetas={thetas}", "--iterations", 2)
    assert (code, err) == (0, "")
    values = [float(theta) for theta in thetas.split(",")]
    for figure, away in zip(figures, (lambda theta: 2, abs)):
        upper, lower = figure.axes
        *sides, zero, estimates = upper.lines
        exact = [point for side in sides for point in zip(*side.get_data())]
        assert all(value == away(theta) for theta, value in exact)
        assert [*zip(*zero.get_data())] == [(0, 0)]
        drawn = [0.0, *(theta for theta, _ in exact)]
        assert (min(drawn), max(drawn)) == pytest.approx((min(0.0, *values), max(0.0, *values)))
        assert [*estimates.get_xdata()] == [*lower.lines[0].get_xdata()] == values


def test_a_negative_distance_that_looks_like_an_option_is_explained(q2, tmp_path):
    code, _, err = q2("--run-dir", tmp_path / "run", "--thetas", "-1,0,1")
    assert (code, err.count("\n")) == (2, 1)
    assert "--thetas=-1,0,1" in err


def test_runs_beside_are_drawn_and_one_that_is_damaged_is_one_line(q2, quick, figures, tmp_path):
    short, handout = ("--thetas", "0,1", "--iterations", 2, "--batch-size", 4), tmp_path / "h"
    assert q2("--run-dir", handout, "--preset", "handout", *short)[0] == 0
    figures.clear()
    assert q2("--run-dir", tmp_path / "t", *short, "--beside", handout)[0] == 0
    names = [f"estimated by critics, {preset} preset, --iterations 2, --batch-size 4, seed 0" for preset in PRESETS]
    for figure, objective in zip(figures, OBJECTIVES):
        exact, _, *estimates = figure.axes[0].lines
        assert [line.get_label() for line in (exact, *estimates)] == ["exact", *names]
        assert [*estimates[1].get_ydata()] == [row[objective] for row in curves(handout)]

    path = handout / "curves.csv"
    for content in (None, "", "theta,wasserstein\n0,0\n", path.read_text().replace(",", ",x")):
        path.unlink() if content is None else path.write_text(content)
        code, _, err = q2("--run-dir", tmp_path / "t", "--resume", "--beside", handout)
        assert (code, err.count("\n"), err.startswith(f"error: {path} is ")) == (2, 1, True)
        path.touch()
    code, _, err = q2("--run-dir", tmp_path / "t", "--resume", "--beside", tmp_path)
    assert (code, err) == (2, f"error: --beside {tmp_path} holds no run; name the folder of a run's options.json\n")
