"""Every public operation through every check. A test's name is check[row]: `pytest tests/ops -k "vjp and softmax"`."""

from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import expkit as ek
from expkit.autograd.primitive import PRIMITIVES
from expkit.tensor import methods
from tests.ops import checkers
from tests.ops.rows import Row
from tests.ops.table import ELSEWHERE, ROWS


def _numbered(rows: list[Row]) -> dict[str, Row]:
    count: Counter = Counter()
    named = {}
    for row in rows:
        count[row.name] += 1
        named[row.name if count[row.name] == 1 else f"{row.name}-{count[row.name]}"] = row
    return named


NAMED = _numbered(ROWS)


def which(condition: Callable[[Row], bool]) -> Any:
    return pytest.mark.parametrize("name", [name for name, row in NAMED.items() if condition(row)])


def run(check: str, name: str, body: Callable[[Row], None], dtype: str = "") -> None:
    """The check, or the proof that a gap in the table is still there."""
    row = NAMED[name]
    reason = row.gaps.get(f"{check}:{dtype}") or row.gaps.get(check)
    if reason is None:
        body(row)
        return
    try:
        body(row)
    except (AssertionError, *checkers.REFUSALS):
        pytest.xfail(reason)
    pytest.fail(f"{check} of {name} holds now: take the gap out of the table ({reason})")


@which(lambda row: row.numpy is not None)
def test_value(name):
    run("value", name, checkers.check_value)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "dtype"), [(name, d) for name, row in NAMED.items() for d in row.dtypes.split()])
def test_torch(name, dtype, torch):
    run("torch", name, lambda row: checkers.check_torch(row, torch, dtype), dtype)


@pytest.mark.torch
@which(lambda row: bool(row.bad()))
def test_refused(name, torch):
    run("refused", name, lambda row: checkers.check_refused(row, torch))


@which(lambda row: any(a.ndim for s in row.make() for a in s.arrays()))
def test_layout(name):
    run("layout", name, checkers.check_layout)


@pytest.mark.torch
@which(lambda row: bool(row.dtypes))
def test_alias(name, torch):
    run("alias", name, lambda row: checkers.check_alias(row, torch))


@which(lambda row: row.grad)
def test_vjp(name):
    run("vjp", name, checkers.check_vjp)


@pytest.mark.torch
@which(lambda row: row.grad)
def test_torch_grad(name, torch):
    run("torch_grad", name, lambda row: checkers.check_torch_grad(row, torch))


@pytest.mark.torch
@which(lambda row: row.grad)
def test_versions(name, torch):
    run("versions", name, lambda row: checkers.check_versions(row, torch))


@which(lambda row: row.grad)
def test_jvp(name):
    run("jvp", name, checkers.check_jvp)


@which(lambda row: row.grad and row.second)
def test_second(name):
    run("second", name, checkers.check_second)


@which(lambda row: row.vmap)
def test_vmap(name):
    run("vmap", name, checkers.check_vmap)


@which(lambda row: row.vmap and row.grad)
def test_vmap_grad(name):
    run("vmap_grad", name, checkers.check_vmap_grad)


@which(lambda row: row.trace)
def test_trace(name):
    for dtype in ("float64", "float32", "bfloat16", "int64", "uint8", "bool"):
        run("trace", name, lambda row, dtype=dtype: checkers.check_trace(row, dtype))


@which(lambda row: row.trace and row.grad)
def test_trace_grad(name):
    run("trace_grad", name, checkers.check_trace_grad)


@which(lambda row: row.trace and row.grad and "bfloat16" in row.dtypes)
def test_trace_dtypes(name):
    for dtype in ("float32", "bfloat16"):
        run("trace_dtypes", name, lambda row, dtype=dtype: checkers.check_trace_dtypes(row, dtype))


# ---- discovery -------------------------------------------------------------------------------------------------------


def rows_of(names: set[str]) -> set[str]:
    """The public names among `names` for which there is no row."""
    known = {row.name.removeprefix("Tensor.") for row in ROWS} | {
        n for names_ in ELSEWHERE.values() for n in names_.split()
    }
    return names - known


def test_every_public_function_has_a_row():
    public = {n for n in ek.tensor.__all__ if not isinstance(getattr(ek.tensor, n), ModuleType)}
    assert rows_of(public) == set()


def test_every_method_has_a_row():
    assert rows_of({n for names in methods.METHODS.values() for n in names.split()}) == set()


def test_no_row_is_for_something_that_is_gone():
    for name in NAMED:
        assert callable(NAMED[name].function())


# Primitives that rows cannot reach, and what tests them.
UNREACHED = {
    "drawn": "tests/tensor/test_random.py",
    "random": "draws as one operation: tests/kernels/test_dropout.py",
    **dict.fromkeys(("nonzero", "unique", "bincount"), "their rows run them, but they cannot be traced"),
    **dict.fromkeys(("contiguous", "as_strided"), "their rows run them, but a trace has no strides"),
    "overwrite": "copy_ records it, but its gradient is no equation",
    "nll": "tests/kernels/test_loss.py",
    "pick": "second derivatives of maxima: max_pool1d to max_pool3d of this table, which traces do not follow so far",
    "one_hot": "second derivatives of cross entropy: tests/ops/test_conv_pool.py",
    "loss_factors": "second derivatives of cross entropy: tests/ops/test_conv_pool.py",
    **dict.fromkeys(("update", "sum_all"), "many tensors at once: tests/optim/test_recorded.py"),
    "fused": "composites of large arrays: tests/kernels/test_composites.py",
    "masked": "tests/kernels/test_dropout.py",
    "scaled_gradient": "scale_grad_by_freq: tests/nn/test_lookup.py",
    "rms_norm": "large arrays: tests/kernels/test_norm.py",
    **dict.fromkeys(
        ("normalize_grad1", "normalize_grad2", "normalize_grad3", "rms_norm_grad1", "rms_norm_grad2"),
        "tests/ops/test_compound.py",
    ),
    **dict.fromkeys(("rnn_tanh", "rnn_relu", "lstm", "lstm_projected", "gru"), "whole layers: tests/nn/test_rnn.py"),
    **dict.fromkeys(("attention_grad", "cross_entropy_grad", "nll_grad"), "tests/ops/test_compound.py"),
    **dict.fromkeys(
        (f"{kind}_grad" for kind in ("rnn_tanh", "rnn_relu", "lstm", "lstm_projected", "gru")),
        "tests/ops/test_compound.py",
    ),
    **dict.fromkeys(
        ("all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast", "reduce"),
        "several ranks: tests/distributed/test_collectives.py",
    ),
    "ctc": "tests/nn/test_ctc.py",
    "put_bitcast": "writes through view(dtype): tests/tensor/test_shapes.py",
    "row_order": "rows in the order of pivots: tests/ops/test_linalg.py",
    "minors": "matrices without a factor: tests/ops/test_linalg.py",
    "to_device": "tests/structure/test_fake_device.py (there is no second device here)",
}


def test_every_primitive_is_reached_by_some_row():
    seen: set[str] = set()
    for row in ROWS:
        seen |= checkers.primitives_of(row)
    assert set(PRIMITIVES) - seen - set(UNREACHED) == set()
