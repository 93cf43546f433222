"""Programs as students wrote them for the handout's modules run once the import lines name ours."""

import hashlib

import numpy as np
import pytest
import scipy.io
import torch

import q1_solution
import q2_samplers
import q3_samplers

# What a program's owner writes in place of the handout's lines.
IMPORTS = {
    "import q2_sampler\n": "import q2_samplers as q2_sampler\n",
    "import q2_model\n": "import model as q2_model\n",
    "from q3_sampler import svhn_sampler\n": "from q3_samplers import svhn_sampler\n",
    "from q3_model import Critic, Generator\n": "from model import ImageCritic as Critic, Generator\n",
}

AUTOENCODER = """
import torch
from torch.utils.data import DataLoader
from model import VAE
from q1_samplers import binarized_mnist
from q1_solution import *

digits = binarized_mnist(data_root)
train = DataLoader(digits.train.view(-1, 1, 28, 28), batch_size=64, shuffle=True)
test = DataLoader(digits.test.view(-1, 1, 28, 28), batch_size=64)
vae = VAE(10)
optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)

def loss(x, z_mean, z_logvar, x_mean):
    zero = torch.zeros(z_mean.size())
    kl = kl_gaussian_gaussian_analytic(z_mean, z_logvar, zero, zero).mean()
    estimate = kl_gaussian_gaussian_mc(z_mean, z_logvar, zero, zero, num_samples=10).mean()
    assert abs(estimate - kl) < 0.5 * kl + 1
    return kl - log_likelihood_bernoulli(torch.sigmoid(x_mean), x).mean()

losses = []
for epoch in range(2):
    for x in train:
        optimizer.zero_grad()
        value = loss(x, *vae(x))
        value.backward()
        optimizer.step()
        losses.append(value.item())

total, K = 0.0, 20
with torch.no_grad():
    for x in test:
        M = x.size(0)
        z_mean, z_logvar = vae.encode(x)
        z = z_mean[:, None, :] + torch.exp(z_logvar / 2)[:, None, :] * torch.randn(M, K, z_mean.size(1))
        flat = z.view(M * K, -1)
        x_flat = x[:, None].repeat(1, K, 1, 1, 1).reshape(M * K, -1)
        mean, logvar = (t[:, None, :].expand_as(z).reshape(M * K, -1) for t in (z_mean, z_logvar))
        zeros = torch.zeros(mean.size())
        log_p_x_z = log_likelihood_bernoulli(torch.sigmoid(vae.decode(flat)), x_flat).view(M, K)
        log_q = log_likelihood_normal(mean, logvar, flat).view(M, K)
        log_p_z = log_likelihood_normal(zeros, zeros, flat).view(M, K)
        total += log_mean_exp(log_p_x_z + log_p_z - log_q).sum()
log_p = (total / len(test.dataset)).item()
"""

DIVERGENCES = """
import numpy as np
import torch
import q2_sampler
import q2_model
from q2_solution import lp_reg, vf_squared_hellinger, vf_wasserstein_distance

estimates = []
for theta in np.arange(0, 1.1, 0.5):
    for objective in (vf_squared_hellinger, vf_wasserstein_distance):
        critic = q2_model.Critic(2)
        optim = torch.optim.SGD(critic.parameters(), lr=1e-2)
        sampler1 = iter(q2_sampler.distribution1(0, 64))
        sampler2 = iter(q2_sampler.distribution1(theta, 64))
        for step in range(20):
            x, y = torch.from_numpy(next(sampler1)).float(), torch.Tensor(next(sampler2))
            critic.zero_grad()
            (lp_reg(x, y, critic) - objective(x, y, critic)).backward()
            optim.step()
        x, y = torch.tensor(next(sampler1).astype("float32")), torch.as_tensor(next(sampler2), dtype=torch.float32)
        estimates.append(objective(x, y, critic).item())
"""

