"""One step computed by compiled kernels and eagerly."""

from time import perf_counter

import expkit as ek
from expkit.nn import functional as F

TOLERANCE = 1e-4  # of gradients of about one, in float32


def compiled_against_eager() -> tuple[float, float, float]:
    """(largest difference of the gradients, seconds compiled, seconds eager) of a small network's step."""
    generator = ek.Generator().manual_seed(0)
    x, first = ek.randn(256, 128, generator=generator), ek.randn(128, 128, generator=generator)
    last = ek.randn(128, 10, generator=generator)

    def loss(first: ek.Tensor, last: ek.Tensor, x: ek.Tensor) -> ek.Tensor:
        hidden = F.gelu(F.layer_norm(x @ first, (128,)))
        return F.softmax(hidden @ last, dim=-1).square().sum()

    step = ek.func.grad(loss, argnums=(0, 1))
    compiled = ek.compile(step)
    compiled(first, last, x)
    begun = perf_counter()
    found = compiled(first, last, x)
    between = perf_counter()
    expected = step(first, last, x)
    ended = perf_counter()
    difference = max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))
    return difference, between - begun, ended - between
