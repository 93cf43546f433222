"""Whatever happens to a run's files or its process, each training tells it in one line, or goes on to the same bits."""

import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import time

import pytest
import torch

import model
import q3_samplers
from experiments import divergences, vae, wgan, wgan_figures
from experiments.run import RunDirectory

Q2 = ("--thetas", "0,1", "--batch-size", "4")
Q3 = ("--dataset", q3_samplers.STAND_IN, "--h-dim", "2", "--z-dim", "5", "--batch-size", "4", "--checkpoint-minutes", "1e-6")
SIZES = {  # experiment to the options of a run of a moment, and of one long enough to be killed again and again
    vae: (("--epochs", "2"), ("--epochs", "60", "--batch-size", "10")),
    divergences: ((*Q2, "--iterations", "4"), (*Q2, "--iterations", "600")),
    wgan: ((*Q3, "--generator-steps", "2", "--log-every", "1"), (*Q3, "--generator-steps", "200", "--log-every", "5")),
}
KILLS = 20


@pytest.fixture(scope="session")
def few_photos():
    return q3_samplers.stand_in(500)


@pytest.fixture(params=SIZES, ids=["q1", "q2", "q3"])
def experiment(request, small_data, few_photos, monkeypatch):
    """One of the three, with small data, a small network for question 1, and no pictures."""
    monkeypatch.setattr(model, "HIDDEN", 8)
    monkeypatch.setattr(q3_samplers, "stand_in", lambda: few_photos)
    monkeypatch.setattr(wgan_figures, "image_grid", lambda *_: None)
    segments = divergences.FAMILIES["segments"]._replace(fresh_samples=16)
    monkeypatch.setitem(divergences.FAMILIES, "segments", segments)
    monkeypatch.setattr(divergences, "draw_figure", lambda *_: None)
    monkeypatch.chdir(small_data.parent)  # its folder is called data, as --data-dir's default is
    return request.param


@pytest.fixture
def run(experiment, capsys):
    """Train in the folder ./run; returns exit code and errors."""

    def run(*arguments):
        arguments = (*arguments, "--run-dir", "run")
        code = experiment.main(arguments if experiment is divergences else ("train", *arguments))
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def trained(experiment, run, tmp_path):
    assert run(*SIZES[experiment][0]) == (0, "")
    return tmp_path / "run"


def is_one_line(code, err):
    return code == 2 and err.startswith("error: ") and err.count("\n") == len(err.splitlines()) == 1


