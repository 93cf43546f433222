"""A recorded step: used if it does what the step does, and whatever was tried before is put back in place."""

import copy

import pytest
import torch

from experiments.cuda_graph import alike, cuda_graph, put_back, recorded


class Toy:
    """A network and its Adam; a step on noise that is drawn anew."""

    def __init__(self, device="cpu"):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(4, 1).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), fused=True, capturable=device == "cuda")
        self.device = device

    def step(self):
        loss = self.network(torch.randn(8, 4, device=self.device)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def state_dict(self):
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}


def tensors(state):
    """Every tensor of a nested dictionary, by path."""
    if isinstance(state, torch.Tensor):
        return {"": state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    return {f"/{key}{path}": tensor for key, value in items for path, tensor in tensors(value).items()}


@pytest.mark.parametrize("steps_before", [0, 2])
def test_steps_are_put_back_in_place_as_if_they_had_not_been(steps_before):
    states = []
    for detour in (False, True):
        toy = Toy()
        for _ in range(steps_before):
            toy.step()
        if detour:
            before, randomness = copy.deepcopy(toy.state_dict()), torch.get_rng_state()
            toy.step()
            addresses = {path: tensor.data_ptr() for path, tensor in tensors(toy.state_dict()).items()}
            toy.step()
            put_back(toy.state_dict(), before)
            torch.set_rng_state(randomness)
            assert addresses == {path: tensor.data_ptr() for path, tensor in tensors(toy.state_dict()).items()}
        toy.step()
        states.append(tensors(toy.state_dict()))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][path], states[1][path]) for path in states[0])


def faithful(step):
    """Stands for a recording: it runs the step a few times, as recording does, and replays it."""
    for _ in range(3):
        step()
    return step


def that_raises(step):
    step()
    raise RuntimeError("operation not permitted when stream is capturing\nand more lines")


def without_the_noise(step):
    """A recording that repeats the noise it was recorded with."""
    state = torch.get_rng_state()

    def replay():
        torch.set_rng_state(state)
        torch.rand(1)
        return step()

    return replay


def that_stands_still(step):
    """A recording on copies of the weights: what is measured is right, but nothing moves."""
    measured = step()
    return lambda: measured


@pytest.mark.parametrize("record", [faithful, that_raises, without_the_noise, that_stands_still])
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_recording_is_used_if_it_does_the_same_and_leaves_no_trace(record, steps_before, capsys):
    """Whatever becomes of the recording, training ends in the same bits as without one."""
    ends = []
    for recording in (False, True):
        toy = Toy()
        for _ in range(steps_before):
            toy.step()
        step = recorded(toy.step, toy.state_dict, torch.device("cpu"), record) if recording else toy.step
        losses = [step()["loss"].clone() for _ in range(3)]
        ends.append([*losses, torch.get_rng_state(), *tensors(toy.state_dict()).values()])
    assert all(map(torch.equal, *ends))
    message = capsys.readouterr().err
    assert message.count("\n") == (record is not faithful)
    assert message == "" or "going on without" in message


@pytest.mark.parametrize("size", [4, 10_000])
def test_alike_allows_what_adams_first_steps_make_of_rounding_and_no_more(size):
    """A twentieth of the whole, or a thousandth of a number on average; whatever the size."""
    zero, one = torch.zeros(size), torch.ones(size)
    assert alike(zero, zero + 9e-4) and not alike(zero, zero + 2e-3)
    assert alike(one, one + 0.05) and not alike(one, one + 0.06)
    assert not alike(one, one * torch.nan)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_graph_replays_the_step(capsys):
    ends = []
    for recording in (False, True):
        toy = Toy("cuda")
        toy.step()
        device = torch.device("cuda")
        step = recorded(toy.step, toy.state_dict, device, cuda_graph) if recording else toy.step
        losses = [step()["loss"].clone() for _ in range(5)]
        ends.append([*losses, torch.cuda.get_rng_state().float(), *tensors(toy.state_dict()).values()])
    for eager, replayed in zip(*ends):
        torch.testing.assert_close(replayed, eager, rtol=1e-3, atol=1e-5)
    assert capsys.readouterr().err == ""  # it was recorded
