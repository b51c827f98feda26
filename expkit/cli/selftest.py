"""One step computed by compiled kernels and eagerly."""

from time import perf_counter

from expkit.compiler import compile as ek_compile
from expkit.func import grad
from expkit.nn import functional as F
from expkit.tensor import Generator, Tensor, randn

TOLERANCE = 1e-4  # of gradients of about one, in float32


def compiled_against_eager() -> tuple[float, float, float]:
    """(largest difference of the gradients, seconds compiled, seconds eager) of a small network's step."""
    generator = Generator().manual_seed(0)
    x, first = randn(256, 128, generator=generator), randn(128, 128, generator=generator)
    last = randn(128, 10, generator=generator)

    def loss(first: Tensor, last: Tensor, x: Tensor) -> Tensor:
        hidden = F.gelu(F.layer_norm(x @ first, (128,)))
        return F.softmax(hidden @ last, dim=-1).square().sum()

    step = grad(loss, argnums=(0, 1))
    compiled = ek_compile(step)
    compiled(first, last, x)
    begun = perf_counter()
    found = compiled(first, last, x)
    between = perf_counter()
    expected = step(first, last, x)
    ended = perf_counter()
    difference = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    return difference, between - begun, ended - between
