"""The run directory: what is written is whole, what is read is checked, a run is moved aside whole."""

import dataclasses
import errno
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.harness.options import Options, UserError, command, option
from experiments.harness.run import MOVING, RunDirectory

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


def test_checkpoint_comes_back(run):
    assert run.load(OPTIONS) is None
    run.save({"weights": torch.arange(3)}, OPTIONS)
    assert run.load(OPTIONS)["weights"].tolist() == [0, 1, 2]
    assert run.load(replace(OPTIONS, epochs=3)) is not None  # a run that is made longer
    with pytest.raises(UserError, match="belongs to another run"):
        run.load(replace(OPTIONS, rate=0.2))


def test_checkpoint_cut_anywhere_is_one_clear_error(run):
    run.save({"weights": torch.arange(100)}, OPTIONS)
    content = run.checkpoint.read_bytes()
    for length in range(0, len(content), 7):
        run.checkpoint.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"^[^\n]*damaged or no checkpoint[^\n]*delete it[^\n]*$"):
            run.load(OPTIONS)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_checkpoint_that_would_execute_code_is_refused(run, monkeypatch, save):
    monkeypatch.chdir(run.folder)
    save({"options": {}, "model": Malicious()}, run.checkpoint)
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        run.load(OPTIONS)
    assert not (run.folder / "executed").exists()


def test_write_that_fails_keeps_what_was_there(run, monkeypatch):
    run.save({"epoch": 1}, OPTIONS)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
            run.save({"epoch": 2}, OPTIONS)
    assert run.load(OPTIONS)["epoch"] == 1
    assert not list(run.folder.glob("*.tmp"))


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


def test_options_come_back_with_those_of_the_command_as_asked(run):
    assert run.read_options(OPTIONS) is None
    run.write_options(replace(OPTIONS, rate=0.25), CPU)
    asked = replace(OPTIONS, data_dir=Path("there"))
    assert run.read_options(asked) == replace(asked, rate=0.25)
    with pytest.raises(UserError, match="holds a run of q1, not q2"):
        run.read_options(OtherOptions())


def test_run_that_is_taken_up_again_has_its_own_options_and_records_a_greater_length(run, capsys):
    assert run.resumed(OPTIONS, {}, CPU, lengthen=True) is None
    assert capsys.readouterr().out == f"nothing to resume in {run.folder}: a new run starts\n"
    assert run.resumed(OPTIONS, {}, CPU, lengthen=False) is None
    assert capsys.readouterr().out == ""
    recorded = replace(OPTIONS, rate=0.25)
    run.write_options(recorded, CPU)
    written = (run.folder / "options.json").stat().st_mtime_ns
    assert run.resumed(OPTIONS, {"epochs": 2}, CPU, lengthen=True) == recorded
    with pytest.raises(UserError, match="has --epochs 2, not 5"):
        run.resumed(OPTIONS, {"epochs": 5}, CPU, lengthen=False)
    assert (run.folder / "options.json").stat().st_mtime_ns == written
    assert run.resumed(OPTIONS, {"epochs": 5}, CPU, lengthen=True) == run.read_options(OPTIONS) == replace(recorded, epochs=5)


def test_record_says_what_its_numbers_may_depend_on(run):
    run.write_options(OPTIONS, CPU)
    versions = json.loads((run.folder / "options.json").read_text())["versions"]
    names = ["python", "torch", "numpy", "platform", "device", "gpu", "cuda", "cudnn", "tf32", "threads"]
    assert list(versions) == names
    assert (versions["torch"], versions["device"], versions["gpu"]) == (torch.__version__, "cpu", None)


