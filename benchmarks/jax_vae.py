"""The VAE of question 1 in JAX, a whole epoch as one compiled function: what a compiler makes of the arithmetic."""

import jax
import jax.numpy as jnp

from experiments.vae.train import PRESETS
from model import VAE
from q1_samplers import Digits

HANDOUT = PRESETS["handout"]
LAYERS = (0, 2, 4)  # of each network that are linear, by model.py's names
EPSILON = 1e-8  # of Adam, PyTorch's default

Weights = dict[str, jax.Array]
Adam = tuple[jax.Array, Weights, Weights]  # steps done, and the running means of the gradient and of its square


def mlp(weights: Weights, network: str, h: jax.Array) -> jax.Array:
    for layer in LAYERS:
        h = h @ weights[f"{network}.mlp.{layer}.weight"].T + weights[f"{network}.mlp.{layer}.bias"]
        h = h if layer == LAYERS[-1] else jax.nn.elu(h)
    return h


def elbo(weights: Weights, x: jax.Array, eps: jax.Array) -> jax.Array:
    """The mean ELBO of x (batch, 784) by one sample of z an image, in nats."""
    mean, logvar = jnp.split(mlp(weights, "encode", x), 2, axis=-1)
    logits = mlp(weights, "decode", mean + jnp.exp(logvar / 2) * eps) - 5
    kl = 0.5 * (jnp.exp(logvar) + mean**2 - 1 - logvar).sum(-1)
    return ((x * logits - jax.nn.softplus(logits)).sum(-1) - kl).mean()


def adam_step(weights: Weights, state: Adam, gradient: Weights) -> tuple[Weights, Adam]:
    """One step up the gradient (Kingma & Ba 2015, arXiv 1412.6980, algorithm 1)."""
    beta1, beta2 = HANDOUT.beta1, HANDOUT.beta2
    step, m, v = state[0] + 1, *state[1:]
    m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, gradient)
    v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g**2, v, gradient)

    def ascend(w: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return w + HANDOUT.learning_rate * (m / (1 - beta1**step)) / (jnp.sqrt(v / (1 - beta2**step)) + EPSILON)

    return jax.tree.map(ascend, weights, m, v), (step, m, v)


@jax.jit
def train_epoch(weights: Weights, state: Adam, x: jax.Array, key: jax.Array) -> tuple[Weights, Adam]:
    """One pass over x (n, 784) in a new order, without the last n mod 64 images of it: a scan needs equal batches."""
    order, noise = jax.random.split(key)
    batch_size = HANDOUT.batch_size
    batches = jax.random.permutation(order, len(x))[: len(x) // batch_size * batch_size].reshape(-1, batch_size)

    def step(
        carry: tuple[Weights, Adam], rows_and_key: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[Weights, Adam], None]:
        rows, key = rows_and_key
        gradient = jax.grad(elbo)(carry[0], x[rows], jax.random.normal(key, (batch_size, VAE().latent_size)))
        return adam_step(*carry, gradient), None

    (weights, state), _ = jax.lax.scan(step, (weights, state), (batches, jax.random.split(noise, len(batches))))
    return weights, state


class Compiled:
    """A training from the weights that PyTorch would begin with."""

    def __init__(self, digits: Digits) -> None:
        self.train, self.valid = jnp.asarray(digits.train.numpy()), jnp.asarray(digits.valid.numpy())
        self.weights = {name: jnp.asarray(weight.detach().numpy()) for name, weight in VAE().named_parameters()}
        zeros = jax.tree.map(jnp.zeros_like, self.weights)
        self.state, self.key = (jnp.zeros(()), zeros, zeros), jax.random.key(0)

    def epoch(self) -> float:
        """Train for one epoch; returns the validation ELBO."""
        self.key, key, noise = jax.random.split(self.key, 3)
        self.weights, self.state = train_epoch(self.weights, self.state, self.train, key)
        eps = jax.random.normal(noise, (len(self.valid), VAE().latent_size))
        return float(jax.jit(elbo)(self.weights, self.valid, eps))
