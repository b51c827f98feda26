"""The strict fake device is itself tested: it must refuse what CuPy refuses, and count what moves."""

import numpy as np
import pytest

from tests.fake_device import MODULE as cp
from tests.fake_device import FakeArray, transfers

N = np.arange(6.0, dtype=np.float32).reshape(2, 3)


def on_device(array=N):
    return cp.asarray(array)


REFUSED = {
    "operator": lambda x: x + N,
    "reflected operator": lambda x: N * x,
    "in place": lambda x: x.__iadd__(N),
    "comparison": lambda x: x > N,
    "matmul": lambda x: x @ N.T,
    "0-d NumPy array": lambda x: x * np.asarray(2.0),
    "NumPy ufunc": lambda x: np.add(x, N),
    "NumPy function": lambda x: np.concatenate([x, N]),
    "own function": lambda x: cp.maximum(x, N),
    "where": lambda x: cp.where(x > 0, x, N),
    "assignment": lambda x: x.__setitem__(0, N[0]),
    "index": lambda x: x[np.array([0, 1])],
    "implicit conversion": lambda x: np.asarray(x),
    "a range over it": lambda x: range(cp.asarray(3)),
    "a parameter that CuPy lacks": lambda x: cp.sum(x, where=x > 0),
    "a method's parameter that CuPy lacks": lambda x: x.sum(initial=1.0),
    "a ufunc's method through NumPy": lambda x: np.add.reduce(x),
    "object arrays": lambda x: cp.asarray(np.array([None])),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses(what):
    x = on_device()
    with pytest.raises(TypeError):
        REFUSED[what](x)


@pytest.mark.parametrize(
    ("error", "use"),
    [
        (AttributeError, lambda x: cp.unstack(x)),
        (AttributeError, lambda x: x.resize(3)),
        (NotImplementedError, lambda x: cp.maximum.accumulate(x)),
    ],
    ids=["function", "method", "ufunc method"],
)
def test_what_cupy_lacks_is_missing(error, use):
    with pytest.raises(error):
        use(on_device())


WORKS = {
    "operators": (lambda xp, x: -x * 2 + np.float32(1) / (x + 1) ** 2, N),
    "NumPy ufunc": (lambda xp, x: np.exp(x), N),
    "NumPy function": (lambda xp, x: np.broadcast_to(x, (4, 2, 3)), N),
    "reduction": (lambda xp, x: x.sum((0, 1), x.dtype), N),
    "function": (lambda xp, x: xp.concatenate([x, x], axis=1), N),
    "linalg": (lambda xp, x: xp.linalg.norm(x), N),
    "matmul": (lambda xp, x: x @ x.T, N),
    "device index": (lambda xp, x: x[xp.arange(2), 1:], N),
    "one element": (lambda xp, x: x[1, 2], N),
    "scatter": (lambda xp, x: (xp.add.at(x, (0, slice(None)), 1.0), x)[1], N),
    "grid": (lambda xp, x: x[xp.ogrid[0:2, 0:3]], N),
    "assignment to a diagonal": (lambda xp, x: (xp.diagonal(x).__setitem__(..., 0.0), x)[1], N[:, :2]),
    "out": (lambda xp, x: xp.multiply(x, 2, out=x), N),
}


@pytest.mark.parametrize("what", WORKS)
def test_it_computes_what_numpy_computes_without_moving_data(what):
    use, data = WORKS[what]
    x, y = on_device(data.copy()), data.copy()
    with transfers():
        result = use(cp, x)
    assert isinstance(result, FakeArray)
    expected = np.fill_diagonal(y, 0.0) or y if "diagonal" in what else use(np, y)
    np.testing.assert_array_equal(result.get(), expected)


@pytest.mark.parametrize(
    ("counts", "use"),
    [
        ({"to_host": 1}, lambda x: x.get()),
        ({"to_host": 1}, lambda x: float(x[0, 0])),
        ({"to_host": 1}, lambda x: bool((x > 0).any())),
        ({"to_host": 1}, lambda x: x.tolist()),
        ({"to_device": 1}, lambda x: cp.asarray([1, 2])),
        ({"to_device": 1}, lambda x: x[[0, 1]]),
        ({}, lambda x: cp.asarray(x)),
    ],
)
def test_it_counts_transfers(counts, use):
    x = on_device()
    with transfers(**counts):
        use(x)


def test_views_know_their_base_and_share_memory():
    x = on_device(N.copy())
    view = x.reshape(3, 2).T
    assert view.base is x
    assert (x + 1).base is None
    view[...] = 0.0
    assert not x.get().any()
