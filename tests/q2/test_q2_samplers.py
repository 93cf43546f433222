"""The toy distributions: what they draw, repeatable by a seed, and usable by the handout's programs."""

import random

import numpy as np
import pytest
import torch

from model import Critic
from q2_samplers import distribution1, gaussian
from q2_solution import lp_reg, vf_squared_hellinger

USES = {  # of a batch, as found in programs written for the handout's sampler
    "torch.from_numpy(batch)": torch.from_numpy,
    "torch.from_numpy(batch).float()": lambda batch: torch.from_numpy(batch).float(),
    "torch.from_numpy(batch).type(torch.FloatTensor)": lambda batch: torch.from_numpy(batch).type(torch.FloatTensor),
    "batch.astype": lambda batch: torch.tensor(batch.astype("float32")),
    "torch.Tensor(batch)": torch.Tensor,
    "torch.tensor(batch, dtype=torch.float32)": lambda batch: torch.tensor(batch, dtype=torch.float32),
    "torch.as_tensor(batch)": torch.as_tensor,
    "a column": lambda batch: torch.from_numpy(np.stack([batch[:, 0], batch[:, 1]], axis=1)),
}


def check_uses(sampler):
    critic, stream = Critic(2), iter(sampler(0, 8))
    for use in USES.values():
        x, y = use(next(stream)), use(next(sampler(np.float64(0.3), batch_size=8)))
        assert (x.dtype, x.shape) == (torch.float32, (8, 2))
        assert (vf_squared_hellinger(x, y, critic) + lp_reg(x, y, critic)).isfinite()


def check_seed(sampler):
    torch.manual_seed(0)
    stream = sampler(0.5, 16)
    first, second = next(stream), next(stream)
    assert not np.array_equal(first, second)
    torch.manual_seed(0)
    assert np.array_equal(first, next(sampler(0.5, 16)))
    assert np.array_equal(first, next(sampler(0.5, 16, torch.Generator().manual_seed(0))))
    kept = first.copy()
    next(stream)
    assert np.array_equal(first, kept)  # a batch is not overwritten by the next


def check_segment(sampler):
    batch = next(sampler(0.7, 10_000, torch.Generator().manual_seed(0)))
    assert (batch[:, 0] == np.float32(0.7)).all()
    assert batch[:, 1].min() >= 0 and batch[:, 1].max() <= 1
    assert abs(batch[:, 1].mean() - 0.5) <= 5 * (1 / 12 / 10_000) ** 0.5
    assert abs(batch[:, 1].var() - 1 / 12) <= 5 * (1 / 180 / 10_000) ** 0.5
    assert len(next(sampler(0))) == 512


def check_gaussian(sampler):
    points = next(sampler(0.7, 10_000, torch.Generator().manual_seed(0)))
    assert (abs(points.mean(0) - [0.7, 0]) <= 5 / 100).all()
    assert (abs(points.var(0) - 1) <= 5 * (2 / 10_000) ** 0.5).all()
    assert len(next(sampler(0))) == 512


CHECKS = [
    (distribution1, check_uses),
    (distribution1, check_seed),
    (distribution1, check_segment),
    (gaussian, check_uses),
    (gaussian, check_seed),
    (gaussian, check_gaussian),
]


@pytest.mark.parametrize(("sampler", "check"), CHECKS)
def test_sampler(sampler, check):
    check(sampler)


def mapped(change, sampler=distribution1):
    return lambda *arguments, **options: map(change, sampler(*arguments, **options))


def unseeded(x, batch_size=512, generator=None):
    while True:
        yield np.array([(x, random.uniform(0, 1)) for _ in range(batch_size)], dtype=np.float32)


def overwritten(x, batch_size=512, generator=None):
    batch = np.empty((batch_size, 2), dtype=np.float32)
    while True:
        batch[:] = next(distribution1(x, batch_size, generator))
        yield batch


def bell_shaped(x, batch_size=512, generator=None):
    for batch in distribution1(x, batch_size, generator):
        batch[:, 1] = (batch[:, 1] + next(distribution1(x, batch_size, generator))[:, 1]) / 2
        yield batch


WRONG = [
    (mapped(torch.from_numpy), check_uses),
    (mapped(lambda batch: batch.astype("float64")), check_uses),
    (unseeded, check_seed),
    (overwritten, check_seed),
    (mapped(lambda batch: batch[:, ::-1].copy()), check_segment),
    (bell_shaped, check_segment),
    (mapped(lambda batch: 2 * batch - batch.mean(0), gaussian), check_gaussian),  # of twice the deviation
]


@pytest.mark.parametrize(("variant", "check"), WRONG)
def test_wrong_sampler_is_rejected(variant, check):
    with pytest.raises((AssertionError, TypeError)):
        check(variant)
