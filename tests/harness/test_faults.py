"""Whatever happens to a run's files or to its data, the user sees one line, and what was there is there still."""

import hashlib
import json
import os
import pickle
import re
import shutil
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import scipy.io
import torch

import model
import q1_samplers
import q3_samplers
from experiments.divergences import evaluate as divergences
from experiments.harness.run import RunDirectory
from experiments.vae import evaluate as vae
from experiments.wgan import evaluate as wgan
from experiments.wgan import monitor, weights

TRAIN, MAT = Path("data/binarized_mnist/binarized_mnist_train.amat"), Path("small.mat")
MAIN = {"q1": vae.main, "q2": divergences.main, "q3": wgan.main}
Q3 = f"--data-file {MAT} --h-dim 2 --z-dim 5 --batch-size 4 --no-guide --log-every 1"
SHORT = {
    "q1": "train --epochs 2",
    "q2": "--thetas 0,1 --batch-size 4 --iterations 4",
    "q3": f"train {Q3} --generator-steps 2",
}


def ask(question, words):
    """Run the question's command in its folder, or in the one that the words name; returns the exit code."""
    return MAIN[question]([*words.split(), *([] if "--run-dir" in words else ["--run-dir", question])])


def resume(question):
    return ask(question, "--resume" if question == "q2" else "train --resume")


def evaluate(question, more=""):
    return ask(question, ("evaluate --num-samples 2" if question == "q1" else "evaluate") + more)


def start(question, more=" --run-dir new"):
    return ask(question, SHORT[question] + more)


explore_given = partial(evaluate, more=" --generator q3/generator.pt --run-dir new")
start_again = partial(start, more="")


# What happens to a file: each returns a function of its path.


def written(content):
    return lambda path: path.write_bytes(content)


def edited(change):
    """The file's bytes by a function of them."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def saved(change):
    """What torch.save wrote, put through a function that changes it in place, or returns another."""
    return lambda path: torch.save(change(state := torch.load(path, weights_only=True)) or state, path)


def of_networks(change):
    """The first tensors of a checkpoint's networks, each by a function of it."""

    def change_all(state):
        for part in state["learner"].values():
            part.update(
                {name: change(tensor) for name, tensor in [*part.items()][:1] if isinstance(tensor, torch.Tensor)}
            )

    return saved(change_all)


def options(**changes):
    return edited(lambda content: json.dumps({**json.loads(content), **changes}).encode())


def mat(**arrays):
    return lambda path: scipy.io.savemat(path, arrays)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


