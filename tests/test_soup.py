"""The average of generators: means of weights, statistics of its own, and a file that everything else reads."""

import runpy
import sys

import pytest
import torch

from experiments import soup, weights
from model import Generator, ImageCritic


def generators(n, z_dim=5, h_dim=2):
    """Generators whose running statistics are far from those that a new one has."""
    networks = [Generator(z_dim, h_dim) for _ in range(n)]
    for network in networks:
        for name, values in network.named_buffers():
            if not name.endswith("num_batches_tracked"):
                values.fill_(7.0)
    return networks


def first_layer(generator):
    """Its exact mean and variance of each channel, at latents from the prior: the layer is linear in them."""
    weight = generator.decoder[0].weight.detach().double()  # (z_dim, channels, 4, 4)
    return generator.decoder[0].bias.detach().double(), weight.square().sum(0).mean((1, 2))


def test_weights_are_means_and_statistics_those_of_the_mean():
    torch.manual_seed(0)
    networks = generators(3)
    mean = soup.average(networks)
    for name, values in mean.named_parameters():
        expected = sum(dict(network.named_parameters())[name].double() for network in networks) / 3
        torch.testing.assert_close(values.double(), expected, rtol=1e-6, atol=1e-9)
    centre, variance = first_layer(mean)
    error = (variance / (soup.BATCHES * soup.BATCH)).sqrt()  # standard, if a draw's sixteen places were all alike
    assert ((mean.decoder[1].running_mean - centre).abs() < 5 * error).all()
    assert ((mean.decoder[1].running_var / variance - 1).abs() < 5 * (2 / (soup.BATCHES * soup.BATCH)) ** 0.5).all()
    assert not mean.training


def test_mean_of_the_statistics_would_be_wrong():
    """The mean of a generator and of its mirror image varies with nothing; the mean of their variances is theirs."""
    torch.manual_seed(0)
    one, other = generators(2)
    with torch.no_grad():
        other.decoder[0].weight.copy_(-one.decoder[0].weight)
    assert soup.average([one, other]).decoder[1].running_var.max() < 1e-12
    assert first_layer(one)[1].min() > 1e-3


def write(path, generator, **origin):
    weights.save(path, {"generator": generator, "critic": ImageCritic(generator.h_dim)}, origin)
    return path


def test_command_writes_a_file_to_draw_and_to_train_from(tmp_path, capsys):
    torch.manual_seed(0)
    one, other = generators(2)
    first = write(tmp_path / "first.pt", one, dataset="SVHN", seed=0, whiten=True)
    second = write(tmp_path / "second.pt", other, dataset="SVHN", seed=1, whiten=False)
    out = tmp_path / "new" / "soup.pt"
    assert soup.command(soup._main, [str(first), str(second), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    generator, origin = weights.load_generator(out)
    assert origin == {"dataset": "SVHN", "average_of": [str(first), str(second)], "whiten": True}  # the norm of its critic
    expected = soup.average([one, other]).state_dict()
    torch.testing.assert_close(dict(generator.state_dict()), dict(expected), rtol=1e-3, atol=1e-4)
    critic = weights.load(first)["critic"]
    torch.testing.assert_close(weights.load(out)["critic"], {name: value.half() for name, value in critic.items()})


@pytest.mark.parametrize("sizes", [(6, 2), (5, 3)])
def test_generators_of_other_sizes_are_one_line(tmp_path, capsys, sizes):
    first = write(tmp_path / "first.pt", generators(1)[0])
    second = write(tmp_path / "second.pt", generators(1, *sizes)[0])
    assert soup.command(soup._main, [str(first), str(second), "--out", str(tmp_path / "soup.pt")]) == 2
    assert "second.pt is of other sizes" in capsys.readouterr().err
    assert not (tmp_path / "soup.pt").exists()


@pytest.mark.filterwarnings("ignore:'.*' found in sys.modules")
def test_interrupted_it_speaks_of_no_option_that_it_lacks(monkeypatch, capsys):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "load_generator", interrupted)
    monkeypatch.setattr(sys, "argv", ["experiments.soup", "a.pt", "--out", "b.pt"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("experiments.soup", run_name="__main__", alter_sys=True)
    assert (stop.value.code, capsys.readouterr().err) == (130, "interrupted\n")