def spread(low, high, count):
    """`count` whole numbers over low <= n < high, low the first."""
    return [low + (high - low) * k // count for k in range(count)]


def resumed(run, folder, name, content):
    """Resume once the file `name` of the run has this content, then put its folder back."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (folder / name).write_bytes(content)
    code, err = run("--resume")
    for path, bytes_before in before.items():
        path.write_bytes(bytes_before)
    return code, err


def test_checkpoint_cut_anywhere_is_one_line_and_kept(run, trained):
    content = (trained / "checkpoint.pt").read_bytes()
    for length in (*spread(0, len(content), 23), len(content) - 22, len(content) - 1):
        assert is_one_line(*resumed(run, trained, "checkpoint.pt", content[:length])), length


def test_checkpoint_with_one_wrong_byte_is_one_line_unless_nothing_reads_it(run, trained):
    """Places all over it, and more where its structure is: at the beginning and at the end."""
    content, dice = (trained / "checkpoint.pt").read_bytes(), random.Random(0)
    ends = [dice.randrange(3000) for _ in range(20)] + [len(content) - 1 - dice.randrange(3000) for _ in range(10)]
    codes = []
    for place in spread(0, len(content), 25) + ends:
        damaged = bytearray(content)
        damaged[place] ^= dice.randrange(1, 256)
        codes.append(resumed(run, trained, "checkpoint.pt", bytes(damaged)))
        assert codes[-1] == (0, "") or is_one_line(*codes[-1]), (place, codes[-1])
    assert codes.count((0, "")) < len(codes) / 2


def test_options_cut_anywhere_are_refused(run, trained):
    content = (trained / "options.json").read_bytes()
    for length in spread(0, len(content) - 2, 12):
        assert is_one_line(*resumed(run, trained, "options.json", content[:length])), length


def test_options_renamed_or_retyped_are_refused(run, trained):
    options = json.loads((trained / "options.json").read_bytes())
    for name in options.keys() - {"versions"}:
        retyped = {**options, name: [options[name]]}
        renamed = {f"{other}s" if other == name else other: value for other, value in options.items()}
        for damaged in (retyped, renamed):
            assert is_one_line(*resumed(run, trained, "options.json", json.dumps(damaged).encode())), name


def test_options_with_one_wrong_byte_are_refused_unless_it_changes_nothing(run, trained):
    content, dice = (trained / "options.json").read_bytes(), random.Random(0)
    for place in spread(0, content.index(b'"versions"'), 24):
        damaged = bytearray(content)
        damaged[place] ^= dice.randrange(1, 256)
        code, err = resumed(run, trained, "options.json", bytes(damaged))
        assert is_one_line(code, err) or json.loads(bytes(damaged)) == json.loads(content), place


def test_log_cut_anywhere_does_not_stop_a_run(run, trained):
    content = (trained / "log.jsonl").read_bytes()
    for length in spread(0, len(content), 8):
        assert resumed(run, trained, "log.jsonl", content[:length]) == (0, ""), length


def test_log_with_one_wrong_byte_does_not_stop_a_run(run, trained):
    content, dice = (trained / "log.jsonl").read_bytes(), random.Random(0)
    for place in spread(0, len(content), 12):
        damaged = bytearray(content)
        damaged[place] ^= dice.randrange(1, 256)
        assert resumed(run, trained, "log.jsonl", bytes(damaged)) == (0, ""), place


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))], ids=["zip", "pickle"])
def test_checkpoint_that_would_execute_code_is_refused(run, trained, save):
    options = json.loads((trained / "options.json").read_text())
    save({"options": options, "log_entries": Malicious()}, trained / "checkpoint.pt")
    assert is_one_line(*run("--resume"))
    assert not list(trained.parent.rglob("executed"))


def test_second_run_in_the_same_directory_is_turned_away(run, trained):
    with RunDirectory(trained):
        for arguments in ((), ("--resume",)):
            code, err = run(*arguments)
            assert is_one_line(code, err)
            assert "another process is at work" in err
    assert run("--resume") == (0, "")


UNPRIVILEGED = ("setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override")  # file modes hold for root too
IS_ROOT = getattr(os, "geteuid", lambda: 1)() == 0


@pytest.mark.skipif(IS_ROOT and shutil.which("setpriv") is None, reason="root writes everywhere")
def test_read_only_data_folder_is_no_obstacle(q1_process, small_data, tmp_path):
    folders = [small_data, small_data / "binarized_mnist"]
    for folder in folders:
        folder.chmod(0o555)
    try:
        process = q1_process("train", "--epochs", 1, "--run-dir", tmp_path / "run", before=UNPRIVILEGED if IS_ROOT else ())
        _, err = process.communicate(timeout=60)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    assert len(list(folders[1].iterdir())) == 3  # the published files, no cache beside them


def tensors(state):
    """Every tensor of nested dictionaries and lists, one after another."""
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list) else ()
    return [tensor for value in values for tensor in tensors(value)]


def record(folder):
    """What a run leaves that does not depend on the clock: its checkpoint's tensors and its log."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    times = ("seconds", "epochs_per_second", "iterations_per_second", "steps_per_second")
    log = [{name: value for name, value in entry.items() if name not in times} for entry in RunDirectory(folder).read_log()]
    return tensors(state), log


@pytest.mark.slow
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process")  # newer Pythons warn of fork in a process with threads
def test_run_killed_twenty_times_ends_in_the_same_bits(experiment, tmp_path):
    """Forked processes: what takes long to start is the import of PyTorch, and that is no moment of a training."""
    arguments = (*SIZES[experiment][1], "--run-dir", "run", "--resume")
    arguments = arguments if experiment is divergences else ("train", *arguments)
    fork, dice = multiprocessing.get_context("fork"), random.Random(0)

    def start():
        process = fork.Process(target=lambda: os._exit(experiment.main(arguments)))
        process.start()
        return process

    began = time.monotonic()
    process = start()
    process.join(300)
    lasted = time.monotonic() - began
    assert process.exitcode == 0
    expected = record(tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "whole")

    kills = finished = 0
    while kills < KILLS:
        process = start()
        process.join(dice.uniform(0, lasted / 10))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        kills, finished = kills + (process.exitcode != 0), finished + (process.exitcode == 0)
    process = start()
    process.join(300)
    assert process.exitcode == 0
    found = record(tmp_path / "run")
    assert len(found[0]) == len(expected[0])
    assert all(torch.equal(*pair) for pair in zip(found[0], expected[0]))
    assert found[1] == expected[1]
    print(f"{kills} kills, {finished} times it was done first; a whole run takes {lasted:.1f} s")
