"""In-place forms on large tensors: one kernel in the tensor's own memory, or the plain way where that is needed."""

import numpy as np
import pytest

import expkit as ek
from expkit.kernels.cpu.loops.plan import Plan

pytest.importorskip("llvmlite")
SHAPE = (300, 280)
FORMS = {  # name: (in place, out of place); x, y and z have the same shape
    "add_": (lambda x, y, z: x.add_(y), lambda x, y, z: x + y),
    "add_ scaled": (lambda x, y, z: x.add_(y, alpha=0.5), lambda x, y, z: x + 0.5 * y),
    "sub_ scaled": (lambda x, y, z: x.sub_(y, alpha=2), lambda x, y, z: x - 2 * y),
    "sub_ of a row": (lambda x, y, z: x.sub_(y[0]), lambda x, y, z: x - y[0]),
    "mul_ by a column": (lambda x, y, z: x.mul_(y[:, :1]), lambda x, y, z: x * y[:, :1]),
    "div_ by a number": (lambda x, y, z: x.div_(3), lambda x, y, z: x / 3),
    "mul_ by itself": (lambda x, y, z: x.mul_(x), lambda x, y, z: x * x),
    "lerp_": (lambda x, y, z: x.lerp_(y, 0.3), lambda x, y, z: x + 0.3 * (y - x)),
    "addcmul_": (lambda x, y, z: x.addcmul_(y, z, value=0.1), lambda x, y, z: x + 0.1 * y * z),
    "addcmul_ of itself": (lambda x, y, z: x.addcmul_(x, x), lambda x, y, z: x + x * x),
    "addcdiv_": (lambda x, y, z: x.addcdiv_(y, z + 9, value=-1), lambda x, y, z: x - y / (z + 9)),
    "clamp_": (lambda x, y, z: x.clamp_(-0.5, 0.25), lambda x, y, z: np.clip(x, -0.5, 0.25)),
    "clamp_ from above": (lambda x, y, z: x.clamp_(max=0), lambda x, y, z: np.minimum(x, 0)),
    "relu_": (lambda x, y, z: x.relu_(), lambda x, y, z: np.maximum(x, 0)),
    "exp_": (lambda x, y, z: x.exp_(), lambda x, y, z: np.exp(x)),
    "operators": (lambda x, y, z: x.__iadd__(y).__imul__(2.0), lambda x, y, z: (x + y) * 2),
}
PLAIN = {  # what no kernel may do
    "a shifted view of itself": (
        lambda x, y, z: x[1:].add_(x[:-1]),
        lambda x, y, z: np.vstack([x[:1], x[1:] + x[:-1]]),
    ),
    "limits that are NaN": (lambda x, y, z: x.clamp_(float("nan"), 1), lambda x, y, z: x * np.nan),
    "limits that are tensors": (lambda x, y, z: x.clamp_(y, y + 1), lambda x, y, z: np.clip(x, y, y + 1)),
}


def operands(layout, dtype):
    made = [np.random.default_rng(seed).standard_normal((2 * SHAPE[0], SHAPE[1])).astype(dtype) for seed in range(3)]
    views = {"dense": lambda a: a[: SHAPE[0]], "rows apart": lambda a: a[::2], "transposed": lambda a: a[:280].T}
    return [views[layout](a) for a in made]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("layout", ["dense", "rows apart", "transposed"])
@pytest.mark.parametrize("name", [*FORMS, *PLAIN])
def test_in_place_is_out_of_place_written_back(name, layout, dtype, monkeypatch):
    change, want = (FORMS | PLAIN)[name]
    raws = operands(layout, dtype)
    expected = want(*[r.copy() for r in raws])
    x, y, z = map(ek.from_numpy, raws)
    ran, run = [], Plan.__call__
    monkeypatch.setattr(Plan, "__call__", lambda self, *arrays: ran.append(arrays) or run(self, *arrays))
    change(x, y, z)
    np.testing.assert_allclose(raws[0], expected, rtol=2e-5 if dtype == "f4" else 1e-12, atol=1e-6)
    inside = any(arrays[0] is arrays[-1] for arrays in ran)
    assert inside == (name in FORMS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "bool", "bfloat16"])
@pytest.mark.parametrize("shape", [(3,), (), (300, 280)], ids=str)
def test_filling(dtype, shape):
    x = ek.zeros(shape, dtype=getattr(ek, dtype))
    assert (x.fill_(1) == 1).all().item()
    view = x[..., ::2] if shape else x
    view.zero_()
    assert not view.any().item()
    assert x.float().sum().item() == (x.numel() - view.numel())


def test_a_recorded_write_keeps_history():
    leaf = ek.ones(SHAPE, dtype=ek.float64).requires_grad_()
    x = leaf * 3
    x.mul_(2.0).add_(leaf)
    x.sum().backward()
    assert (leaf.grad == 7).all().item()
    with pytest.raises(RuntimeError, match="leaf"):
        leaf.add_(1.0)


def test_shapes_that_do_not_fit_are_refused():
    for other in (ek.ones(2, *SHAPE), ek.ones(7)):
        with pytest.raises((RuntimeError, ValueError)):
            ek.ones(SHAPE).add_(other)
