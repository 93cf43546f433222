"""A file of weights that is missing, damaged, foreign or not finite is one line, and no code in it is executed."""

import os
import pickle

import pytest
import torch

from experiments.harness.files import UserError
from experiments.wgan import weights
from experiments.wgan.classifier import DigitClassifier, load_classifier
from model import Generator, ImageCritic


class Malicious:
    """Makes a folder when unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def saved(content):
    return lambda path: torch.save(content, path)


STATE, MALICIOUS = Generator(3, 2).state_dict(), pickle.dumps({"generator": Malicious()})
FAULTS = {
    "missing": (lambda path: None, "is missing"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged or of another form"),
    "malicious": (lambda path: path.write_bytes(MALICIOUS), "is damaged or of another form"),
    "malicious in torch's form": (saved({"generator": Malicious()}), "is damaged or of another form"),
    "a list": (saved([1, 2]), "is damaged or of another form"),
    "a critic": (saved(ImageCritic(3).state_dict()), "decoder.0.weight"),
    "one too few": (saved({name: STATE[name] for name in [*STATE][:-1]}), "Missing key"),
    "another size": (saved({**STATE, "decoder.3.weight": torch.zeros(1, 2, 3)}), "size mismatch"),
    "not finite": (saved({**STATE, "decoder.1.running_var": torch.tensor([1.0] * 7 + [torch.nan])}), "is not finite"),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("write", "message"), FAULTS.values(), ids=FAULTS)
def test_what_is_no_generator_is_one_line_and_not_executed(tmp_path, monkeypatch, write, message):
    monkeypatch.chdir(tmp_path)
    write(path := tmp_path / "theirs.pt")
    with pytest.raises(UserError, match=rf"theirs\.pt .*{message}.*; train a generator, or name its weights") as error:
        weights.load_generator(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_the_code_would_have_been_executed_by_a_plain_load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(MALICIOUS)
    assert (tmp_path / "executed").exists()


def test_weights_come_back_in_16_bits_with_their_origin_and_those_of_the_handouts_class_too(tmp_path):
    torch.manual_seed(0)
    network, path = Generator(7, 3), tmp_path / "generator.pt"
    weights.save(path, {"generator": network}, {"dataset": "some"})
    generator, origin = weights.load_generator(path)
    assert (generator.z_dim, origin) == (7, {"dataset": "some"})
    torch.testing.assert_close(generator.state_dict(), network.state_dict(), rtol=2**-11, atol=1e-7)
    torch.save(network.state_dict(), path)
    generator, origin = weights.load_generator(path)
    torch.testing.assert_close(generator.state_dict(), network.state_dict(), rtol=0, atol=0)
    assert origin == {}


def test_a_classifier_is_read_without_a_random_number_and_a_file_of_none_is_one_line(tmp_path):
    state = torch.get_rng_state()
    assert isinstance(load_classifier(weights.GUIDE)[0], DigitClassifier)
    assert torch.equal(torch.get_rng_state(), state)  # of training
    for path in (weights.BUNDLED_GENERATOR, tmp_path / "none.pt"):
        with pytest.raises(UserError, match=r"python -m experiments\.wgan\.classifier --seed 0 makes it anew$"):
            load_classifier(path)
