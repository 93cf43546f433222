"""Question 2 as loops over the samples."""

import torch


def vf_squared_hellinger(x, y, critic):
    total = 0.0
    for row in x:
        total = total + (1 - torch.exp(-critic(row[None])[0])) / len(x)
    for row in y:
        total = total + (1 - torch.exp(critic(row[None])[0])) / len(y)
    return total


def vf_wasserstein_distance(x, y, critic):
    return sum(critic(a[None])[0] for a in x) / len(x) - sum(critic(b[None])[0] for b in y) / len(y)


def lp_reg(x, y, critic):
    total = 0.0
    for a, b in zip(x, y):
        t = torch.rand(())
        point = (t * a + (1 - t) * b)[None].requires_grad_()
        (gradient,) = torch.autograd.grad(critic(point)[0], point, create_graph=True)
        norm = torch.norm(gradient)
        if norm > 1:
            total = total + (norm - 1) ** 2 / len(x)
    return total