CHECKPOINT = "{}/checkpoint.pt"
ALL, X, FORM = "q1 q2 q3", np.zeros((32, 32, 3, 500), np.uint8), "is damaged or of another form"
CUT, NAN = edited(lambda content: content[:-1000]), of_networks(lambda t: t * torch.nan)
NAN_GENERATOR = saved(lambda s: s["generator"]["decoder.0.weight"].fill_(torch.nan) is None)
CODE, ZIPPED_CODE = written(pickle.dumps({"options": Malicious()})), saved(lambda s: {**s, "log_entries": Malicious()})
FAULTS = {  # what: questions that it is tried on, file, what happens to it, what is asked for then, what the line says
    "run there already": (ALL, "", None, start_again, "holds a run already; go on with that run by --resume, or name"),
    "options cut": (
        ALL,
        "{}/options.json",
        edited(lambda text: text[:-9]),
        resume,
        f"options.json {FORM}.*another --run-dir",
    ),
    "options of another question": (ALL, "{}/options.json", options(question="q9"), resume, "holds a run of q9, not q"),
    "other data": (
        "q1 q3",
        "{}/options.json",
        options(dataset_digest="x"),
        resume,
        "was trained on other data than .* name another run",
    ),
    "checkpoint cut": (ALL, CHECKPOINT, CUT, resume, f"{FORM}.*delete it to start anew, or name another --run-dir"),
    "checkpoint of text": (ALL, CHECKPOINT, written(b"x"), resume, FORM),
    "checkpoint with code": (ALL, CHECKPOINT, CODE, resume, FORM),
    "checkpoint zipped with code": (ALL, CHECKPOINT, ZIPPED_CODE, resume, FORM),
    "checkpoint of NaN": (ALL, CHECKPOINT, NAN, resume, "is not finite"),
    "checkpoint of NaN, evaluated": ("q1", CHECKPOINT, NAN, evaluate, "is not finite"),
    "checkpoint of other shapes": (ALL, CHECKPOINT, of_networks(lambda t: t[:1]), resume, "size mismatch"),
    "checkpoint without networks": (ALL, CHECKPOINT, saved(lambda s: s.update(learner={})), resume, FORM),
    "checkpoint missing": ("q1", CHECKPOINT, Path.unlink, evaluate, "holds no trained model; train one first"),
    "generator missing": ("q3", "{}/generator.pt", Path.unlink, evaluate, "generator.pt (yet|is missing); "),
    "generator cut": (
        "q3",
        "{}/generator.pt",
        CUT,
        explore_given,
        "train a generator, or name its weights by --generator",
    ),
    "generator of text": ("q3", "{}/generator.pt", written(b"x"), evaluate, f"{FORM}.* by --generator"),
    "generator with code": ("q3", "{}/generator.pt", CODE, explore_given, FORM),
    "generator of NaN": ("q3", "{}/generator.pt", NAN_GENERATOR, evaluate, "decoder.0.weight is not finite"),
    "digits missing": ("q1", TRAIN, Path.unlink, resume, "could not download binarized_mnist_train.amat"),
    "digits cut": ("q1", TRAIN, CUT, start, "is not the published file.*delete it"),
    "digits changed": ("q1", TRAIN, edited(lambda text: b"2" + text[1:]), start, "is not the published file"),
    "digits of text": ("q1", TRAIN, written(b"<html>"), start, "is not the published file"),
    "photographs missing": ("q3", MAT, Path.unlink, start, "small.mat (is missing|cannot be read: No such file)"),
    "photographs cut": ("q3", MAT, CUT, start, "small.mat is damaged or no MATLAB file"),
    "photographs of text": ("q3", MAT, written(b"<html>"), start, "damaged or no MATLAB file"),
    "photographs of another form": ("q3", MAT, mat(X=X, y=np.zeros((500, 1))), start, "is not of SVHN's form"),
    "photographs that are few": (
        "q3",
        MAT,
        mat(X=X[..., :90], y=np.ones((90, 1))),
        start,
        "fewer than 49; name a larger",
    ),
}
ROWS = {f"{what}, {question}": (question, *rest) for what, (qs, *rest) in FAULTS.items() for question in qs.split()}


@pytest.fixture(scope="module")
def world(tmp_path_factory, small_files, data_file):
    """A folder with small data, and in q1, q2 and q3 a run of each. Small networks; a generator is not measured."""
    folder = tmp_path_factory.mktemp("world")
    segments = divergences.FAMILIES["segments"]._replace(fresh_samples=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            q1_samplers, "SHA256", {name: hashlib.sha256(text).hexdigest() for name, text in small_files.items()}
        )
        patch.setattr(model, "HIDDEN", 8)
        patch.setitem(divergences.FAMILIES, "segments", segments)
        for module in (vae, divergences, wgan, monitor):
            patch.setattr(module, "figures", mock.MagicMock())
        patch.setattr(wgan, "explore_generators", lambda _, files, *__: [*map(weights.load_generator, files.values())])
        patch.setattr(monitor.Monitor, "measure", lambda *_: {})
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.chdir(folder)
        TRAIN.parent.mkdir(parents=True)
        for name, text in small_files.items():
            (TRAIN.parent / name).write_bytes(text)
        shutil.copy(data_file, MAT)
        for question, words in SHORT.items():
            assert ask(question, words) == 0
        yield folder


@pytest.fixture
def around(world, tmp_path, monkeypatch):
    """A copy of the world, to be damaged, as the working directory. There is no network."""
    shutil.copytree(world, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    for samplers in (q1_samplers, q3_samplers):
        monkeypatch.setattr(samplers, "ADDRESSES", ("http://127.0.0.1:9/",))


def contents():
    """Every file below the working directory but locks, path to content."""
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("question", "place", "damage", "do", "says"), ROWS.values(), ids=ROWS)
def test_fault_is_one_line_and_nothing_is_lost(around, capsys, question, place, damage, do, says):
    if damage:
        part = "q2/wasserstein" if (question, place) == ("q2", CHECKPOINT) else question
        damage(Path(str(place).format(part)))
    before = contents()
    capsys.readouterr()
    assert do(question) == 2
    err = capsys.readouterr().err
    assert (err.startswith("error: "), err.count("\n")) == (True, 1), err
    assert re.search(says, err)
    assert contents() == before
    assert not Path("executed").exists()


