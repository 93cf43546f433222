"""Classic mistakes: for each what is changed in submissions/vectorised, and the marks that it must cost.

No function of that submission calls another, so that one mistake in each of them makes one submission.
"""

from typing import NamedTuple


class Wrong(NamedTuple):
    """One mistake; the text `right` of the right submission is replaced by `wrong`."""

    mistake: str
    function: str
    right: str
    wrong: str
    costs: float


BERNOULLI = "log_likelihood_bernoulli"
NORMAL = "log_likelihood_normal"
MEAN = "log_mean_exp"
KL = "kl_gaussian_gaussian_analytic"
MC = "kl_gaussian_gaussian_mc"
HELLINGER = "vf_squared_hellinger"
WASSERSTEIN = "vf_wasserstein_distance"
PENALTY = "lp_reg"

NORMAL_SUM = "logvar + (z - mu) ** 2 / logvar.exp()).sum(1)"
KL_LINE = "return 0.5 * (logvar_p - logvar_q + (logvar_q.exp() + (mu_q - mu_p) ** 2) / logvar_p.exp() - 1).sum(1)"
HELLINGER_LINE = "return (1 - torch.exp(-real)).mean() - (t / (1 - t)).mean()"
WASSERSTEIN_LINE = "return critic(x).mean() - critic(y).mean()"
SUM = "(1 - mu + 1e-7)).sum(1)"
PENALISE = "((norm - 1).clamp(min=0) ** 2).mean()"
T = "torch.rand(x.size(0), *[1] * (x.dim() - 1))"

WRONG = [
    Wrong("mean for sum", BERNOULLI, SUM, "(1 - mu + 1e-7)).mean(1)", 3),
    Wrong("sum over the batch too", BERNOULLI, SUM, "(1 - mu + 1e-7)).sum()", 3),
    Wrong("the loss, not the likelihood", BERNOULLI, "return (target * torch.log(mu", "return -(target * torch.log(mu", 3),
    Wrong("mu and 1 - mu exchanged", BERNOULLI, "(1 - target) * torch.log(1 - mu", "(1 - target) * torch.log(mu", 3),
    Wrong("keepdim left in", BERNOULLI, SUM, "(1 - mu + 1e-7)).sum(1, keepdim=True)", 1),
    Wrong("gradient cut by detach", BERNOULLI, SUM, "(1 - mu + 1e-7)).sum(1).detach()", 1),
    Wrong("missing 2 pi", NORMAL, "math.log(2 * math.pi) + logvar", "logvar", 3),
    Wrong("one 2 pi for all dimensions", NORMAL, "(math.log(2 * math.pi)", "(math.log(2 * math.pi) / mu.size(1)", 3),
    Wrong("deviation for variance", NORMAL, "/ logvar.exp()).sum(1)", "/ (logvar / 2).exp()).sum(1)", 2),
    Wrong("log-variance read as variance", NORMAL, NORMAL_SUM, "logvar.log() + (z - mu) ** 2 / logvar).sum(1)", 3),
    Wrong("mean for sum", NORMAL, "/ logvar.exp()).sum(1)", "/ logvar.exp()).mean(1)", 3),
    Wrong("squeezed to no dimension", NORMAL, NORMAL_SUM, f"{NORMAL_SUM}.squeeze()", 1),
    Wrong("no division by K", MEAN, ".exp().mean(1)", ".exp().sum(1)", 3),
    Wrong("no max shift", MEAN, "y.max(1, keepdim=True).values", "torch.zeros(y.size(0), 1)", 2),
    Wrong("maximum of the batch", MEAN, "y.max(1, keepdim=True).values", "y.max().expand(y.size(0), 1)", 1),
    Wrong("keepdim left in", MEAN, ".mean(1).log() + top.squeeze(1)", ".mean(1, keepdim=True).log() + top", 1),
    Wrong("maximum not added again", MEAN, " + top.squeeze(1)", "", 3),
    Wrong("KL reversed", KL, KL_LINE, "mu_q, logvar_q, mu_p, logvar_p = mu_p, logvar_p, mu_q, logvar_q\n    " + KL_LINE, 2),
    Wrong("mean for sum", KL, "logvar_p.exp() - 1).sum(1)", "logvar_p.exp() - 1).mean(1)", 3),
    Wrong("missing factor 1/2", KL, "return 0.5 * (logvar_p", "return (logvar_p", 3),
    Wrong("missing -1", KL, "logvar_p.exp() - 1).sum(1)", "logvar_p.exp()).sum(1)", 2),
    Wrong("sign of log p", MC, "log_q - log_p", "log_q + log_p", 2),
    Wrong("sum over the samples", MC, ".sum(2).mean(0)", ".sum(2).sum(0)", 2),
    Wrong("one sample, whatever is asked", MC, "torch.randn(num_samples,", "torch.randn(1,", 2),
    Wrong("variance for deviation", MC, "(logvar_q / 2).exp()", "logvar_q.exp()", 3),
    Wrong("not Monte Carlo", MC, "return (log_q - log_p).sum(2).mean(0)", KL_LINE, 1),
    Wrong("a seed inside", MC, "z = mu_q", "torch.manual_seed(0)\n    z = mu_q", 2),
    Wrong("conjugate of Jensen-Shannon", HELLINGER, "- (t / (1 - t)).mean()", "+ torch.log(2 - t.exp()).mean()", 3),
    Wrong("halved", HELLINGER, HELLINGER_LINE, "return 1 - (torch.exp(-real).mean() + torch.exp(fake).mean()) / 2", 3),
    Wrong("sigmoid in front", HELLINGER, "critic(x), critic(y)", "critic(x).sigmoid(), critic(y).sigmoid()", 3),
    Wrong("x and y swapped", HELLINGER, "critic(x), critic(y)", "critic(y), critic(x)", 3),
    Wrong("gradient cut by detach", HELLINGER, "critic(x), critic(y)", "critic(x).detach(), critic(y).detach()", 1),
    Wrong("no output activation", HELLINGER, HELLINGER_LINE, "return real.mean() - (fake / (1 - fake)).mean()", 3),
    Wrong("one number for each sample", HELLINGER, HELLINGER_LINE, "return 1 - torch.exp(-real) - t / (1 - t)", 4),
    Wrong("x and y swapped", WASSERSTEIN, WASSERSTEIN_LINE, "return critic(y).mean() - critic(x).mean()", 1.5),
    Wrong("gradient cut by item", WASSERSTEIN, WASSERSTEIN_LINE, "return (critic(x).mean() - critic(y).mean()).item()", 0.5),
    Wrong("sigmoid in front", WASSERSTEIN, WASSERSTEIN_LINE, "return (critic(x).sigmoid() - critic(y).sigmoid()).mean()", 1.5),
    Wrong("two-sided", PENALTY, PENALISE, "((norm - 1) ** 2).mean()", 0.5),
    Wrong("norm over the batch", PENALTY, "gradient.flatten(1).norm(2, dim=1)", "gradient.norm(2)", 1.75),
    Wrong("norm over the channels", PENALTY, "gradient.flatten(1).norm(2, dim=1)", "gradient.norm(2, dim=1)", 0),
    Wrong("squared norm", PENALTY, "norm(2, dim=1)", "norm(2, dim=1) ** 2", 1.5),
    Wrong("penalty not squared", PENALTY, PENALISE, "(norm - 1).clamp(min=0).mean()", 1.5),
    Wrong("penalty of the mean slope", PENALTY, PENALISE, "(norm.mean() - 1).clamp(min=0) ** 2", 0.75),
    Wrong("fixed t", PENALTY, T, "0.5", 0.5),
    Wrong("penalty on the end points", PENALTY, T, "torch.ones(())", 0.5),
    Wrong("a t for each coordinate", PENALTY, T, "torch.rand_like(x)", 0.5),
    Wrong("gradient cut by detach", PENALTY, PENALISE, f"{PENALISE}.detach()", 0.5),
    Wrong("no graph kept", PENALTY, ", create_graph=True", "", 0.5),
]

