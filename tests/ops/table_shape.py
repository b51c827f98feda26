"""Rows of what joins, splits, repeats and looks into tensors under PyTorch's many names (a part of tests/ops/table.py)."""

from typing import Any

import numpy as np

import expkit as ek
from tests.ops.rows import Bad, Row, Sample

S = Sample
DTYPES = "float64 float32 bfloat16 int64 bool"


def row(name: str, samples: Any, numpy: Any = None, **kw: Any) -> Row:
    return Row(name, samples, numpy, **{"dtypes": DTYPES, **kw})


def lists(fn: Any) -> Any:
    """A function of a list as one of arguments."""
    return lambda *xs: fn(list(xs))


JOINED = [
    row("dstack", lambda g: [S([g(3), g(3)]), S([g(2, 3), g(2, 3)]), S([g(), g()]), S([g(1, 2, 3), g(1, 2, 1)]), Bad([]), Bad([g(2), g(3)])], np.dstack),
    row("column_stack", lambda g: [S([g(3), g(3, 2)]), S([g(2), g(2)]), S([g(), g()]), Bad([g(3), g(2)])], np.column_stack),
    row("block_diag", lambda g: [S(g(2, 3), g(1, 1)), S(g(2), g(), g(3, 1)), Bad(g(1, 2, 3))]),
    row("block_diag", lambda g: [S(g(0), g(2, 2))], grad=False),
    row("atleast_1d", lambda g: [S(g()), S(g(2)), S(g(), g(2, 3)), S([g(), g(1)])], torch=lambda t: t.atleast_1d),
    row("atleast_2d", lambda g: [S(g()), S(g(2)), S(g(), g(2, 3)), S([g(), g(1)])]),
    row("atleast_3d", lambda g: [S(g()), S(g(2)), S(g(), g(2, 3)), S([g(), g(1), g(2, 1, 3, 1)])]),
    row("broadcast_tensors", lambda g: [S(g(3), g(2, 1)), S(g(), g(2)), S(g(2, 3), g(2, 3)), Bad(g(2), g(3))]),
]  # fmt: skip

PIECES = [
    row("tensor_split", lambda g: [S(g(5), 2), S(g(2, 5), 3, 1), S(g(5), (1, 3)), S(g(5), (3, 1)), S(g(4), (-1, 9)), S(g(2, 4), [2], -1), S(g(0), 2), Bad(g(4), 0), Bad(g(), 1)]),
    row("split_with_sizes", lambda g: [S(g(5), [1, 0, 4]), S(g(2, 3), [2, 1], -1), Bad(g(4), [1, 1]), Bad(g(4), [5, -1])]),
    row("hsplit", lambda g: [S(g(4), 2), S(g(2, 4), 2), S(g(2, 4, 1), (1, 3)), Bad(g(3), 2), Bad(g(), 1)]),
    row("vsplit", lambda g: [S(g(4, 2), 2), S(g(4, 1), (1, 3)), Bad(g(4), 2), Bad(g(3, 2), 2)]),
    row("dsplit", lambda g: [S(g(1, 2, 4), 2), S(g(1, 1, 4), (1, 3)), Bad(g(4, 2), 2), Bad(g(1, 2, 3), 2)]),
    *(row(f"unsafe_{name}", lambda g: [S(g(5), 2), S(g(2, 5), 3, 1)]) for name in ("chunk", "split")),
    row("unsafe_split_with_sizes", lambda g: [S(g(5), [1, 0, 4])]),
]  # fmt: skip

REPEATED = [
    row("fliplr", lambda g: [S(g(2, 3)), S(g(1, 2, 3)), Bad(g(2))], np.fliplr),
    row("flipud", lambda g: [S(g(3)), S(g(2, 3)), Bad(g())], np.flipud),
    row("rot90", lambda g: [S(g(2, 3)), S(g(2, 3), 2), S(g(2, 3), -1), S(g(2, 3), 4), S(g(2, 1, 3), 1, (2, 0)), S(g(2, 3), 3, [0, -1]), Bad(g(2)), Bad(g(2, 3), 1, (0, 0)), Bad(g(2, 3), 1, (0,))],
        np.rot90),
    row("repeat_interleave", lambda g: [S(g(3), np.array([2, 0, 1])), S(g(2, 3), np.array([1, 2]), 0), S(g(2, 3), np.array([2, 0, 1]), -1), S(g(3), np.array([2])), S(g(), np.array(2)),
                                        S(g(2), np.array([0, 0])), Bad(g(3), np.array([1, 2])), Bad(g(3), np.array([-1, 1, 1])), Bad(g(3), -1), Bad(g(), 2, 0)],
        vmap=False, trace=False),
    row("repeat_interleave", lambda g: [S(np.array([2, 0, 1])), S(np.array([], int)), Bad(np.array([[1]]))], grad=False, vmap=False, trace=False, dtypes="float64"),
]  # fmt: skip

