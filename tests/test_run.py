"""The run directory: what is written is whole, what is read is checked, one process at a time."""

import argparse
import errno
import os
import pickle

import pytest
import torch

from experiments.run import (
    Parser,
    RunDirectory,
    UserError,
    check_options,
    choose_device,
    command,
    fraction,
    new_options,
    positive_integer,
    positive_number,
    whole_number,
)

OPTIONS = {"question": "q1", "epochs": 2}
PRESETS = {"tuned": {"epochs": 20, "rate": 2e-3}, "handout": {"epochs": 20, "rate": 3e-4}}


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path / "runs" / "q1") as run:
        yield run


def test_options_come_from_the_preset_and_the_command_line():
    assert new_options({}, PRESETS) == {"preset": "tuned", "seed": 0, "epochs": 20, "rate": 2e-3}
    given = {"preset": "handout", "seed": 3, "epochs": 5}
    assert new_options(given, PRESETS) == {"preset": "handout", "seed": 3, "epochs": 5, "rate": 3e-4}


def test_contradicted_options_are_named(tmp_path):
    check_options({"epochs": 2}, OPTIONS, tmp_path)
    with pytest.raises(UserError, match=r"has --epochs 2, not 3; leave it out"):
        check_options({"epochs": 3}, OPTIONS, tmp_path)


def test_command_tells_errors_in_one_line(capsys):
    def fail(argv):
        raise UserError(f"{argv[0]} is missing; look for it")

    def interrupt(argv):
        raise KeyboardInterrupt

    assert command(fail, ["x"]) == 2
    assert capsys.readouterr().err == "error: x is missing; look for it\n"
    assert command(interrupt) == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--seed", "-1"], ["--seed", "1.5"], ["--preset", "best"], ["--unknown"], ["--seed", "9" * 5000]]
)
def test_bad_command_lines_are_user_errors(arguments):
    with pytest.raises(UserError, match="--help lists the options"):
        Parser("test", "runs/test", PRESETS).parse_args(arguments)


@pytest.mark.parametrize(
    ("convert", "good", "good_values", "bad"),
    [
        (whole_number, ["0", "12", str(2**63 - 1)], [0, 12, 2**63 - 1], ["-1", "", "1.0", "1e3", "²", "nan", str(2**63)]),
        (positive_integer, ["1", "007"], [1, 7], ["0", "-1", "x"]),
        (fraction, ["0", "0.999"], [0.0, 0.999], ["1", "-0.1", "nan", "x"]),
        (positive_number, ["1e-9", "3", ".5"], [1e-9, 3.0, 0.5], ["0", "-1", "inf", "nan", "x", "1e999", ""]),
    ],
)
def test_option_values(convert, good, good_values, bad):
    assert [convert(text) for text in good] == good_values
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError):
            convert(text)


def test_device():
    assert choose_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(UserError, match="use --device cpu"):
            choose_device("cuda")


def test_checkpoint_comes_back(run):
    assert run.load(OPTIONS) is None
    run.save({"options": OPTIONS, "weights": torch.arange(3)})
    assert run.load(OPTIONS)["weights"].tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="belongs to another run"):
        run.load({**OPTIONS, "epochs": 3})


def test_checkpoint_cut_anywhere_is_one_clear_error(run):
    run.save({"options": OPTIONS, "weights": torch.arange(100)})
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
    save({"options": OPTIONS, "model": Malicious()}, run.checkpoint)
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        run.load(OPTIONS)
    assert not (run.folder / "executed").exists()


def test_write_that_fails_keeps_what_was_there(run, monkeypatch):
    run.save({"options": OPTIONS, "epoch": 1})

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
            run.save({"options": OPTIONS, "epoch": 2})
    assert run.load(OPTIONS)["epoch"] == 1
    assert not list(run.folder.glob("*.tmp"))


def test_resuming_cuts_the_log_back_to_the_checkpoint(run):
    for epoch in (1, 2):
        run.log({"epoch": epoch})
        run.save({"options": OPTIONS, "epoch": epoch})
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


def test_options_are_checked_when_read(run):
    assert run.read_options("q1", {}) is None
    run.write_options(OPTIONS, torch.device("cpu"))
    assert run.read_options("q1", {}) == OPTIONS
    with pytest.raises(UserError, match="holds a run of q1, not q2"):
        run.read_options("q2", {})
    for content in ("", "[]", "{}", '{"question"'):
        (run.folder / "options.json").write_text(content)
        with pytest.raises(UserError, match="is damaged"):
            run.read_options("q1", {})
    run.write_options(OPTIONS, torch.device("cpu"))
    for kinds in ({"no such option": int}, {"question": int}):
        with pytest.raises(UserError, match="no proper"):
            run.read_options("q1", kinds)


def test_second_process_is_turned_away(run):
    with pytest.raises(UserError, match="another process is at work"), RunDirectory(run.folder):
        pass


def test_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"), RunDirectory(tmp_path / "file" / "q1"):
        pass


def test_earlier_run_is_set_aside_whole(run):
    run.set_aside()
    for number in (1, 2):
        run.write_options({**OPTIONS, "number": number}, torch.device("cpu"))
        run.log({"epoch": 1})
        run.save({"options": OPTIONS})
        (run.figures / "elbo.png").write_bytes(b"picture")
        run.set_aside()
        assert run.read_options("q1", {}) is None
        assert run.read_log() == []
        assert list(run.figures.iterdir()) == []
        attic = RunDirectory(run.folder / f"previous-{number}")
        assert attic.read_options("q1", {})["number"] == number
        assert attic.load(OPTIONS) is not None
        assert (attic.figures / "elbo.png").exists()


@pytest.mark.parametrize("shape", [(10**18,), (10**10, 10**10)])
def test_sizes_that_no_memory_holds_are_one_line(capsys, shape):
    assert command(lambda argv: torch.empty(shape)) == 2
    assert capsys.readouterr().err == "error: the memory does not suffice for these sizes; name smaller ones\n"


def test_other_runtime_errors_are_not_hidden():
    with pytest.raises(RuntimeError, match=r"size mismatch|shapes cannot be multiplied"):
        command(lambda argv: torch.ones(2, 3) @ torch.ones(2, 3))
