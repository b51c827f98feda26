"""Products as rows of the table of pure primitives."""

import numpy as np
import pytest

from expkit.tensor.generated.matmul import pure_linear, pure_matmul
from tests.kernels.replayable import assert_replayable


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 4), (64, 256, 10), (200, 300, 250)])
def test_products_can_be_recorded(shape):
    m, k, n = shape
    rng = np.random.default_rng(0)
    x, y, w, b = (rng.normal(size=size).astype(np.float32) for size in ((m, k), (k, n), (n, k), (n,)))
    assert_replayable(pure_matmul, x, y)
    assert_replayable(pure_linear, x, w, b)