WASSERSTEIN_GAN = """
import torch
from q3_sampler import svhn_sampler
from q3_model import Critic, Generator
from q2_solution import lp_reg, vf_wasserstein_distance

batch_size, z_dim = 64, 10
train_loader, valid_loader, test_loader = svhn_sampler(data_root, batch_size, 50, valid_split=0.2)
generator, critic = Generator(z_dim=z_dim, h_dim=4), Critic(h_dim=4)
optim_critic = torch.optim.Adam(critic.parameters(), lr=1e-4, betas=(0.5, 0.9))
optim_generator = torch.optim.Adam(generator.parameters(), lr=1e-4, betas=(0.5, 0.9))

losses, train_iter = [], iter(train_loader)
for i in range(3):
    for _ in range(3):  # nine batches, three epochs
        try:
            data = next(train_iter)
        except StopIteration:
            train_iter = iter(train_loader)
            data = next(train_iter)
        data[0] = data[0].to("cpu")
        fake = generator(torch.randn(batch_size, z_dim, 1, 1)).detach()
        critic.zero_grad()
        distance = vf_wasserstein_distance(data[0], fake, critic)
        loss = 10 * lp_reg(data[0], fake, critic) - distance
        loss.backward()
        optim_critic.step()
        losses.append(loss.item())
    generator.zero_grad()
    (-critic(generator(torch.randn(batch_size, z_dim))).mean()).backward()
    optim_generator.step()
assert (losses[0] != losses[3]) and len(train_loader) == len(train_loader.dataset) // batch_size

with torch.no_grad():
    for loader in (valid_loader, test_loader):
        distance = 0.0
        for x, y in loader:
            distance += vf_wasserstein_distance(x, generator(torch.randn(len(x), z_dim)), critic).item() * len(x)
        losses.append(distance / len(loader.dataset))
"""


@pytest.fixture
def small_photos(tmp_path, monkeypatch):
    """A folder with 250 random images under both published names: 200 to train on make three batches and leave 8."""
    random = np.random.default_rng(0)
    arrays = {"X": random.integers(0, 256, (32, 32, 3, 250), dtype=np.uint8), "y": random.integers(1, 11, (250, 1))}
    for name in q3_samplers.MD5:
        scipy.io.savemat(tmp_path / name, arrays)
        monkeypatch.setitem(q3_samplers.MD5, name, hashlib.md5((tmp_path / name).read_bytes()).hexdigest())
    return tmp_path


def run(program, **given):
    """The program's names at its end, once its import lines are replaced."""
    for theirs, ours in IMPORTS.items():
        program = program.replace(theirs, ours)
    torch.manual_seed(0)
    exec(compile(program, "program of a student", "exec"), given)
    return given


def check_autoencoder(folder):
    names = run(AUTOENCODER, data_root=folder)
    assert np.isfinite(names["losses"]).all()
    assert names["losses"][-1] < names["losses"][0]
    assert -784 * np.log(2) < names["log_p"] < 0


def check_gan(folder):
    assert np.isfinite(run(WASSERSTEIN_GAN, data_root=folder)["losses"]).all()


def check_divergences():
    estimates = run(DIVERGENCES)["estimates"]
    assert len(estimates) == 6 and np.isfinite(estimates).all()
    assert estimates[-1] > estimates[1]  # the Wasserstein distance at theta = 1 and at 0


def test_autoencoder(small_data):
    check_autoencoder(small_data)


def test_divergences():
    check_divergences()


def test_wasserstein_gan(small_photos):
    check_gan(small_photos)


def test_gan_fails_on_a_loader_that_keeps_the_last_batch(small_photos, monkeypatch):
    right = q3_samplers.DataLoader
    monkeypatch.setattr(
        q3_samplers, "DataLoader", lambda *given, **options: right(*given, **options | {"drop_last": False})
    )
    with pytest.raises(ValueError, match=r"\(8, 3, 32, 32\).*\(64, 3, 32, 32\)"):
        check_gan(small_photos)


def test_divergences_fail_on_tensors(monkeypatch):
    right = q2_samplers.distribution1
    monkeypatch.setattr(q2_samplers, "distribution1", lambda *arguments: map(torch.from_numpy, right(*arguments)))
    with pytest.raises(TypeError):
        check_divergences()


def test_autoencoder_fails_on_shapes_compared_as_they_come(small_data, monkeypatch):
    right = q1_solution._rows

    def compared_first(**tensors):
        if len({tensor.shape for tensor in tensors.values()}) > 1:
            raise ValueError("shapes differ")
        return right(**tensors)

    monkeypatch.setattr(q1_solution, "_rows", compared_first)
    with pytest.raises(ValueError, match="shapes differ"):
        check_autoencoder(small_data)
