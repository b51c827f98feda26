"""Reductions, scans and order statistics beside PyTorch's: any shape, dims, dtype, and any strides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import expkit as ek
from tests.ops.case import attempt
from tests.ops.rows import FLOATS, TOLERANCE, array_of, as_dtype, dtype_name, tensors, torch_tensor

pytestmark = pytest.mark.torch

SEVERAL = [
    "sum",
    "mean",
    "amax",
    "amin",
    "var",
    "std",
    "nansum",
    "nanmean",
    "logsumexp",
    "count_nonzero",
    "any",
    "all",
    "norm",
]
SINGLE = [
    "prod", "argmax", "argmin", "max", "min", "median", "nanmedian", "mode", "sort", "argsort", "cumsum", "cumprod",
    "cummax", "cummin", "logcumsumexp", "softmax", "log_softmax", "diff", "kthvalue", "topk",
]  # fmt: skip
WHOLE = ["sum", "mean", "prod", "max", "min", "median", "nanmedian", "std", "any", "all", "nansum", "norm"]
KEEPING = {*SEVERAL, "prod", "argmax", "argmin", "max", "min", "median", "nanmedian", "mode"} - {
    "count_nonzero",
    "norm",
}
DTYPES = ["float64", "float32", "bfloat16", "float16", "int64", "int32", "uint8", "bool"]
EQUAL = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0])  # few values, so that there are ties


@st.composite
def arrays(draw):
    """Makes an array in a dtype: at most 4 dimensions (some of size 0 or 1), permuted and cut in memory."""
    shape = draw(st.lists(st.sampled_from([0, 1, 1, 2, 3, 5]), max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    base = np.asarray(
        rng.choice(EQUAL, [2 * n for n in shape])
        if draw(st.booleans())
        else rng.standard_normal([2 * n for n in shape])
    )
    holes = draw(st.integers(0, 5)) == 0
    steps = tuple(draw(st.sampled_from([slice(None, None, 2), slice(n, None)])) for n in shape)
    order = draw(st.permutations(range(len(shape))))

    def make(dtype):
        x = np.where(rng.random(base.shape) < 0.2, np.nan, base) if holes and dtype in FLOATS.split() else base
        return (
            np.asarray(as_dtype(np.asarray(x), dtype))[steps].transpose(order)
            if shape
            else np.asarray(as_dtype(np.asarray(x), dtype))
        )

    return make


def same(got, expected, dtype, what):
    for y, e in zip(tensors(got), tensors(expected), strict=True):
        assert dtype_name(y) == dtype_name(e), what
        assert tuple(y.shape) == tuple(e.shape), what
        rtol, atol = (20 * t for t in TOLERANCE.get(dtype if dtype in TOLERANCE else dtype_name(y), (0.0, 0.0)))
        np.testing.assert_allclose(
            array_of(y).astype(float), array_of(e).astype(float), rtol=rtol, atol=atol, err_msg=what
        )


def compared(name, x, dtype, torch, *args, **kw):
    """expkit's result equals PyTorch's, or both refuse."""
    mine, theirs = ek.from_numpy(x), torch_tensor(torch, np.array(x, order="C"))
    if name == "mode" and bool(np.isnan(x.astype(float)).any()):
        return  # which NaN is the mode depends on their order
    if dtype == "bool" and name in ("median", "nanmedian", "kthvalue", "topk"):
        return  # PyTorch has these only where there is nothing to compute
    expected, refused = attempt(lambda: getattr(torch, name)(theirs, *args, **kw))
    got, error = attempt(lambda: getattr(ek, name)(mine, *args, **kw))
    what = f"{name}({dtype}{list(x.shape)}, {args}, {kw})"
    if refused is not None:
        lacking = "not implemented" in str(refused)
        assert error is not None or lacking, f"{what}: PyTorch refuses: {refused}"
        return
    assert error is None, f"{what}: {type(error).__name__}: {error}"
    if name in ("sort", "argsort", "mode", "median", "nanmedian", "kthvalue", "topk"):  # ties may be named in any order
        index = got if name == "argsort" else got[1] if isinstance(got, tuple) else None
        if index is not None and mine.ndim:
            line = index if index.ndim == mine.ndim else index.unsqueeze(args[-1])
            found = mine.take_along_dim(line, args[-1])
            found = found if index.ndim == mine.ndim else found.squeeze(args[-1])
            there = torch.sort(theirs, args[-1])[0] if name == "argsort" else expected[0]
            same(found, there, dtype, what)
        expected, got = ((), ()) if name == "argsort" else (tensors(expected)[0], tensors(got)[0])
    same(got, expected, dtype, what)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), x=arrays(), name=st.sampled_from(SEVERAL), dtype=st.sampled_from(DTYPES))
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_over_several_dims(data, x, name, dtype, torch):
    x = x(dtype)
    dims = data.draw(st.lists(st.integers(-x.ndim, x.ndim - 1), max_size=x.ndim) if x.ndim else st.just([]))
    kw = {"keepdim": data.draw(st.booleans())} if name in KEEPING else {}
    if name == "norm":
        dims = [data.draw(st.sampled_from([1, 2, 3.0, float("inf")])), dims or None]
    elif name == "logsumexp" and not dims:
        return
    else:
        dims = [tuple(dims)]
    compared(name, x, dtype, torch, *dims, **kw)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), x=arrays(), name=st.sampled_from(SINGLE), dtype=st.sampled_from(DTYPES))
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_along_one_dim(data, x, name, dtype, torch):
    x = x(dtype)
    dim = data.draw(st.integers(-max(x.ndim, 1), max(x.ndim, 1) - 1))
    if "softmax" in name and dtype not in FLOATS.split():
        return  # PyTorch lacks kernels for these, but for no elements
    kw = {"keepdim": data.draw(st.booleans())} if name in KEEPING else {}
    lead = [data.draw(st.integers(1, 3))] if name in ("kthvalue", "topk") else [1] if name == "diff" else []
    compared(name, x, dtype, torch, *lead, dim, **kw)


@settings(max_examples=60, deadline=None)
@given(x=arrays(), name=st.sampled_from(WHOLE), dtype=st.sampled_from(DTYPES))
@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_of_everything(x, name, dtype, torch):
    compared(name, x(dtype), dtype, torch)
