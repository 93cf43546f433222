"""The table of faults: what happens to a run's files or to its data, what is asked for then, and what the user sees."""

import gzip
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from experiments import divergences, vae, wgan

DATA = Path("data/binarized_mnist")
TRAIN, CACHE = DATA / "binarized_mnist_train.amat", DATA / "binarized_mnist_cache.npz"
MAT = Path("small.mat")
EXPERIMENTS = {"q1": vae, "q2": divergences, "q3": wgan}
Q2 = "--thetas 0,1 --batch-size 4"
Q3 = f"--data-file {MAT} --h-dim 2 --z-dim 5 --batch-size 4 --checkpoint-minutes 1e-6 --no-guide --samples 150"
SHORT = {"q1": "train --epochs 2", "q2": f"{Q2} --iterations 4", "q3": f"train {Q3} --generator-steps 2 --log-every 1"}


def ask(question, words):
    """Run the question's command in its folder, or in the one that the words name; returns the exit code."""
    return EXPERIMENTS[question].main([*words.split(), *([] if "--run-dir" in words else ["--run-dir", question])])


def resume(question):
    return ask(question, "--resume" if question == "q2" else "train --resume")


def evaluate(question):
    return ask(question, {"q1": "evaluate --num-samples 2", "q2": "--resume", "q3": "evaluate"}[question])


def start(question, folder="new"):
    return ask(question, f"{SHORT[question]} --run-dir {folder}")


def start_anew(question):
    return ask(question, SHORT[question])


def start_in_mine(question):
    return start(question, "mine")


def explore_given(question):
    return ask(question, "evaluate --generator q3/generator.pt --run-dir new")


# How to damage a file: each returns what does it to a path.


