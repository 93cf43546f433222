"""Question 2's training: what can be asked for, the two presets, the objectives, and the loop of a bank of critics."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from experiments.divergences.bank import CriticBank, stream
from experiments.harness.command import Data
from experiments.harness.files import say
from experiments.harness.options import Options, both_presets, number_check, option
from experiments.harness.run import RunDirectory
from experiments.harness.training import Training, set_learning_rate
from model import Critic
from q2_samplers import FAMILIES
from q2_solution import CriticFunction, lp_reg, vf_squared_hellinger, vf_wasserstein_distance


class Objective(NamedTuple):
    """What critics maximise; whether with the Lipschitz penalty, which the estimate then corrects; a title."""

    function: Callable[[torch.Tensor, torch.Tensor, CriticFunction], torch.Tensor]
    penalised: bool
    title: str


OBJECTIVES = {  # by the name that q2_samplers gives the exact value
    "squared_hellinger": Objective(vf_squared_hellinger, False, "squared Hellinger distance $H^2(P, Q)$"),
    "wasserstein": Objective(vf_wasserstein_distance, True, "Wasserstein distance $W_1(P, Q)$"),
}

numbers = number_check(
    lambda text: tuple(map(float, text.split(","))), lambda v: all(abs(x) <= 1000 for x in v), "numbers such as 0,0.5,1"
)


# The penalty leaves a bias: on the segments the best linear critic has slope 1 + theta / (2 lambda), not 1, and
# overstates the distance by that factor. A lambda large enough to hide that makes the problem too stiff for as few
# iterations. So lambda stays where training is easy, and the estimate is divided by the critic's measured mean slope.
@dataclass(frozen=True)
class DivergenceOptions(Options):
    """What question 2 can be asked for; its defaults are the tuned preset."""

    question = "q2"

    run_dir: Path = option(Path("runs/q2"), "where the run is recorded", scope="command")
    family: str = option("segments", "pair of distributions", choices=FAMILIES)
    thetas: tuple[float, ...] = option((), "distances, as in --thetas=0,0.5,1, by default the family's", numbers)
    iterations: int = option(400, "updates of each critic", scope="length", handout=2500)
    batch_size: int = option(16, "samples of each distribution per update", handout=512)
    optimizer: str = option("adam", "the critics' optimizer", choices=("adam", "sgd"), handout="sgd")
    learning_rate: float = option(3e-3, "the optimizer's learning rate", handout=1e-3)
    lipschitz_weight: float = option(50.0, "lambda, weight of the Lipschitz penalty", handout=50.0)
    correction: str = option("slope", "divide W1 by the critic's mean slope", choices=("slope", "none"), handout="none")


PRESETS = both_presets(DivergenceOptions())


def load(options: DivergenceOptions) -> Data:
    """No data: samples are drawn as they are needed. The thetas are the family's, if none are named."""
    family = FAMILIES[options.family]
    return Data(None, family.description, resolved={"thetas": options.thetas or family.thetas})


def train(run: RunDirectory, _: None, options: DivergenceOptions, device: torch.device) -> None:
    """Train a critic for each objective and theta, from its own checkpoint if there is one; one seed for all."""
    for name, objective in OBJECTIVES.items():
        torch.manual_seed(options.seed)
        bank = CriticBank([Critic() for _ in options.thetas]).to(device)
        adam = partial(torch.optim.Adam, fused=True)
        optimizer = (torch.optim.SGD if options.optimizer == "sgd" else adam)(
            bank.parameters(), lr=options.learning_rate
        )
        sampler = FAMILIES[options.family].sampler
        p = stream(sampler, [0.0] * len(options.thetas), options.batch_size, device)
        q = stream(sampler, options.thetas, options.batch_size, device)

        say(f"{objective.title.split(' $')[0]}: a critic for each of {len(options.thetas)} thetas")
        part, steps = RunDirectory(run.folder / name), options.iterations
        training = Training(part, options, device, "iteration", steps, bank=bank, optimizer=optimizer)
        training.log_every = max(1, steps // 10)
        for iteration in training:
            set_learning_rate(optimizer, options.learning_rate, iteration - 1, steps, options.schedule)
            training.log(loss=update(bank, optimizer, objective, next(p), next(q), options.lipschitz_weight))


def update(
    bank: CriticBank,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    x: torch.Tensor,
    y: torch.Tensor,
    lipschitz_weight: float,
) -> torch.Tensor:
    """One step of every critic up its objective between samples x of P and y of Q. Returns the mean loss, a scalar."""
    loss = -objective.function(x, y, bank)
    if objective.penalised:
        loss = loss + lipschitz_weight * lp_reg(x, y, bank)
    optimizer.zero_grad()
    (loss * len(bank)).backward()  # the bank's loss is the mean over the critics; each is to follow its own
    optimizer.step()
    return loss.detach()
