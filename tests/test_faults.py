"""Whatever happens to a run's files or to its data: the user sees one line, and what was there is there still.

FAULTS is the table of what is damaged, what is asked for then, the exit code, and what the line says. The battery after
it flips bytes and cuts files everywhere, once for what all trainings share.
"""

import contextlib
import ctypes
import dataclasses
import gzip
import hashlib
import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

import model
import q1_samplers
import q3_samplers
from experiments import divergences, figures, training, vae, vae_evaluation, wgan, wgan_evaluation, wgan_figures
from experiments.options import Options, UserError, option
from experiments.run import RunDirectory
from model import Generator

CPU = torch.device("cpu")
DATA = Path("data/binarized_mnist")
TRAIN, CACHE = DATA / "binarized_mnist_train.amat", DATA / "binarized_mnist_cache.npz"
MAT = Path("small.mat")
EXPERIMENTS = {"q1": vae, "q2": divergences, "q3": wgan}
Q2 = "--thetas 0,1 --batch-size 4"
Q3 = f"--data-file {MAT} --h-dim 2 --z-dim 5 --batch-size 4 --checkpoint-minutes 1e-6"
SHORT = {"q1": "train --epochs 2", "q2": f"{Q2} --iterations 4", "q3": f"train {Q3} --generator-steps 2 --log-every 1"}
LONG = {  # long enough to be killed again and again
    "q1": "train --epochs 60 --batch-size 10",
    "q2": f"{Q2} --iterations 600",
    "q3": f"train {Q3} --generator-steps 200 --log-every 5",
}
KILLS = 20
SAVE, EXPLORE_SAMPLES = figures.save, wgan_evaluation.explore_samples  # which the world stubs


@pytest.fixture(scope="module")
def world(tmp_path_factory, small_files):
    """A folder with small data, and in q1, q2 and q3 a run of each. Small networks, nothing drawn or measured."""
    folder = tmp_path_factory.mktemp("world")
    bits = [np.frombuffer(text, np.uint8).reshape(-1, 2 * 784)[:, ::2] == ord("1") for text in small_files.values()]
    packed = [hashlib.sha256(np.packbits(part, axis=1).tobytes()).hexdigest() for part in bits]
    photos, segments = q3_samplers.stand_in(500), divergences.FAMILIES["segments"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(q1_samplers, "SHA256", {name: hashlib.sha256(text).hexdigest() for name, text in small_files.items()})
        patch.setattr(q1_samplers, "PACKED_SHA256", dict(zip(q1_samplers.PACKED_SHA256, packed)))
        patch.setattr(q1_samplers, "LARGEST", max(map(len, small_files.values())))
        patch.setattr(vae_evaluation, "FEWER_SAMPLES", (1,))
        patch.setattr(q3_samplers, "stand_in", lambda: photos)
        patch.setattr(model, "HIDDEN", 8)
        patch.setattr(wgan, "CHECKPOINT_SAMPLES", 60)
        patch.setitem(divergences.FAMILIES, "segments", segments._replace(fresh_samples=16))
        for name in ("explore_samples", "explore_dimensions", "explore_paths"):
            patch.setattr(wgan_evaluation, name, lambda *_: {})
        patch.setattr(wgan_evaluation, "print_metrics", lambda metrics: None)
        for module in (figures, wgan_figures):
            patch.setattr(module, "save", lambda figure, path, **_: None)
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.chdir(folder)
        DATA.mkdir(parents=True)
        for name, text in small_files.items():
            (DATA / name).write_bytes(text)
        digits = photos.labels.numpy().astype(np.uint8)[:, None]
        mat(X=photos.images.permute(2, 3, 1, 0).numpy(), y=np.where(digits == 0, 10, digits))(MAT)
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
    return tmp_path / "copy"


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
        r"cannot write to q\d: File exists \(q\d/figures\)",
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


def contents():
    """Every file below the working directory but locks and what is too large, path to content."""
    files = [path for path in Path().rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != ".lock"]
    return {str(path): path.read_bytes() for path in files if path.stat().st_size < 10**8}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("question", "place", "damage", "do", "code", "says"), ROWS.values(), ids=ROWS)
