"""The script of the page, in V8 without a browser: its networks against PyTorch, and how it reads a drawing."""

import base64
import json

import numpy as np
import pytest
import torch

from experiments.vae.bounds import bound_of, importance_weighted_bound
from experiments.wgan import explore, weights
from experiments.wgan.classifier import load_classifier
from model import VAE
from q3_solution import interpolate, interpolate_spherical
from report import play

MiniRacer = pytest.importorskip("py_mini_racer", reason="needs mini-racer: requirements-dev.txt").MiniRacer
SCRIPT = play.SCRIPT.read_text()
# the page computes in 32 bits, PyTorch here in 64, both with the same 16-bit weights; nats are sums over 784 pixels
PART = {"generate": "generator", "classify": "classifier"}  # whose weights a function has; the others have the VAE's
TOLERANCE = dict.fromkeys(("encode", "decode", "generate", "classify"), 1e-5) | {"elbo": 2e-4, "logp": 2e-4}
ATOB = """
function atob(base64) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  let text = "";
  for (let i = 0; i < base64.length; i += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map(n => digits.indexOf(base64[i + n]));
    text += String.fromCharCode((a << 2) | (b >> 4), ((b & 15) << 4) | (c >> 2), ((c & 3) << 6) | d);
  }
  return text.slice(0, text.length - (base64.match(/=*$/)[0].length));
}
"""


@pytest.fixture(scope="module")
def networks():
    """A VAE, the bundled generator and the judge classifier, with weights of 16 bits, computing in 64."""
    torch.manual_seed(0)
    vae = VAE()
    vae.load_state_dict({name: 1.5 * tensor for name, tensor in vae.state_dict().items()})  # far from constant
    judged = (weights.load_generator(weights.BUNDLED_GENERATOR)[0], load_classifier()[0])
    return [network.half().double().eval() for network in (vae, *judged)]


@pytest.fixture(scope="module")
def packed(networks):
    vae, generator, classifier = (network.state_dict() for network in networks)
    directions = explore.directions(networks[1])
    return {
        "vae": play._packed(vae),
        "generator": play._packed(generator, play.TRANSPOSED),
        "classifier": play._packed(classifier, play.CONVOLUTION),
        "directions": [play._bits(row) for row in directions],
    }


@pytest.fixture(scope="module")
def v8(packed):
    """V8 with the page's script and data in it."""
    with MiniRacer() as context:
        context.eval(f"{ATOB}{SCRIPT}\nvar data = {json.dumps(packed)}")
        context.eval("var empty = { vae: {}, generator: {}, classifier: {}, directions: [] }")
        yield context


def value(v8, expression):
    """A JavaScript expression's value, which has a form in JSON."""
    return json.loads(v8.eval(f"JSON.stringify({expression})"))


@torch.no_grad()
def difference(function, v8, networks, script=SCRIPT, weights="data"):
    """How far window.nets[function] is at most from PyTorch, as this script makes it of these data, at two inputs."""
    part = PART.get(function, "vae")
    v8.eval(f"var nets = (() => {{ {script}\nreturn networks({{ ...empty, {part}: ({weights}).{part} }}); }})()")
    vae, generator, classifier = networks
    torch.manual_seed(1)
    x, z, eps = (torch.rand(2, 784) < 0.3).double(), torch.randn(2, 100).double(), torch.randn(5, 2, 100).double()
    images = generator(z)

    def call(name, *arguments):
        return v8.call(f"nets.{name}", *(argument.tolist() for argument in arguments))

    found, expected = {
        "encode": lambda: ([[*q["mean"], *q["logvar"]] for q in (call("encode", row) for row in x)], vae.encode.mlp(x)),
        "decode": lambda: ([call("decode", row) for row in z], vae.decode(z)),
        "generate": lambda: ([call("generate", row) for row in z], images.flatten(1)),
        "classify": lambda: ([call("classify", image) for image in images.flatten(1)], classifier(images).softmax(1)),
        "elbo": lambda: ([call("elbo", x[n], eps[:, n])["elbo"] for n in range(2)], bound_of(vae, x, eps)),
        "logp": lambda: (
            [call("elbo", x[n], eps[:, n])["logp"] for n in range(2)],
            bound_of(vae, x, eps, importance_weighted_bound),
        ),
    }[function]()
    found = torch.tensor(found).double()
    return (found - expected).abs().max().item() if found.shape == expected.shape else float("inf")


@pytest.mark.parametrize("function", TOLERANCE)
def test_networks_of_the_page_are_those_of_pytorch(v8, networks, function):
    assert difference(function, v8, networks) < TOLERANCE[function]


