"""Classic mistakes, each in one function: what is changed in submissions/vectorised, and what it must cost."""

from typing import NamedTuple


class Wrong(NamedTuple):
    mistake: str  # as a student reads it, or in parentheses what the grader does not tell from others
    function: str
    right: str  # the text of the right submission that is replaced
    wrong: str
    costs: float


BERNOULLI, NORMAL, MEAN = "log_likelihood_bernoulli", "log_likelihood_normal", "log_mean_exp"
KL, MC = "kl_gaussian_gaussian_analytic", "kl_gaussian_gaussian_mc"
HELLINGER, WASSERSTEIN, PENALTY = "vf_squared_hellinger", "vf_wasserstein_distance", "lp_reg"

LOG_2PI = "(math.log(2 * math.pi)"
NORMAL_SUM = "logvar + (z - mu) ** 2 / logvar.exp()).sum(1)"
KL_SUM = "logvar_p.exp() - 1).sum(1)"
KL_LINE = "return 0.5 * (logvar_p - logvar_q + (logvar_q.exp() + (mu_q - mu_p) ** 2) / logvar_p.exp() - 1).sum(1)"
HELLINGER_LINE = "return (1 - torch.exp(-real)).mean() - (t / (1 - t)).mean()"
NOT_ACTIVE = "return real.mean() - (fake / (1 - fake)).mean()"
WASSERSTEIN_LINE = "return critic(x).mean() - critic(y).mean()"
SUM = "(1 - mu + 1e-7)).sum(1)"
CUT = "create_graph=True missing from torch.autograd.grad, or a detach or item"
TOP = "y.max(1, keepdim=True).values"
SWAP = "mu_q, logvar_q, mu_p, logvar_p = mu_p, logvar_p, mu_q, logvar_q\n    "
NORM = "gradient.flatten(1).norm(2, dim=1)"
V = "critic(x), critic(y)"
PENALISE = "((norm - 1).clamp(min=0) ** 2).mean()"
T = "torch.rand(x.size(0), *[1] * (x.dim() - 1))"

