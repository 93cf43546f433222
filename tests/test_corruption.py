"""A run's files cut and changed everywhere: refused in a line, or read to the bit. Once for what all runs share."""

import dataclasses
import json
import os
import random

import pytest
import torch

from experiments import divergences, training, vae, wgan
from experiments.options import Options, UserError, option
from experiments.run import RunDirectory

CPU = torch.device("cpu")
PRESETS = {"q1": vae.PRESETS["tuned"], "q2": divergences.PRESETS["segments"]["tuned"], "q3": wgan.PRESETS["tuned"]}


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
    return [*learner.network.state_dict().values(), *learner.optimizer.state_dict()["state"][0].values()]


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


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_options_damaged_anywhere_are_refused(tmp_path, monkeypatch, preset):
    """Cut anywhere; each name and each type changed; bytes changed, unless that is the same to JSON."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    run, path, dice = RunDirectory(tmp_path), tmp_path / "options.json", random.Random(0)
    run.write_options(preset, CPU)
    content, expected = path.read_bytes(), run.read_options(preset)
    record = json.loads(content)
    assert expected == preset
    damaged = [content[:length] for length in range(0, len(content) - 2, 7)]
    for name in record.keys() - {"versions"}:
        damaged += [json.dumps({**record, name: [record[name]]}).encode(), content.replace(f'"{name}"'.encode(), b'"other"')]
    for place in range(0, content.index(b'"versions"'), 2):
        byte = bytes([content[place] ^ dice.randrange(1, 256)])
        damaged.append(content[:place] + byte + content[place + 1 :])
    refused = 0
    for wrong in damaged:
        path.write_bytes(wrong)
        try:
            found = run.read_options(preset)
        except UserError as error:
            assert str(error).isprintable()
            refused += 1
        else:  # another digit of a number, or white space
            assert json.loads(wrong).keys() == record.keys()
            assert found == preset or json.loads(wrong) != record
    assert refused > 0.8 * len(damaged)