def test_fault_is_one_line(around, capsys, question, place, damage, do, code, says):
    damage(Path(str(place).format(question)))
    before = contents()
    capsys.readouterr()
    found, err = do(question), capsys.readouterr().err
    assert (found, err.count("\n"), len(err.splitlines())) == (code, bool(says), bool(says)), err
    assert re.search(says, err)
    if code == 2:  # nothing is lost, and nothing left
        assert err.startswith("error: ")
        assert contents() == before
    else:
        assert err.startswith("WARNING: " if says else "")
        assert do is not evaluate or (Path(question) / "metrics.json").stat().st_mtime_ns > 0
    assert not [path for path in Path().rglob("*") if "tmp" in path.name or path.name == "executed"]


@pytest.mark.parametrize("question", EXPERIMENTS)
def test_run_directory_without_a_name_is_refused(around, capsys, question):
    """An unset variable: this once moved the working directory's own files."""
    before = contents()
    argv = [*SHORT[question].split(), "--run-dir", ""]
    assert [EXPERIMENTS[question].main(argv) for _ in range(2)] == [2, 2]
    assert (
        capsys.readouterr().err.splitlines()
        == ["error: argument --run-dir: an empty text is no path; --help lists the options"] * 2
    )
    assert contents() == before


def test_generator_not_written_before_a_kill_is_written_by_the_next_start(around, capsys):
    """With or without an older one: evaluation is of the checkpoint's weights, not the bundled or the previous ones."""
    path = Path("q3/generator.pt")
    expected = torch.load(path)["generator"]
    for damage in (gone, saved(lambda state: [value.zero_() for value in state["generator"].values()] and None)):
        damage(path)
        assert resume("q3") == 0
        found = torch.load(path)["generator"]
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_generator_whose_images_are_not_finite_is_one_line(tmp_path):
    generator = Generator(3, 2)
    generator.state_dict()["decoder.1.running_var"].fill_(-1)
    with pytest.raises(UserError, match=r"images are not finite; name another by --generator"):
        EXPLORE_SAMPLES(RunDirectory(tmp_path), generator, None, None, "")


@pytest.mark.parametrize("question", ["q1", "q3"])
def test_figure_that_cannot_be_drawn_is_one_line_and_metrics_are_written(around, capsys, monkeypatch, question):
    def broken(*_, **__):
        raise ValueError("no such\nfont")

    for module in (figures, wgan_figures):
        monkeypatch.setattr(module, "save", broken)
    Path(question, "metrics.json").unlink(missing_ok=True)
    capsys.readouterr()
    assert evaluate(question) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(re.fullmatch(r"WARNING: .*/figures/\w+\.png could not be drawn \(no such font\)", line) for line in lines)
    assert json.loads(Path(question, "metrics.json").read_text())


