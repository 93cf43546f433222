"""The command of question 3 with small networks on a small data file."""

import pytest

TINY = {"--h-dim": 2, "--z-dim": 5, "--batch-size": 4, "--generator-steps": 8, "--log-every": 2}


@pytest.fixture
def q3(data_file, monkeypatch, capsys):
    """Run `python q3_solution.py ...` in this process, new runs with TINY; returns exit code, output and errors."""
    from experiments.wgan import train
    from experiments.wgan.evaluate import main

    monkeypatch.setattr(train, "VIEW_IMAGES", 50)

    def run(*arguments):
        tiny = [] if {"evaluate", "--resume"} & {*arguments} else [part for option in TINY.items() for part in option]
        code = main([*map(str, ("--data-file", data_file, "--samples", 100, *tiny, *arguments))])
        return code, *capsys.readouterr()

    return run
