"""A recorded step: what its warm-up changes is put back in place."""

import copy

import pytest
import torch

from experiments.cuda_graph import captured, put_back


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
        return loss.detach()

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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_captured_step_is_the_eager_one():
    losses = []
    for capture in (False, True):
        toy = Toy("cuda")
        step = captured(toy.step, toy.state_dict, torch.device("cuda")) if capture else toy.step
        losses.append(torch.stack([step().clone() for _ in range(5)]))
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-5)