LOOKS_LIKE = {  # what a student is told of a mistake, where the grader knows it from others
    (BERNOULLI, "mean for sum"): "the mean over the pixels instead of the sum",
    (BERNOULLI, "the loss, not the likelihood"): "the sign: this is the loss, not the log-likelihood",
    (BERNOULLI, "gradient cut by detach"): "a detach or item",
    (NORMAL, "missing 2 pi"): "a missing 2 pi",
    (NORMAL, "one 2 pi for all dimensions"): "a missing 2 pi for all dimensions but one",
    (NORMAL, "log-variance read as variance"): "a log-variance read as the variance",
    (NORMAL, "mean for sum"): "the mean over the dimensions instead of the sum",
    (MEAN, "no division by K"): "log-sum-exp, without the division by K",
    (MEAN, "no max shift"): "exponentials taken before the maximum is subtracted",
    (MEAN, "maximum not added again"): "the maximum subtracted and not added again",
    (KL, "KL reversed"): "KL reversed, p and q exchanged",
    (KL, "mean for sum"): "the mean over the dimensions instead of the sum",
    (KL, "missing factor 1/2"): "a missing factor 1/2",
    (KL, "missing -1"): "a missing -1",
    (MC, "sign of log p"): "the sign of log p",
    (MC, "sum over the samples"): "the sum over the samples instead of the mean",
    (MC, "variance for deviation"): "z drawn with the variance as its standard deviation",
    (MC, "not Monte Carlo"): "no sampling at all, or a seed set inside the function",
    (MC, "a seed inside"): "no sampling at all, or a seed set inside the function",
    (HELLINGER, "conjugate of Jensen-Shannon"): "the conjugate of Jensen-Shannon",
    (HELLINGER, "halved"): "half of it",
    (HELLINGER, "sigmoid in front"): "a sigmoid in front",
    (HELLINGER, "x and y swapped"): "x and y exchanged",
    (HELLINGER, "gradient cut by detach"): "a detach or item",
    (HELLINGER, "no output activation"): "a missing output activation 1 - exp(-v)",
    (WASSERSTEIN, "x and y swapped"): "x and y exchanged",
    (WASSERSTEIN, "gradient cut by item"): "a detach or item",
    (WASSERSTEIN, "sigmoid in front"): "a sigmoid in front",
    (PENALTY, "two-sided"): "a two-sided penalty",
    (PENALTY, "norm over the batch"): "the norm taken over the batch",
    (PENALTY, "norm over the channels"): "the norm taken over the channels alone",
    (PENALTY, "squared norm"): "the squared norm instead of the norm",
    (PENALTY, "penalty not squared"): "a penalty that is not squared",
    (PENALTY, "penalty of the mean slope"): "a penalty on the mean slope",
    (PENALTY, "fixed t"): "fixed points half-way, t = 1/2",
    (PENALTY, "penalty on the end points"): "the points x alone, t not drawn",
    (PENALTY, "a t for each coordinate"): "a t for each coordinate instead of one for each sample",
    (PENALTY, "gradient cut by detach"): "a detach or item",
    (PENALTY, "no graph kept"): "a detach or item",
}