DAMAGED = {
    "empty": lambda record: "",
    "a list": lambda record: "[]",
    "nothing in it": lambda record: "{}",
    "cut": lambda record: json.dumps(record)[:-10],
    "nested deeply": lambda record: "[" * 100_000,
    "nested in an option": lambda record: json.dumps({**record, "rate": eval("[" * 80 + "]" * 80)}),
    "a number of 5,000 digits": lambda record: json.dumps({**record, "seed": "x"}).replace('"x"', "9" * 5000),
    "a seed of 400 digits": lambda record: json.dumps({**record, "seed": 10**400}),
    "a rate of 400 digits": lambda record: json.dumps({**record, "rate": 10**400}),
    "a negative seed": lambda record: json.dumps({**record, "seed": -1}),
    "no epochs": lambda record: json.dumps({**record, "epochs": 0}),
    "true for a number": lambda record: json.dumps({**record, "epochs": True}),
    "a float for an integer": lambda record: json.dumps({**record, "epochs": 2.0}),
    "an integer for a float": lambda record: json.dumps({**record, "rate": 1}),
    "a text for a number": lambda record: json.dumps({**record, "epochs": "2"}),
    "NaN": lambda record: json.dumps({**record, "rate": float("nan")}),
    "no such preset": lambda record: json.dumps({**record, "preset": "best"}),
    "half a character": lambda record: json.dumps({**record, "preset": "\ud800"}),
    "an option too many": lambda record: json.dumps({**record, "\ud800": 1}),
    "an option too few": lambda record: json.dumps({name: record[name] for name in record if name != "rate"}),
    "null": lambda record: json.dumps({**record, "rate": None}),
    "another kind of question": lambda record: json.dumps({**record, "question": ["q1"] * 1000}),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_options_that_are_damaged_are_one_line(run, damage, capsys):
    run.write_options(OPTIONS, CPU)
    record = json.loads((run.folder / "options.json").read_text())
    (run.folder / "options.json").write_text(damage(record), encoding="utf-8", errors="surrogatepass")
    assert command(lambda argv: run.read_options(OPTIONS)) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert len(err) < 400


def test_checkpoint_that_is_read_otherwise_than_it_was_written_is_one_line(run):
    with (
        pytest.raises(UserError, match=r"checkpoint\.pt is damaged or of another version \('epoch'\); delete "),
        run.understood(),
    ):
        {}["epoch"]


def test_runs_beside_are_those_of_the_same_question_that_agree(tmp_path):
    """The run itself first, though another one comes before it by name."""
    for name, options in (("a", OPTIONS), ("b", replace(OPTIONS, epochs=9)), ("c", replace(OPTIONS, rate=0.2))):
        with RunDirectory(tmp_path / name) as run:
            run.write_options(options, CPU)
    with RunDirectory(tmp_path / "other") as run:
        run.write_options(OtherOptions(), CPU)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "options.json").write_text("{")
    found = [(other.folder.name, options.epochs) for other, options in RunDirectory(tmp_path / "b").beside(OPTIONS, "rate")]
    assert found == [("b", 9), ("a", 2)]


def test_second_process_is_turned_away(run):
    with pytest.raises(UserError, match="another process is at work"), RunDirectory(run.folder):
        pass


def test_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"), RunDirectory(tmp_path / "file" / "q1"):
        pass


def fill(run, seed):
    """What a run leaves."""
    run.write_options(replace(OPTIONS, seed=seed), CPU)
    run.log({"epoch": seed})
    run.save({}, replace(OPTIONS, seed=seed))
    (run.figures / "elbo.png").write_bytes(b"picture")


def is_whole(folder, seed):
    old = RunDirectory(folder)
    whole = old.read_options(OPTIONS).seed == seed and old.read_log() == [{"epoch": seed}]
    return whole and old.load(replace(OPTIONS, seed=seed)) is not None and (old.figures / "elbo.png").exists()


def test_earlier_run_is_set_aside_whole_and_nothing_else_is(run, capsys):
    (run.folder / "notes.txt").write_text("mine")
    (run.folder / "theirs").mkdir()
    run.begin(OPTIONS, CPU)  # over nothing
    assert not list(run.folder.glob("previous-*"))
    for number in (1, 2):
        fill(run, number)
        run.begin(OPTIONS, CPU)
        assert capsys.readouterr().out == f"moved the earlier run to {run.folder / f'previous-{number}'}\n"
        assert run.load(OPTIONS) is None
        assert run.read_log() == []
        assert list(run.figures.iterdir()) == []
        assert is_whole(run.folder / f"previous-{number}", number)
    assert (run.folder / "notes.txt").read_text() == "mine"
    assert (run.folder / "theirs").exists()


@pytest.mark.parametrize("moves", range(5))
def test_moving_aside_that_is_killed_is_finished_by_the_next_start(tmp_path, monkeypatch, moves):
    """Killed after so many renames: the first start that follows finds the run whole in previous-1."""
    rename, done = Path.rename, []

    def killed(path, target):
        if len(done) == moves:
            raise KeyboardInterrupt
        rename(path, target)
        done.append(path)

    with RunDirectory(tmp_path / "run") as run:
        fill(run, 1)
        monkeypatch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            run.begin(OPTIONS, CPU)
    monkeypatch.undo()
    with RunDirectory(tmp_path / "run") as run:
        assert run.read_options(OPTIONS) is None  # nothing to resume
        assert is_whole(run.folder / "previous-1", 1)
        assert not (run.folder / MOVING).exists()
        assert not (run.folder / "previous-2").exists()


@pytest.mark.parametrize("name", ["options.json", "log.jsonl", "checkpoint.pt"])
def test_folder_with_a_foreign_file_of_such_a_name_is_left_alone(run, name):
    (run.folder / name).write_text("{}")
    (run.folder / "other").write_text("other")
    with pytest.raises(UserError, match=rf"{name} is in the way.*name another --run-dir"):
        run.begin(OPTIONS, CPU)
    assert (run.folder / name).read_text() == "{}"
    assert not list(run.folder.glob("previous*"))