def test_what_those_files_hold_is_code(around):
    ZIPPED_CODE(Path("q1/checkpoint.pt"))
    torch.load("q1/checkpoint.pt", weights_only=False)
    assert Path("executed").exists()


@pytest.mark.parametrize("question", MAIN)
def test_second_process_in_the_same_directory_is_turned_away(around, capsys, question):
    with RunDirectory(Path(question)):
        capsys.readouterr()
        assert resume(question) == 2
    assert re.fullmatch(r"error: another process is at work in .*\n", capsys.readouterr().err)
    assert resume(question) == 0


def what_is_left(folder):
    """What a run leaves that does not depend on the clock: tensors of checkpoints, and logs."""

    def tensors(state):
        values = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
        return [state] if isinstance(state, torch.Tensor) else [tensor for value in values for tensor in tensors(value)]

    states = [torch.load(path, weights_only=True) for path in sorted(folder.rglob("checkpoint.pt"))]
    logs = [RunDirectory(path.parent).read_log() for path in sorted(folder.rglob("log.jsonl"))]
    log = [{name: v for name, v in entry.items() if "second" not in name} for entries in logs for entry in entries]
    return tensors(states), log


@pytest.mark.parametrize("question", MAIN)
@pytest.mark.parametrize("renamed", [0, 2, 3])
def test_run_killed_before_a_file_has_its_name_resumes_to_the_same_bits(around, monkeypatch, question, renamed):
    words, calls, replace = f"{SHORT[question]} --run-dir new --resume", iter(range(renamed, -1, -1)), Path.replace

    def killing(path, target):
        if next(calls) == 0:
            raise BaseException("nothing catches it, as nothing catches a kill")
        return replace(path, target)

    with monkeypatch.context() as patch, pytest.raises(BaseException, match="a kill"):
        patch.setattr(Path, "replace", killing)
        ask(question, words)
    assert ask(question, words) == 0
    (tensors, log), (expected, expected_log) = what_is_left(Path("new")), what_is_left(Path(question))
    assert all(map(torch.equal, tensors, expected))
    assert log == expected_log


def test_a_request_that_does_not_fit_creates_nothing_and_reads_no_data(around, monkeypatch, capsys):
    """A mistyped folder; a run that is there already, before its data are read or downloaded."""
    shutil.rmtree("data")
    before = contents()
    for question, words, says in (
        ("q1", "evaluate --run-dir tpyo", "tpyo holds no trained model; train one first, or name another --run-dir"),
        ("q1", "train --epochs 2", "q1 holds a run already; go on with that run by --resume, or name another"),
        ("q2", "--run-dir new --beside tpyo", "--beside tpyo holds no run; name the folder of a run's options.json"),
        ("q1", "--run-dir new --dataset binarized-mnist", "could not download binarized_mnist_train.amat"),
    ):
        assert ask(question, words) == 2
        assert says in capsys.readouterr().err
    assert contents() == before
    assert not Path("tpyo").exists()
    assert not Path("new").exists()


def test_without_photographs_training_asks_instead_of_taking_synthetic_ones(around, capsys):
    assert ask("q3", "train --run-dir new") == 2
    err = capsys.readouterr().err
    for named in ("data/svhn/train_32x32.mat by hand", "--data-file", "--dataset svhn-stand-in"):
        assert named in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("question", MAIN)
def test_neighbours_of_a_run_are_not_looked_at(around, question):
    """Private, empty, cut or foreign: none of them ends an evaluation."""
    Path("private").mkdir(mode=0)
    Path("empty").mkdir()
    for name, record in (("cut", "{"), ("old", json.dumps({"question": question}))):
        Path(name).mkdir()
        Path(name, "options.json").write_text(record)
    assert start(question) == 0


def test_the_users_matplotlibrc_does_not_reach_the_figures(around, monkeypatch):
    """text.usetex without LaTeX would end the run after training."""
    import matplotlib as mpl

    monkeypatch.setitem(mpl.rcParams, "text.usetex", True)
    seen = []
    monkeypatch.setattr(divergences, "figures", mock.MagicMock(side_effect=None))
    divergences.figures.divergence_curve.side_effect = lambda *_: seen.append(mpl.rcParams["text.usetex"])
    assert start("q2") == 0
    assert seen == [False, False]
    assert mpl.rcParams["text.usetex"]