@pytest.mark.parametrize(
    "function, right, wrong",
    [
        ("encode", "Math.expm1(value)", "value"),  # ReLU's kind in place of ELU
        ("decode", "logit - 5", "logit"),
        ("elbo", "softplus(logits[i]));", "logits[i]);"),
        ("elbo", "Math.expm1(logvar[i]) - logvar[i]", "Math.exp(logvar[i]) - logvar[i]"),
        ("logp", "e[i] ** 2 + logvar[i] - z[i] ** 2", "logvar[i] - z[i] ** 2"),
        ("generate", "[6, 2, 1]", "[6, 2, 0]"),  # padding
        ("generate", "[6, 2, 1]", "[6, 1, 0]"),  # stride
        ("generate", "i * stride - padding + k", "i * stride - padding + 3 - k"),  # the kernel the other way round
        ("generate", "+ 1e-5", "+ 1e-4"),  # batch normalisation's epsilon
        ("classify", "i + 1 - k", "i - 1 + k"),
        ("classify", "linear(transpose(x, size * size)", "linear(x"),  # flattened pixel by pixel
    ],
)
def test_wrong_layer_is_found(v8, networks, function, right, wrong):
    assert SCRIPT.count(right) == 1
    assert not difference(function, v8, networks, SCRIPT.replace(right, wrong)) < 10 * TOLERANCE[function]


@pytest.mark.parametrize("function, network, order", [("generate", 1, (3, 2, 0, 1)), ("classify", 2, (3, 2, 1, 0))])
def test_wrong_order_of_kernel_axes_is_found(v8, networks, function, network, order):
    wrong = json.dumps({PART[function]: play._packed(networks[network].state_dict(), order)})
    assert not difference(function, v8, networks, weights=wrong) < 10 * TOLERANCE[function]


def test_16_bit_numbers_are_read_exactly(v8):
    bits = np.arange(65536, dtype=np.uint16)
    bits = bits[np.isfinite(bits.view(np.float16))]
    packed = base64.b64encode(bits.tobytes()).decode()
    assert value(v8, f"Array.from(numbersOf('{packed}'))") == bits.view(np.float16).astype(float).tolist()


def test_directions_and_ways_between_latents_are_those_of_pytorch(v8, networks):
    directions = torch.tensor(value(v8, "networks({ ...empty, directions: data.directions }).directions"))
    assert (directions - explore.directions(networks[1])).abs().max() < 2**-12  # of entries below 1/2, in 16 bits
    a, b = torch.randn(2, 1, 100, generator=torch.Generator().manual_seed(0)).double()
    for name, way in (("straight", interpolate), ("arc", interpolate_spherical)):
        for alpha in (0.0, 0.3, 1.0):
            found = v8.call(name, a[0].tolist(), b[0].tolist(), alpha)
            assert found == pytest.approx(way(a, b, torch.tensor([alpha], dtype=a.dtype)).flatten().tolist(), abs=1e-9)


def test_draws_are_standard_normal_and_the_same_for_the_same_seed(v8):
    first, again, other = (torch.tensor(value(v8, f"normals({seed})(20000)")) for seed in (1, 1, 2))
    assert first.equal(again) and not first.equal(other)
    assert abs(first.mean()) < 4 / 20000**0.5
    assert abs(first.square().mean() - 1) < 4 * (2 / 20000) ** 0.5
    assert abs((first > 1.96).double().mean() - 0.025) < 4 * (0.025 / 20000) ** 0.5


SEVEN = [[[60, 50], [200, 50], [110, 240]], [[90, 150], [180, 150]]]


def test_drawing_is_brought_to_the_form_of_mnist(v8):
    drawn = torch.tensor(v8.call("digitOf", SEVEN)).view(28, 28)
    rows, columns = drawn.nonzero().T
    assert 19 <= max(rows.max() - rows.min(), columns.max() - columns.min()) + 1 <= 20
    assert rows.double().mean() == pytest.approx(14, abs=0.5)
    assert columns.double().mean() == pytest.approx(14, abs=0.5)
    smaller = [[[20 + 0.3 * x, 90 + 0.3 * y] for x, y in stroke] for stroke in SEVEN]
    assert torch.tensor(v8.call("digitOf", smaller)).view(28, 28).ne(drawn).sum() <= 4  # by rounding
    dot = torch.tensor(v8.call("digitOf", [[[30, 200]]])).view(28, 28)
    assert 1 <= dot.sum() <= 9 and dot[12:17, 12:17].sum() == dot.sum()
    assert sum(v8.call("digitOf", [])) == 0
