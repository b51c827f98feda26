"""kernel_of: traced tensor code against the plain evaluation of its graph."""

import numpy as np
import pytest

import expkit as ek
import expkit.tensor as T
from expkit.autograd.trace import trace
from expkit.kernels.cpu.loops.fuse import kernel_of

pytest.importorskip("llvmlite")


def t(*shape, dtype="f4"):
    return ek.from_numpy(np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype))


def _layer_norm(x, w, b):
    mean = x.mean(-1, keepdim=True)
    d = x - mean
    return d * T.rsqrt((d * d).mean(-1, keepdim=True) + 1e-5) * w + b


def _softmax(x):
    e = T.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def _log_softmax(x):
    d = x - x.amax(-1, keepdim=True)
    return d - T.log(T.exp(d).sum(-1, keepdim=True))


def _column_softmax(x):
    e = T.exp(x - x.amax(0, keepdim=True))
    return e / e.sum(0, keepdim=True)


CONSTANT = t(9)
FUSED = {
    "chain": (lambda x, y: T.where(x > y, x * 2 + 1, T.tanh(y)), (t(4, 5), t(5))),
    "constant": (lambda x: x * CONSTANT, (t(4, 9),)),
    "casts": (lambda x: (x > 0).to(ek.float64) * 2, (t(4, 9),)),
    "two outputs": (lambda x: (T.exp(x), x > 0), (t(4, 9),)),
    "rms_norm": (lambda x, w: x * T.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w, (t(7, 9), t(9))),
    "layer_norm": (_layer_norm, (t(3, 7, 9), t(9), t(9))),
    "softmax": (_softmax, (t(7, 90),)),
    "log_softmax": (_log_softmax, (t(7, 90),)),
    "softmax gradient": (lambda g, y: y * (g - (g * y).sum(-1, keepdim=True)), (t(7, 90), t(7, 90))),
    "sum of squares": (lambda x: (x * x).sum(), (t(70, 90),)),
    "columns": (lambda x, y: ((x - y) ** 2).sum(0), (t(70, 90), t(90))),
    "mean beside": (lambda x: (x - x.mean(-1, keepdim=True), x.mean(-1, keepdim=True)), (t(7, 9),)),
    "softmax of columns": (_column_softmax, (t(700, 90),)),
    "a middle axis, two outputs": (
        lambda x, y: (x / (x * y).sum(1, keepdim=True), (x * y).sum(1, keepdim=True) + 1),
        (t(4, 50, 9), t(4, 50, 9)),
    ),
    "extrema of columns": (lambda x: x.amax(0, keepdim=True) - x * x.amin(0, keepdim=True), (t(300, 17),)),
    "norm of rows": (lambda x: x.norm(dim=-1), (t(7, 90),)),
    "scaled by its norm": (lambda x: x / ((x * 2).norm(dim=-1, keepdim=True) + 1), (t(7, 90),)),
    "count": (lambda x: (x > 0).sum(-1), (t(7, 90),)),
    "products": (lambda x: (x + 1).prod(1), (t(7, 9),)),
    "logsumexp": (lambda x: T.log(T.exp(x).sum(-1)), (t(7, 9),)),
}
REFUSED = {
    "matmul": (lambda x: x @ x, (t(5, 5),)),
    "matmul of other shapes": (lambda x, y: x @ y + 1, (t(3, 4), t(4, 5))),
    "transposed": (lambda x: x + x.T, (t(5, 5),)),
    "a column beside rows": (lambda x: x - x.sum(-1), (t(5, 5),)),
    "two axes": (lambda x: x.sum(-1, keepdim=True) + x - x.sum(0, keepdim=True), (t(5, 5),)),
    "reshaped": (lambda x: x.reshape(10, 2) * 2, (t(4, 5),)),
    "float to short": (lambda x: x.to(ek.int16) + 1, (t(4, 5),)),
    "the input": (lambda x: x, (t(4, 5),)),
    "bfloat16": (lambda x: x + 1, (t(4, 5).to(ek.bfloat16),)),
}


@pytest.mark.parametrize("name", FUSED)
def test_a_graph_becomes_one_kernel(name):
    fn, args = FUSED[name]
    graph = trace(fn, *args)
    kernel = kernel_of(graph)
    assert kernel is not None, str(graph)
    raws = [a.raw for a in args]
    for got, want in zip(kernel(*raws), graph.run(raws), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_kernel_has_is_left_to_others(name):
    fn, args = REFUSED[name]
    assert kernel_of(trace(fn, *args)) is None


def test_a_kernel_takes_other_extents_but_not_other_ranks():
    kernel = kernel_of(trace(_softmax, t(7, 90)))
    x = t(30, 41).raw
    np.testing.assert_allclose(kernel(x)[0], _softmax(ek.from_numpy(x)).numpy(), rtol=1e-6)
    for bad in (x[0], x[:1], x.astype("f8")):
        with pytest.raises(TypeError, match="this kernel takes"):
            kernel(bad)
