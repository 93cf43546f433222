"""The run directory: what is written is whole, what is read is checked, an earlier run is never overwritten."""

import dataclasses
import errno
import json
import os
from dataclasses import replace

import pytest
import torch

from experiments.harness.files import UserError, command, write_atomically
from experiments.harness.options import Options, option
from experiments.harness.run import RunDirectory

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class ToyOptions(Options):
    question = "q1"

    epochs: int = option(2, "of training", scope="length")
    rate: float = option(0.1, "of learning")


@dataclasses.dataclass(frozen=True)
class OtherOptions(ToyOptions):
    question = "q2"


OPTIONS = ToyOptions()


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path / "runs" / "q1") as run:
        yield run


def test_checkpoint_comes_back_to_its_own_run_alone(run):
    assert run.load(OPTIONS) is None
    run.save({"weights": torch.arange(3)}, OPTIONS)
    assert run.load(OPTIONS)["weights"].tolist() == [0, 1, 2]
    assert run.load(replace(OPTIONS, epochs=3)) is not None  # a run that is made longer
    with pytest.raises(UserError, match="belongs to another run"):
        run.load(replace(OPTIONS, rate=0.2))


def test_checkpoint_cut_anywhere_is_one_clear_error(run):
    run.save({"weights": torch.arange(100)}, OPTIONS)
    content = run.checkpoint.read_bytes()
    for length in range(0, len(content), 29):
        run.checkpoint.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"^[^\n]*damaged or of another form[^\n]*delete it[^\n]*$"):
            run.load(OPTIONS)


def test_full_disk_keeps_what_was_there(run, monkeypatch):
    run.save({"epoch": 1}, OPTIONS)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
            run.save({"epoch": 2}, OPTIONS)
    assert run.load(OPTIONS)["epoch"] == 1
    assert not list(run.folder.glob("*.tmp"))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_file_is_whole_or_not_there_when_a_kill_comes_while_it_is_written(tmp_path, monkeypatch, moment):
    class Killed(BaseException):
        """Nothing catches it, as nothing catches a kill."""

    def kill(*_):
        raise Killed

    path = tmp_path / "file"
    for before in (None, b"old"):
        if before:
            path.write_bytes(before)
        with monkeypatch.context() as patch, pytest.raises(Killed):
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
    with open(run.folder / "log.jsonl", "a") as file:
        file.write('{"epoch": 4, "val')
    assert run.read_log() == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    assert run.resume(OPTIONS)["epoch"] == 2
    run.log({"epoch": 3})
    assert run.read_log() == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]
    run.checkpoint.unlink()
    assert run.resume(OPTIONS) is None
    assert run.read_log() == []


def test_record_says_what_its_numbers_may_depend_on(run):
    run.write_options(OPTIONS, CPU)
    versions = json.loads((run.folder / "options.json").read_text())["versions"]
    assert list(versions) == ["python", "torch", "numpy", "platform", "device", "threads"]
    assert (versions["torch"], versions["device"]) == (torch.__version__, "cpu")


def test_comparable_runs_are_those_beside_it_of_the_same_question_that_agree(tmp_path):
    """The run itself first, though another one comes before it by name."""
    there = {"a": OPTIONS, "b": replace(OPTIONS, epochs=9), "c": replace(OPTIONS, rate=0.2), "other": OtherOptions()}
    for name, options in there.items():
        with RunDirectory(tmp_path / name) as run:
            run.write_options(options, CPU)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "options.json").write_text("{")
    found = RunDirectory(tmp_path / "b").comparable_runs(OPTIONS, "rate")
    assert [(other.folder.name, options.epochs) for other, options in found] == [("b", 9), ("a", 2)]


def test_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"), RunDirectory(tmp_path / "file" / "q1"):
        pass


@pytest.mark.parametrize("name", ["options.json", "log.jsonl", "checkpoint.pt"])
def test_earlier_run_or_a_foreign_file_of_such_a_name_is_never_overwritten(run, name):
    (run.folder / name).write_text("{}")
    (run.folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=rf"{name} is there already; go on with that run by --resume, or name another"):
        run.begin(OPTIONS, CPU)
    files = {path.name: path.read_text() for path in run.folder.iterdir() if path.is_file() and path.name != ".lock"}
    assert files == {name: "{}", "notes.txt": "mine"}


def test_user_error_is_one_line_and_with_debug_a_traceback(capsys):
    def fail(argv):
        raise UserError("x is\nmissing; look for it")

    assert command(fail, ["x"]) == 2
    assert capsys.readouterr().err == "error: x is missing; look for it\n"
    with pytest.raises(UserError):
        command(fail, ["x", "--debug"])


def test_a_bug_is_a_traceback():
    for bug in (RuntimeError, KeyError, OSError, MemoryError):

        def fail(argv, bug=bug):
            raise bug

        with pytest.raises(bug):
            command(fail, [])