MISTAKES = {
    BERNOULLI: [
        ("the mean over the pixels instead of the sum", SUM, "(1 - mu + 1e-7)).mean(1)", 3),
        ("(sum over the batch too)", SUM, "(1 - mu + 1e-7)).sum()", 3),
        ("the sign: this is the loss, not the log-likelihood", "return (target", "return -(target", 3),
        ("(mu and 1 - mu exchanged)", "(1 - target) * torch.log(1 - mu", "(1 - target) * torch.log(mu", 3),
        ("(keepdim left in)", SUM, "(1 - mu + 1e-7)).sum(1, keepdim=True)", 1),
        ("a detach or item", SUM, "(1 - mu + 1e-7)).sum(1).detach()", 1),
    ],
    NORMAL: [
        ("a missing 2 pi", "math.log(2 * math.pi) + logvar", "logvar", 3),
        ("a missing 2 pi for all dimensions but one", LOG_2PI, f"{LOG_2PI} / mu.size(1)", 3),
        ("(deviation for variance)", "/ logvar.exp()).sum(1)", "/ (logvar / 2).exp()).sum(1)", 2),
        ("a log-variance read as the variance", NORMAL_SUM, "logvar.log() + (z - mu) ** 2 / logvar).sum(1)", 3),
        ("the mean over the dimensions instead of the sum", "/ logvar.exp()).sum(1)", "/ logvar.exp()).mean(1)", 3),
        ("(squeezed to no dimension)", NORMAL_SUM, f"{NORMAL_SUM}.squeeze()", 1),
    ],
    MEAN: [
        ("log-sum-exp, without the division by K", ".exp().mean(1)", ".exp().sum(1)", 3),
        ("exponentials taken before the maximum is subtracted", TOP, "torch.zeros(y.size(0), 1)", 2),
        ("the maximum of the whole batch instead of each row's", TOP, "y.max().expand(y.size(0), 1)", 1),
        ("(keepdim left in)", ".mean(1).log() + top.squeeze(1)", ".mean(1, keepdim=True).log() + top", 1),
        ("the maximum subtracted and not added again", " + top.squeeze(1)", "", 3),
    ],
    KL: [
        ("KL reversed, p and q exchanged", KL_LINE, SWAP + KL_LINE, 2),
        ("the mean over the dimensions instead of the sum", KL_SUM, "logvar_p.exp() - 1).mean(1)", 3),
        ("a missing factor 1/2", "return 0.5 * (logvar_p", "return (logvar_p", 3),
        ("a missing -1", KL_SUM, "logvar_p.exp()).sum(1)", 2),
    ],
    MC: [
        ("the sign of log p, with 2 pi left out", "log_q - log_p", "log_q + log_p", 2),
        ("the sign", "log_q - log_p", "log_p - log_q", 2),
        ("the mean over the dimensions instead of the sum", ".sum(2).mean(0)", ".mean(2).mean(0)", 2),
        ("a prior of N(0, I), mu_p and logvar_p ignored", "logvar_p + (z - mu_p) ** 2 / logvar_p.exp()", "z ** 2", 2),
        ("the sum over the samples instead of the mean", ".sum(2).mean(0)", ".sum(2).sum(0)", 2),
        ("num_samples is not used", "torch.randn(num_samples,", "torch.randn(1,", 2),
        ("z drawn with the variance as its standard deviation", "(logvar_q / 2).exp()", "logvar_q.exp()", 3),
        ("no sampling at all, or a seed set inside the function", "return (log_q - log_p).sum(2).mean(0)", KL_LINE, 1),
        ("no sampling at all, or a seed set inside the function", "z = mu_q", "torch.manual_seed(0)\n    z = mu_q", 2),
    ],
    HELLINGER: [
        ("the conjugate of Jensen-Shannon", "- (t / (1 - t)).mean()", "+ torch.log(2 - t.exp()).mean()", 3),
        ("half of it", HELLINGER_LINE, "return 1 - (torch.exp(-real).mean() + torch.exp(fake).mean()) / 2", 3),
        ("a sigmoid in front", V, "critic(x).sigmoid(), critic(y).sigmoid()", 3),
        ("x and y exchanged", V, "critic(y), critic(x)", 3),
        ("a detach or item", V, "critic(x).detach(), critic(y).detach()", 1),
        ("a missing output activation 1 - exp(-v)", HELLINGER_LINE, NOT_ACTIVE, 3),
        ("(one number for each sample)", HELLINGER_LINE, "return 1 - torch.exp(-real) - t / (1 - t)", 4),
    ],
    WASSERSTEIN: [
        ("x and y exchanged", WASSERSTEIN_LINE, "return critic(y).mean() - critic(x).mean()", 1.5),
        ("a detach or item", WASSERSTEIN_LINE, "return (critic(x).mean() - critic(y).mean()).item()", 0.5),
        ("a sigmoid in front", WASSERSTEIN_LINE, "return (critic(x).sigmoid() - critic(y).sigmoid()).mean()", 1.5),
    ],
    PENALTY: [
        ("a two-sided penalty", PENALISE, "((norm - 1) ** 2).mean()", 0.5),
        ("the norm taken over the batch", NORM, "gradient.norm(2)", 1.75),
        ("the norm taken over the channels alone", NORM, "gradient.norm(2, dim=1)", 0),
        ("the squared norm instead of the norm", "norm(2, dim=1)", "norm(2, dim=1) ** 2", 1.5),
        ("a penalty that is not squared", PENALISE, "(norm - 1).clamp(min=0).mean()", 1.5),
        ("lambda = 10 included", PENALISE, f"10 * {PENALISE}", 1.5),
        ("the sum over the batch instead of the mean", PENALISE, "((norm - 1).clamp(min=0) ** 2).sum()", 1.5),
        ("a penalty on the mean slope", PENALISE, "(norm.mean() - 1).clamp(min=0) ** 2", 0.75),
        ("fixed points half-way, t = 1/2", T, "0.5", 0.5),
        ("the points x alone, t not drawn", T, "torch.ones(())", 0.5),
        ("a t for each coordinate instead of one for each sample", T, "torch.rand_like(x)", 0.5),
        (CUT, PENALISE, f"{PENALISE}.detach()", 0.5),
        (CUT, ", create_graph=True", "", 0.5),
    ],
}
WRONG = [Wrong(mistake, function, *changed) for function, rows in MISTAKES.items() for mistake, *changed in rows]
