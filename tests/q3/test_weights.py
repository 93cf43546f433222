"""A file of weights that is damaged, foreign or no longer finite is one line, without colours, and runs no code."""

import os

import pytest
import torch

from experiments.harness.options import UserError
from experiments.wgan.weights import load_generator
from model import Generator

STATE = Generator(3, 2).state_dict()
NAN = {**STATE, "decoder.1.running_var": torch.tensor([1.0] * 7 + [torch.nan])}
FAULTS = {
    "a whole network": (Generator(3, 2), r"save `network.state_dict\(\)`"),
    "prefixed names": ({f"module.{name}": value for name, value in STATE.items()}, "module.decoder.0.weight"),
    "nested": ({"model": STATE}, "no 'decoder.0.weight' but model"),
    "not finite": (NAN, r"decoder\.1\.running_var is not finite"),
    "a foreign origin": ({"generator": STATE, "origin": 3}, "no such generator"),
    "an origin in colour": ({"generator": STATE, "origin": {"dataset": "\x1b[31m"}}, "cannot be printed"),
    "one too few": ({name: STATE[name] for name in [*STATE][:-1]}, "Missing key"),
}


@pytest.mark.parametrize(("content", "message"), FAULTS.values(), ids=FAULTS)
def test_file_that_holds_no_generator_is_one_line(tmp_path, content, message):
    torch.save(content, tmp_path / "generator.pt")
    with pytest.raises(UserError, match=message) as error:
        load_generator(tmp_path / "generator.pt")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("kind", ["pipe", "sparse"])
def test_what_cannot_be_read_whole_is_not_begun(tmp_path, kind):
    path = tmp_path / "generator.pt"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        with open(path, "wb") as file:
            file.truncate(2**42)
    with pytest.raises(UserError, match=r"not a regular file|more than the memory"):
        load_generator(path)
