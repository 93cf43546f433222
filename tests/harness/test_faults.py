"""Whatever happens to a run's files or to its data: the user sees one line, and what was there is there still."""

import contextlib
import ctypes
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import (
    CACHE,
    DATA,
    EXPERIMENTS,
    MAT,
    Q2,
    Q3,
    ROWS,
    SHORT,
    TRAIN,
    ask,
    evaluate,
    gone,
    mat,
    record,
    resume,
    saved,
    start,
    start_anew,
)

import model
import q1_samplers
import q3_samplers
from experiments import divergences, figures, vae, vae_evaluation, wgan
from experiments.harness.options import UserError
from experiments.harness.run import RunDirectory
from experiments.wgan import evaluate, figures
from model import Generator

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


def contents():
    """Every file below the working directory but locks, figures and what is too large, path to content."""
    files = [
        path for path in Path().rglob("*") if path.is_file() and path.name != ".lock" and path.suffix not in (".lock", ".png")
    ]
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
        EXPLORE_SAMPLES(RunDirectory(tmp_path), generator, None, None, False, 100, "")


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


@pytest.mark.parametrize("weights", ["q3/checkpoint.pt", "q3/generator.pt", "nowhere.pt"])
def test_run_is_not_moved_aside_for_one_that_cannot_begin(around, capsys, weights):
    """Weights to start from are looked at before, and may not be of the run that would be moved."""
    before = contents()
    assert ask("q3", f"{SHORT['q3']} --initial-weights {weights}") == 2
    err = capsys.readouterr().err
    assert re.fullmatch(rf"error: {weights} is (of the run in q3|missing).*name .*\n", err)
    assert contents() == before


@pytest.mark.parametrize("change", [lambda: os.rename("new", "moved"), lambda: shutil.rmtree("new")], ids=["moved", "removed"])
def test_run_directory_that_goes_while_training_is_one_line(around, capsys, monkeypatch, change):
    measured, measure = [], vae.evaluate_elbo

    def measure_and_change(*arguments):
        measured.append(arguments)
        if len(measured) == 2:
            change()
        return measure(*arguments)

    monkeypatch.setattr(vae, "evaluate_elbo", measure_and_change)
    assert start("q1") == 2
    assert re.fullmatch(r"error: cannot write new/log\.jsonl: No such file or directory.*\n", capsys.readouterr().err)
    assert not Path("new").exists()
    if Path("moved").exists():
        monkeypatch.undo()
        monkeypatch.chdir(around)
        assert ask("q1", "train --resume --run-dir moved") == 0


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_run_directory_behind_a_link_stays_there_and_a_copy_of_links_stays_apart(around, capsys):
    Path("link").symlink_to("q1")
    assert start("q1", "link") == 0
    assert Path("link").is_symlink()
    assert Path("q1/previous-1/checkpoint.pt").exists()
    Path("copy").mkdir()
    for name in ("options.json", "log.jsonl", "checkpoint.pt"):
        os.link(f"q1/{name}", f"copy/{name}")
    before = {path: content for path, content in contents().items() if path.startswith("q1")}
    assert ask("q1", "train --resume --epochs 3 --run-dir copy") == 0
    assert {path: content for path, content in contents().items() if path.startswith("q1")} == before
    Path("nowhere").symlink_to("missing")
    assert start("q1", "nowhere") == 2
    assert "cannot write to nowhere: a file, or a link that leads nowhere, is in its place" in capsys.readouterr().err


def test_home_directory_is_found_where_the_shell_leaves_it_to_us(around, monkeypatch):
    monkeypatch.setenv("HOME", str(around / "home"))
    monkeypatch.setenv("USERPROFILE", str(around / "home"))
    assert EXPERIMENTS["q2"].main([*SHORT["q2"].split(), "--run-dir=~/runs"]) == 0
    assert Path("home/runs/metrics.json").exists()
    assert not Path("~").exists()


def test_run_that_goes_on_in_another_version_says_so(around, capsys):
    versions = json.loads(Path("q1/options.json").read_text())["versions"]
    capsys.readouterr()
    assert resume("q1") == 0
    assert "begun with" not in capsys.readouterr().out
    record(versions={**versions, "torch": "1.0", "platform": "another"})(Path("q1/options.json"))
    assert resume("q1") == 0
    line = f"begun with torch 1.0, now torch {torch.__version__}: the run goes on, but its last digits may be others"
    assert line in capsys.readouterr().out.splitlines()


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