def test_titles_are_drawn_as_they_are(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(wgan_figures, "save", SAVE)
    log = [{"generator_step": 1, "wasserstein_estimate": 1.0}]
    wgan_figures.training_curves({"tuned": log}, tmp_path / "training.png", figures.literal("SVHN a$b$c_{"))
    assert (tmp_path / "training.png").exists()
    assert capsys.readouterr().err == ""


@contextlib.contextmanager
def without_privileges():
    """File modes hold for root, too, while its capabilities are laid down. Skips a test where that cannot be."""
    if os.geteuid() != 0:
        yield
        return
    libc, header, held = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if not hasattr(libc, "capset") or libc.capget(header, held):
        pytest.skip("root reads and writes everything here")
    _, permitted, inherited, _, *more = held
    assert libc.capset(header, (ctypes.c_uint32 * 6)(0, permitted, inherited, 0, *more)) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


@pytest.mark.skipif(os.name != "posix", reason="there are no file modes")
@pytest.mark.parametrize(
    ("question", "place", "do"),
    [
        *((question, f"{question}/{name}", resume) for question in EXPERIMENTS for name in ("options.json", "checkpoint.pt")),
        ("q1", "q1/log.jsonl", resume),
        ("q3", "q3/generator.pt", evaluate),
        ("q1", TRAIN, start),
        ("q3", MAT, start),
    ],
)
def test_file_that_may_not_be_read_is_not_called_damaged(around, capsys, question, place, do):
    CACHE.unlink(missing_ok=True)
    Path(place).chmod(0)
    capsys.readouterr()
    with without_privileges():
        code = do(question)
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (2, 1)
    assert re.match(rf"error: {place}( cannot be read)?: Permission denied", err)
    assert "delete" not in err


@pytest.mark.skipif(os.name != "posix", reason="there are no file modes")
def test_read_only_data_folder_is_no_obstacle(around, capsys):
    CACHE.unlink()
    before = contents()
    for folder in (DATA, DATA.parent):
        folder.chmod(0o555)
    try:
        with without_privileges():
            assert start("q1") == 0
    finally:
        for folder in (DATA, DATA.parent):
            folder.chmod(0o755)
    assert capsys.readouterr().err == ""
    assert Path("new/checkpoint.pt").exists()
    assert {path for path in contents() if path.startswith("data")} == {path for path in before if path.startswith("data")}


@pytest.mark.parametrize("question", EXPERIMENTS)
def test_second_run_in_the_same_directory_is_turned_away(around, capsys, question):
    with RunDirectory(question):
        for again in (start_anew, resume):
            capsys.readouterr()
            assert again(question) == 2
            err = capsys.readouterr().err
            assert err.startswith("error: another process is at work")
            assert err.count("\n") == 1
    assert resume(question) == 0


# What all trainings share, damaged everywhere: a toy's run.


@dataclasses.dataclass(frozen=True)
class ToyOptions(Options):
    question = "toy"

    epochs: int = option(3, "of training", scope="length")


class ToyLearner:
    def __init__(self):
        self.network = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.Adam(self.network.parameters())

    def advance(self, epoch):
        self.optimizer.zero_grad()
        loss = self.network(torch.randn(4, 3)).square().mean()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def first_not_finite(self):
        return training.first_not_finite({"network": self.network})

    def state_dict(self):
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def train_toy(folder):
    """Train, or go on with, a run of the toy. Returns its learner's tensors."""
    learner = ToyLearner()
    with RunDirectory(folder) as run:
        training.fit(learner, run, ToyOptions(), CPU, run.resume(ToyOptions()), {"dataset": "toy"})
    return tensors(learner.state_dict())


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    train_toy(tmp_path / "toy")
    return tmp_path / "toy"


def test_checkpoint_cut_anywhere_is_refused_and_kept(toy):
    content = (toy / "checkpoint.pt").read_bytes()
    for length in [*range(0, len(content) - 100, 97), *range(len(content) - 100, len(content), 7)]:
        (toy / "checkpoint.pt").write_bytes(content[:length])
        with pytest.raises(
            UserError, match=r"^[^\n]*checkpoint\.pt is damaged or no checkpoint[^\n]*; delete it to start anew$"
        ):
            train_toy(toy)
        assert (toy / "checkpoint.pt").read_bytes() == content[:length]


def test_checkpoint_with_one_wrong_byte_is_refused_unless_nothing_reads_it(toy):
    """Places all over it; where one is not noticed, what comes back is right to the bit."""
    content, dice = (toy / "checkpoint.pt").read_bytes(), random.Random(0)
    expected, unread = train_toy(toy), 0
    places = range(0, len(content), 37)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= dice.randrange(1, 256)
        (toy / "checkpoint.pt").write_bytes(damaged)
        try:
            found = train_toy(toy)
        except UserError as error:
            assert str(error).isprintable(), place
        else:
            assert all(map(torch.equal, found, expected)), place
            unread += 1
    assert unread < len(places) / 3


def test_log_cut_or_wrong_anywhere_does_not_stop_a_run(toy):
    content, dice = (toy / "log.jsonl").read_bytes(), random.Random(0)
    whole = RunDirectory(toy).read_log()
    for place in range(0, len(content), 11):
        damaged = bytearray(content)
        damaged[place] ^= dice.randrange(1, 256)
        for wrong in (content[:place], bytes(damaged)):
            (toy / "log.jsonl").write_bytes(wrong)
            kept = RunDirectory(toy).read_log()
            train_toy(toy)
            assert RunDirectory(toy).read_log() == kept
        assert sum(entry in whole for entry in kept) >= len(whole) - 2


def asked(question):
    presets = EXPERIMENTS[question].PRESETS
    return dataclasses.replace(presets.get("segments", presets)["tuned"], run_dir=Path(question))


@pytest.mark.parametrize("question", EXPERIMENTS)
def test_options_damaged_anywhere_are_refused(around, question):
    """Cut anywhere; each name and each type changed; bytes changed, unless that is the same to JSON."""
    path, options = Path(question, "options.json"), asked(question)
    content, dice = path.read_bytes(), random.Random(0)
    record, expected = json.loads(content), RunDirectory(question).read_options(options)
    damaged = [content[:length] for length in range(0, len(content) - 2, 7)]
    for name in record.keys() - {"versions"}:
        damaged += [json.dumps({**record, name: [record[name]]}).encode(), content.replace(f'"{name}"'.encode(), b'"other"')]
    for place in range(0, content.index(b'"versions"'), 2):
        byte = bytes([content[place] ^ dice.randrange(1, 256)])
        damaged.append(content[:place] + byte + content[place + 1 :])
    for wrong in damaged:
        path.write_bytes(wrong)
        try:
            found = RunDirectory(question).read_options(options)
        except UserError as error:
            assert str(error).isprintable()
        else:
            assert json.loads(wrong) != record or found == expected
            assert set(json.loads(wrong)) == set(record)


def tensors(state):
    """Every tensor of nested dictionaries and lists, one after another."""
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return [tensor for value in values for tensor in tensors(value)]


def what_is_left(folder):
    """What a run leaves that does not depend on the clock: its checkpoint's tensors and its log."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    times = ("seconds", "epochs_per_second", "iterations_per_second", "steps_per_second")
    log = [{name: value for name, value in entry.items() if name not in times} for entry in RunDirectory(folder).read_log()]
    return tensors(state), log


@pytest.mark.slow
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process")  # newer Pythons warn of fork in a process with threads
@pytest.mark.parametrize("question", EXPERIMENTS)
def test_run_killed_twenty_times_ends_in_the_same_bits(around, question):
    """Forked processes: what takes long to start is the import of PyTorch, and that is no moment of a training."""
    words = f"{LONG[question]} --run-dir new --resume"
    fork, dice = multiprocessing.get_context("fork"), random.Random(0)

    def begin():
        process = fork.Process(target=lambda: os._exit(ask(question, words)))
        process.start()
        return process

    began = time.monotonic()
    process = begin()
    process.join(300)
    lasted = time.monotonic() - began
    assert process.exitcode == 0
    expected = what_is_left(Path("new"))
    shutil.move("new", "whole")

    kills = finished = 0
    while kills < KILLS:
        process = begin()
        process.join(dice.uniform(0, lasted / 10))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        kills, finished = kills + (process.exitcode != 0), finished + (process.exitcode == 0)
    process = begin()
    process.join(300)
    assert process.exitcode == 0
    found = what_is_left(Path("new"))
    assert len(found[0]) == len(expected[0])
    assert all(torch.equal(*pair) for pair in zip(found[0], expected[0]))
    assert found[1] == expected[1]
    print(f"{kills} kills, {finished} times it was done first; a whole run takes {lasted:.1f} s")
