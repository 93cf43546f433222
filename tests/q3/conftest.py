"""The command of question 3 with small networks on a small data file."""

import pytest
import torch

TINY = "--h-dim 2 --z-dim 5 --batch-size 4 --generator-steps 8 --log-every 2 --samples 100".split()


@pytest.fixture
def q3(data_file, capsys):
    """Run `python q3_solution.py ...` in this process, in new runs with TINY; returns exit code, output and errors."""
    from experiments.wgan.evaluate import main

    def run(*arguments):
        tiny = ["--samples", "100"] if {"evaluate", "--resume"} & {*arguments} else TINY
        code = main([*tiny, "--data-file", str(data_file), *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def learnt():
    """The tensors of a run's checkpoint that training has changed, by path; `equal` ones are the same bits."""

    def tensors(state):
        items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
        parts = ((f"/{key}{path}", tensor) for key, value in items for path, tensor in tensors(value))
        return [("", state)] if isinstance(state, torch.Tensor) else [*parts]

    def read(folder):
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        return dict(tensors({name: state[name] for name in ("learner", "random_state")}))

    return read
