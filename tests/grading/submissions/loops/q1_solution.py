"""Question 1 as loops over the rows, and over the features where that is bearable."""

import math

import torch


def log_likelihood_bernoulli(mu, target):
    rows = []
    for i in range(len(mu)):
        total = 0.0
        for m, x in zip(mu[i], target[i]):
            total = total + (torch.log(m) if x == 1 else torch.log(1 - m))
        rows.append(total)
    return torch.stack(rows)


def log_likelihood_normal(mu, logvar, z):
    rows = []
    for m, v, x in zip(mu, logvar, z):
        total = 0.0
        for j in range(len(m)):
            total = total - 0.5 * (math.log(2 * math.pi) + v[j] + (x[j] - m[j]) ** 2 / torch.exp(v[j]))
        rows.append(total)
    return torch.stack(rows)


def log_mean_exp(y):
    result = torch.zeros(len(y))
    for i, row in enumerate(y):
        top = max(row.tolist())
        result[i] = top + math.log(sum(math.exp(value - top) for value in row.tolist()) / len(row))
    return result


def kl_gaussian_gaussian_analytic(mu_q, logvar_q, mu_p, logvar_p):
    rows = []
    for i in range(len(mu_q)):
        ratio = torch.exp(logvar_q[i] - logvar_p[i])
        rows.append(0.5 * torch.sum(ratio - 1 - ratio.log() + (mu_q[i] - mu_p[i]) ** 2 / torch.exp(logvar_p[i])))
    return torch.stack(rows)


def kl_gaussian_gaussian_mc(mu_q, logvar_q, mu_p, logvar_p, num_samples=1):
    total = torch.zeros(len(mu_q))
    for _ in range(num_samples):
        z = torch.stack([torch.normal(m, torch.exp(0.5 * v)) for m, v in zip(mu_q, logvar_q)])
        total += log_likelihood_normal_rows(mu_q, logvar_q, z) - log_likelihood_normal_rows(mu_p, logvar_p, z)
    return total / num_samples


def log_likelihood_normal_rows(mu, logvar, z):
    return torch.stack([-0.5 * (v + (x - m) ** 2 / torch.exp(v)).sum() for m, v, x in zip(mu, logvar, z)])
