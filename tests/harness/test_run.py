"""The run directory: what is written is whole, what is read is checked, and the record says what happened."""

import dataclasses
import errno
import json
import os
from dataclasses import replace

import pytest
import torch

from experiments.harness.command import exit_code
from experiments.harness.files import UserError, write_atomically
from experiments.harness.options import Options, option
from experiments.harness.run import RunDirectory, runs_in_figure

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class ToyOptions(Options):
    question = "q1"

    epochs: int = option(2, "of training", scope="length")
    rate: float = option(0.1, "of learning")


OPTIONS = ToyOptions()
PRESETS = {"tuned": OPTIONS, "handout": ToyOptions(preset="handout", rate=0.3)}


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path / "runs" / "q1") as run:
        yield run


def test_checkpoint_cut_anywhere_is_one_clear_error(run):
    run.save({"weights": torch.arange(100)}, OPTIONS)
    content = run.checkpoint.read_bytes()
    for length in range(0, len(content), 29):
        run.checkpoint.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"^[^\n]*damaged or of another form[^\n]*delete it[^\n]*$"):
            run.load()


def test_full_disk_keeps_what_was_there(run, monkeypatch):
    run.save({"epoch": 1}, OPTIONS)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
            run.save({"epoch": 2}, OPTIONS)
    assert run.load()["epoch"] == 1
    assert not list(run.folder.glob("*.tmp"))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_file_is_whole_or_not_there_when_a_kill_comes_while_it_is_written(tmp_path, monkeypatch, moment):
    def kill(*_):
        raise BaseException("nothing catches it, as nothing catches a kill")

    path = tmp_path / "file"
    for before in (None, b"old"):
        if before:
            path.write_bytes(before)
        with monkeypatch.context() as patch, pytest.raises(BaseException, match="a kill"):
            patch.setattr(*{"fsync": (os, "fsync", kill), "replace": ("pathlib.Path.replace", kill)}[moment])
            write_atomically(path, b"a longer new content")
        assert (path.read_bytes() if path.exists() else None) == before
    write_atomically(path, b"new")  # what the kill left is no obstacle
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"new")]


def test_resuming_cuts_the_log_back_to_the_checkpoint(run):
    for epoch in (1, 2):
        run.log({"epoch": epoch})
        run.save({"epoch": epoch}, OPTIONS)
    run.log({"epoch": 3})
    assert run.read_log() == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    assert run.resume()["epoch"] == 2
    run.log({"epoch": 3})
    assert run.read_log() == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    run.checkpoint.unlink()
    assert run.resume() is None
    assert run.read_log() == []


def test_record_says_what_its_numbers_depend_on_and_each_change_of_that(run, monkeypatch):
    run.write_options(OPTIONS, "digest", CPU)
    first = json.loads((run.folder / "options.json").read_text())
    assert (first["dataset_digest"], first["versions"]["torch"], first["versions"]["device"]) == (
        "digest",
        torch.__version__,
        "cpu",
    )
    assert "history" not in first

    monkeypatch.setattr(torch, "__version__", "9.0")
    again = RunDirectory(run.folder)
    recorded = again.read_options(OPTIONS, PRESETS)
    again.write_options(replace(recorded, epochs=5), "digest", CPU)
    record = json.loads((run.folder / "options.json").read_text())
    assert record["epochs"] == 5
    (entry,) = record["history"]
    assert entry["changed"] == {"epochs": [2, 5], "torch": [first["versions"]["torch"], "9.0"]}
    again.write_options(replace(recorded, epochs=5), "digest", CPU)
    assert json.loads((run.folder / "options.json").read_text())["history"] == [entry]  # nothing has changed since


def test_a_record_that_lacks_an_option_has_it_of_its_own_preset(run):
    run.write_options(PRESETS["handout"], "", CPU)
    record = json.loads((run.folder / "options.json").read_text())
    del record["rate"]
    run.write_json("options.json", record)
    assert run.read_options(OPTIONS, PRESETS).rate == 0.3


def test_figures_show_the_runs_that_are_named_by_what_sets_them_apart(run, tmp_path):
    other = tmp_path / "other"
    with RunDirectory(other) as beside:
        beside.write_options(replace(PRESETS["handout"], epochs=9, seed=3), "", CPU)
    runs = runs_in_figure(run, replace(OPTIONS, beside=(other,)), PRESETS)
    assert [label for label, _ in runs] == ["tuned preset, seed 0", "handout preset, --epochs 9, seed 3"]
    assert [shown.folder for _, shown in runs] == [run.folder, other]
    same = runs_in_figure(run, replace(OPTIONS, beside=(other, tmp_path / "other")), PRESETS)
    assert [label for label, _ in same][2] == "handout preset, --epochs 9, seed 3, in other"
    with pytest.raises(UserError, match=r"--beside .*nowhere holds no run"):
        runs_in_figure(run, replace(OPTIONS, beside=(tmp_path / "nowhere",)), PRESETS)


def test_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"), RunDirectory(tmp_path / "file" / "q1"):
        pass


def test_user_error_is_one_line_and_with_debug_a_traceback(capsys):
    def fail(argv):
        raise UserError("x is\nmissing; look for it")

    assert exit_code(fail, ["x"]) == 2
    assert capsys.readouterr().err == "error: x is missing; look for it\n"
    with pytest.raises(UserError):
        exit_code(fail, ["x", "--debug"])


@pytest.mark.parametrize("bug", [RuntimeError, KeyError, OSError, MemoryError])
def test_a_bug_is_a_traceback(bug):
    def fail(argv):
        raise bug

    with pytest.raises(bug):
        exit_code(fail, [])
