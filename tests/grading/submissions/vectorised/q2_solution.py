"""Question 2 as formulas over whole batches."""

import torch


def vf_squared_hellinger(x, y, critic):
    real, fake = critic(x), critic(y)
    t = 1 - torch.exp(-fake)
    return (1 - torch.exp(-real)).mean() - (t / (1 - t)).mean()


def vf_wasserstein_distance(x, y, critic):
    return critic(x).mean() - critic(y).mean()


def lp_reg(x, y, critic):
    t = torch.rand(x.size(0), *[1] * (x.dim() - 1))
    point = (t * x + (1 - t) * y).requires_grad_()
    gradient = torch.autograd.grad(critic(point).sum(), point, create_graph=True)[0]
    norm = gradient.flatten(1).norm(2, dim=1)
    return ((norm - 1).clamp(min=0) ** 2).mean()
