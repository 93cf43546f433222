"""The critics of question 2's checks: small networks that judge and worker each build from the same form and numbers."""

import torch
from torch import nn

FORMS = {
    "linear": lambda h: h,  # its slope is the norm of the weight, everywhere
    "tanh": torch.tanh,  # its outputs lie where every form of the objectives is finite
    "ramp": torch.relu,  # flat on one side, steep on the other
    "valley": lambda h: ((1 + h[:, 0]) ** 2 + 100 * h[:, 1] ** 2) / 2,  # gentle along a line, steep beside it
}


class Critic(nn.Module):
    """f(x) = form(x . weight + bias) over all features, (batch,), each sample alone, so that a loop is as right as a batch."""

    def __init__(self, form, weight, bias=0.0):
        super().__init__()
        self.form, self.bias = FORMS[form], bias
        self.weight = nn.Parameter(weight.clone())

    def forward(self, x):
        return self.form(x.flatten(1) @ self.weight + self.bias)