def written(content):
    def damage(path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def edited(change):
    """The file's bytes by a function of them."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def flipped(place):
    return edited(lambda content: content[:place] + bytes([content[place] ^ 0x55]) + content[place:][1:])


def pipe(path):
    path.unlink(missing_ok=True)
    try:
        os.mkfifo(path)
    except AttributeError:
        pytest.skip("there are no named pipes")


def folder(path):
    path.unlink(missing_ok=True)
    path.mkdir()


def sparse(path):
    """Without end, as far as memory goes; on disk it takes nothing."""
    try:
        os.truncate(path, 2**43)
    except OSError:
        pytest.skip("the file system has no sparse files")


def bomb(path):
    path.unlink()
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(bytes(10**7))


def gone(path):
    path.unlink()


def record(**changes):
    return edited(lambda content: json.dumps({**json.loads(content), **changes}).encode())


def saved(change):
    """What torch.save wrote, put through a function that changes it in place, or returns another."""

    def damage(path):
        state = torch.load(path, weights_only=True)
        torch.save(change(state) or state, path)

    return damage


def of_learner(change):
    """The first tensors of a checkpoint's networks, each by a function of it."""

    def change_all(state):
        for part in state["learner"].values():
            name = next(iter(part))
            if isinstance(part[name], torch.Tensor):
                part[name] = change(part[name])

    return saved(change_all)


def mat(**arrays):
    return lambda path: scipy.io.savemat(path, arrays, do_compression=True)


def named(name):
    """Another name for the data file, which the run's record takes over."""

    def damage(path):
        path.rename(name)
        record(data_file=name)(Path("q3/options.json"))

    return damage


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


ALL, X = "q1 q2 q3", np.zeros((32, 32, 3, 500), np.uint8)
OTHER_VERSION = "damaged or of another version"
FAULTS = {  # what: the questions it is tried on, the file, the damage, what is asked for, the exit code, what the line says
    "log missing": ("q1 q3", "{}/log.jsonl", gone, evaluate, 0, r"could not be drawn \(log.jsonl holds no"),
    "log empty": ("q1 q3", "{}/log.jsonl", written(""), evaluate, 0, "could not be drawn"),
    "log cut": ("q1 q3", "{}/log.jsonl", edited(lambda content: content[:-20]), evaluate, 0, ""),
    "log of NaN": (
        "q1 q3",
        "{}/log.jsonl",
        written('{"epoch": 1, "valid_elbo": NaN, "generator_step": 1, "wasserstein_estimate": NaN}\n'),
        evaluate,
        0,
        r"could not be drawn \(log.jsonl holds no",
    ),
    "log of a number": ("q1 q3", "{}/log.jsonl", written("3\n"), evaluate, 0, "log.jsonl holds no"),
    "log of texts": (
        "q1 q3",
        "{}/log.jsonl",
        written('{"epoch": "a", "valid_elbo": "b", "generator_step": "c", "wasserstein_estimate": "d"}\n"e"\n'),
        evaluate,
        0,
        "log.jsonl holds no",
    ),
    "log nested deeply": ("q1 q3", "{}/log.jsonl", written("[" * 100_000), evaluate, 0, "log.jsonl holds no"),
    "log of zeros": (ALL, "{}/log.jsonl", written(bytes(5000)), resume, 0, ""),
    "log a pipe": (ALL, "{}/log.jsonl", pipe, resume, 2, r"q\d/log.jsonl cannot be read: it is not a regular file"),
    "log a folder": ("q1 q3", "{}/log.jsonl", folder, evaluate, 0, "log.jsonl holds no .* that can be read"),
    "log without end": ("q1", "{}/log.jsonl", sparse, resume, 2, "log.jsonl cannot be read: it has .* more than the memory"),
    "options: beta1": ("q1 q3", "{}/options.json", record(beta1=1.0), resume, 2, "no proper 'beta1'.*another --run-dir"),
    "options: h_dim": ("q3", "{}/options.json", record(h_dim=0), evaluate, 2, "no proper 'h_dim'"),
    "options: unknown": ("q3", "{}/options.json", record(held_out=2.0), resume, 2, "'held_out' is no option"),
    "options: seed": (ALL, "{}/options.json", record(seed=10**400), resume, 2, "no proper 'seed'"),
    "options: surrogate": (ALL, "{}/options.json", record(preset="\ud800"), resume, 2, "no proper 'preset'"),
    "options: infinity": ("q2", "{}/options.json", record(learning_rate=float("inf")), resume, 2, "no proper"),
    "options nested": (ALL, "{}/options.json", written("[" * 100_000), resume, 2, OTHER_VERSION),
    "options a pipe": (ALL, "{}/options.json", pipe, resume, 2, "options.json cannot be read: it is not a regular file"),
    "options a pipe, anew": ("q1", "{}/options.json", pipe, start_anew, 2, "options.json is in the way"),
    "checkpoint without end": (ALL, "{}/checkpoint.pt", sparse, resume, 2, "cannot be read: it has .* more than the memory"),
    "checkpoint a pipe": (ALL, "{}/checkpoint.pt", pipe, resume, 2, "cannot be read: it is not a regular file"),
    "checkpoint cut": (
        ALL,
        "{}/checkpoint.pt",
        edited(lambda content: content[:-1000]),
        resume,
        2,
        "it was cut short.*delete it to start anew",
    ),
    "checkpoint flipped": (ALL, "{}/checkpoint.pt", flipped(600), resume, 2, "damaged or no checkpoint"),
    "checkpoint of NaN": (ALL, "{}/checkpoint.pt", of_learner(lambda t: t * torch.nan), resume, 2, "is not finite"),
    "checkpoint of NaN, evaluated": ("q1", "{}/checkpoint.pt", of_learner(lambda t: t * torch.nan), evaluate, 2, "not finite"),
    "checkpoint of other shapes": (ALL, "{}/checkpoint.pt", of_learner(lambda t: t[:1]), resume, 2, "size mismatch"),
    "checkpoint without networks": (ALL, "{}/checkpoint.pt", saved(lambda s: s.update(learner={})), resume, 2, OTHER_VERSION),
    "checkpoint without weights": (ALL, "{}/checkpoint.pt", saved(lambda s: s.pop("learner") and s), resume, 2, "'learner'"),
    "checkpoint with a short state": (
        ALL,
        "{}/checkpoint.pt",
        saved(lambda s: s.update(random_state={"cpu": torch.zeros(3, dtype=torch.uint8)})),
        resume,
        2,
        "RNG state",
    ),
    "checkpoint of no length": (
        ALL,
        "{}/checkpoint.pt",
        saved(lambda s: s.update({unit: -8 for unit in s.keys() & {"epoch", "iteration", "generator_step"}})),
        resume,
        2,
        "it is -8 .* long",
    ),
    "checkpoint of other options": (
        ALL,
        "{}/checkpoint.pt",
        saved(lambda s: s["options"].update(seed=5)),
        resume,
        2,
        "belongs to another run than options.json beside it; delete it to start anew",
    ),
    "checkpoint a list": (ALL, "{}/checkpoint.pt", saved(lambda s: [s]), resume, 2, "it holds a list"),
    "checkpoint with code": (
        ALL,
        "{}/checkpoint.pt",
        lambda path: path.write_bytes(pickle.dumps({"options": {}, "log_entries": Malicious()})),
        resume,
        2,
        "damaged or no checkpoint",
    ),
    "checkpoint zipped with code": (
        ALL,
        "{}/checkpoint.pt",
        saved(lambda s: {**s, "log_entries": Malicious()}),
        resume,
        2,
        "it holds an object",
    ),
    "checkpoint missing": ("q1", "{}/checkpoint.pt", gone, evaluate, 2, "holds no trained model; train one first"),
    "generator missing": ("q3", "{}/generator.pt", gone, evaluate, 2, "has no generator.pt yet; go on with train --resume"),
    "generator of text": ("q3", "{}/generator.pt", written("x"), evaluate, 2, "name another by --generator"),
    "generator a pipe": ("q3", "{}/generator.pt", pipe, explore_given, 2, "it is not a regular file"),
    "generator without end": ("q3", "{}/generator.pt", sparse, evaluate, 2, "more than the memory"),
    "generator of text for origin": ("q3", "{}/generator.pt", saved(lambda s: s.update(origin="x")), evaluate, 2, "its origin"),
    "generator of NaN": (
        "q3",
        "{}/generator.pt",
        saved(lambda s: s["generator"]["decoder.0.weight"].fill_(torch.nan) is None),
        evaluate,
        2,
        "decoder.0.weight is not finite",
    ),
    "figures a file": (
        ALL,
        "{}/figures",
        lambda path: (shutil.rmtree(path), written("")(path)),
        resume,
        2,
        r"cannot write to q\d: a file.* is in its place \(q\d/figures\)",
    ),
    "metrics a folder": ("q1 q3", "{}/metrics.json", folder, evaluate, 2, "cannot write .*metrics.json: Is a directory"),
    "a run's neighbour without a log": (
        "q1",
        "{}",
        lambda path: (
            shutil.copytree(path, "z"),
            record(preset="handout")(Path("z/options.json")),
            folder(Path("z/log.jsonl")),
        ),
        evaluate,
        0,
        "",
    ),
    "a run's neighbour with nested metrics": (
        "q1",
        "{}",
        lambda path: (
            shutil.copytree(path, "z"),
            record(epochs=3)(Path("z/options.json")),
            written("[" * 100_000)(Path("z/metrics.json")),
        ),
        evaluate,
        0,
        "",
    ),
    "foreign checkpoint": (ALL, "mine/checkpoint.pt", written("x"), start_in_mine, 2, "checkpoint.pt is in the way"),
    "foreign options": (ALL, "mine/options.json", written('{"a": 1}'), start_in_mine, 2, "options.json is in the way"),
    "data unpacking without end": ("q1", TRAIN, bomb, start, 2, "amat.gz is not the published file.*delete it"),
    "data without end": ("q1", TRAIN, sparse, start, 2, "is not the published file"),
    "data a pipe": ("q1", TRAIN, pipe, start, 2, "train.amat is not a regular file; move it away"),
    "data a folder": ("q1", TRAIN, folder, start, 2, "train.amat is not a regular file; move it away"),
    "cache a pipe": ("q1", CACHE, pipe, start, 0, ""),
    "cache without end": ("q1", CACHE, sparse, start, 0, ""),
    "cache half written": ("q1", CACHE, lambda path: path.rename(f"{DATA}/{CACHE.stem}.12.tmp.npz"), start, 0, ""),
    "photographs a pipe": ("q3", MAT, pipe, start, 2, "small.mat: it is not a regular file"),
    "photographs without end": ("q3", MAT, sparse, start, 2, "small.mat: it has .* more than the memory"),
    "photographs of a structure": ("q3", MAT, mat(X=X, y={"a": 1}), start, 2, "is not of SVHN's form"),
    "photographs with too many digits": ("q3", MAT, mat(X=X, y=np.ones((10**6, 1), np.uint8)), start, 2, "y is"),
    "photographs of text": ("q3", MAT, written("<html>"), start, 2, "damaged or no MATLAB file"),
    "photographs named in mathematics": ("q3", MAT, named("a$b$c_{.mat"), evaluate, 0, ""),
    "photographs named in Greek": ("q3", MAT, named("φωτογραφίες.mat"), evaluate, 0, ""),
}
ROWS = {
    f"{what}, {question}": (question, *rest) for what, (questions, *rest) in FAULTS.items() for question in questions.split()
}
