"""Each command line: exit code 0 or 2, and with 2 one line that says what is wrong."""

import dataclasses

import pytest

from experiments.divergences import train as divergences
from experiments.harness import main as harness
from experiments.harness.options import flag
from experiments.vae import evaluate as vae
from experiments.wgan import classifier
from experiments.wgan import evaluate as wgan

EXPERIMENTS = {"q1": vae, "q2": divergences, "q3": wgan, "classifier": classifier}
VALUES = ["", "-1", "0", "0.5", "1e39", "nan", "9" * 5000, "0,x", "²", "x\ny", "auto", "train", "file", "x" * 300]


@pytest.fixture(params=EXPERIMENTS)
def command(request, tmp_path, monkeypatch, capsys):
    """The experiment's options, and its command on no data, where nothing is trained or measured."""
    (tmp_path / "file").write_text("no data\n")
    monkeypatch.chdir(tmp_path)
    nothing = dict.fromkeys(("train", "evaluate", "evaluate_without_run"), lambda *_: None)
    experiment = dataclasses.replace(EXPERIMENTS[request.param].EXPERIMENT, **nothing)
    experiment = dataclasses.replace(experiment, load=lambda options: harness.Data(None, "nothing", {}))

    def check(*argv):
        code, err = harness.main(experiment, [*argv]), capsys.readouterr().err
        assert (code, err.startswith("error: "), err.count("\n")) in ((0, False, 0), (2, True, 1)), (argv, err)
        return code

    fields = dataclasses.fields(next(iter(experiment.presets.values())))
    return check, [
        flag(field.name) for field in fields if field.metadata["scope"] != "record" and field.name != "action"
    ]


def test_every_value_of_every_option(command):
    check, names = command
    codes = {check(f"{name}={value}") for name in names if name != "--debug" for value in VALUES}
    assert codes == {0, 2}


def test_every_option_without_a_value_or_twice(command):
    check, names = command
    for name in (name for name in names if name != "--debug"):
        for argv in ([name], [name, name], [name, "--", "1"], [name, "--seed", "1"]):
            check(*argv)


@pytest.mark.parametrize("question", EXPERIMENTS)
def test_help_ends_with_0(question, capsys):
    with pytest.raises(SystemExit) as stop:
        harness.main(EXPERIMENTS[question].EXPERIMENT, ["--help"])
    assert stop.value.code == 0
    assert "--run-dir" in capsys.readouterr().out