SHAPED = [
    row("ravel", lambda g: [S(g(2, 3)), S(g()), S(g(0, 2))], np.ravel),
    row("adjoint", lambda g: [S(g(2, 3)), S(g(2, 1, 3)), Bad(g(3))]),
    row("narrow_copy", lambda g: [S(g(5), 0, 1, 3), S(g(2, 4), -1, -3, 2), Bad(g(3), 0, 2, 2)],
        torch=lambda t: lambda x, *a: x.narrow(*a).clone()),
    row("Tensor.view_as", lambda g: [S(g(2, 3), g(3, 2)), Bad(g(2), g(3))], grad=False, gaps={"layout": "view_as() refuses strides that do not fit, as PyTorch does"}),
    row("Tensor.sum_to_size", lambda g: [S(g(2, 3), 1, 3), S(g(2, 3), (3,)), S(g(2, 3), ()), S(g(2, 3), (2, 3)), Bad(g(2, 3), 2), Bad(g(3), 2, 3)], dtypes="float64 float32"),
    row("Tensor.reshape_as", lambda g: [S(g(2, 3), g(3, 2)), Bad(g(2), g(3))], grad=False),
]  # fmt: skip


def restrided(x: Any, size: Any, stride: Any, offset: int = 0) -> Any:
    """as_strided of a contiguous copy's memory: strides are no part of a sample."""
    return x.contiguous().as_strided(size, stride, offset)


def scattered(x: Any, src: Any, *layout: Any) -> Any:
    return x.contiguous().as_strided_scatter(src, *layout)


def windowed(x: Any, y: Any) -> Any:
    """Windows that do not overlap, written through."""
    out = x.clone()
    out.unfold(0, 2, 2).mul_(y)
    return out


STRIDED = [
    row("Tensor.unfold", lambda g: [S(g(5), 0, 2, 1), S(g(2, 5), -1, 3, 2), S(g(5, 2), 0, 2, 2), S(g(), 0, 1, 1), S(g(3), 0, 0, 1), Bad(g(3), 0, 4, 1), Bad(g(3), 0, 1, 0), Bad(g(3), 0, -1, 1)],
        gaps={"versions": "windows that overlap are not written to: PyTorch's result depends on its order of writing"}),
    row("Tensor.unfold", lambda g: [S(g(4, 2), g(2, 2, 2))], call=windowed, torch=lambda t: windowed, dtypes="float64 float32 int64"),
    row("as_strided", lambda g: [S(g(3, 4), (2, 2), (4, 1)), S(g(3, 4), (3,), (5,)), S(g(6), (2, 3), (1, 2), 0), S(g(6), (2, 3), (1, 1), 1), S(g(4), (3, 2), (0, 1)), S(g(2), (), (), 1),
                                 Bad(g(3), (2,), (3,)), Bad(g(3), (2,), (1, 1)), Bad(g(3), (-1,), (1,))],
        call=restrided, torch=lambda t: restrided),
    row("as_strided_scatter", lambda g: [S(g(3, 4), g(2, 2), (2, 2), (4, 1)), S(g(6), g(3), (3,), (2,), 1), Bad(g(3), g(3), (2,), (1,))], call=scattered, torch=lambda t: scattered,
        gaps=dict.fromkeys(("torch_grad", "versions"), "PyTorch's gradient of the input is that of the part that was overwritten")),
    row("Tensor.view", lambda g: [S(g(2, 4)), S(g(3))], call=lambda x: x.contiguous().view(ek.int64), torch=lambda t: lambda x: x.contiguous().view(t.int64), grad=False, dtypes="float64"),
]  # fmt: skip

ROWS = [*JOINED, *PIECES, *REPEATED, *SHAPED, *STRIDED]
