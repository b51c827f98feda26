"""The micro-kernel of products: heights, strides, segments, masked columns, accumulation and what follows."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.code.ir import SIZES
from expkit.kernels.cpu.code.routine import Routine
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel
from expkit.kernels.cpu.machine import llvm
from tests.kernels.guards import Guards

LEAD = 5  # rows of A have this many elements more than k
WORDS = ("c_row", "k", "segments", "columns", "accumulate", "last")


def add_bias(f, row, vector, value):
    return value + f.pointer("bias").at(vector * blocking("f4").lanes).load(lanes=blocking("f4").lanes)


def routine(rows, kind, strides):
    """A routine that runs one micro-kernel: with segments and runtime strides, or with neither."""

    def write(f):
        a, offsets, b, bias, c = f.arrays
        kernel = microkernel(
            f.helpers, "micro", rows, 2, kind, strides=strides, segmented=strides is None,
            finish=add_bias if kind == "f4" else None, extra={"bias": "*f4"},
        )  # fmt: skip
        before = () if strides else (f["a_row"], f["a_k"])
        middle = () if strides else (f["segments"], offsets)
        after = (f["last"], bias) if kind == "f4" else ()
        shared = (f["columns"], f["accumulate"], *after)
        f.run(kernel, a, *before, b, c, f["c_row"], f["k"], *middle, *shared)

    return Routine("micro", (kind, "i8", kind, "f4", kind), ("a_row", "a_k", *WORDS), write)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("rows", blocking("f4").heights)
def test_strided_and_segmented(rows, kind):
    run = routine(rows, kind, None)
    rng = np.random.default_rng(rows)
    width, size = blocking(kind).width, SIZES[kind]
    for k, segments, columns, accumulate, last in [
        (1, 1, width, 0, 0), (5, 3, width - 1, 0, 1), (8, 2, 1, 1, 0), (13, 1, width // 2, 1, 1),
        (0, 1, width, 0, 0), (4, 0, 3, 1, 0),
    ]:  # fmt: skip
        a = rng.standard_normal((rows + 7, 2 * k + LEAD)).astype(kind)
        offsets = np.array([a.strides[0] * (2 * s) + size * s for s in range(segments)], np.int64)
        b = rng.standard_normal((segments, k, width)).astype(kind)
        bias = rng.standard_normal(width).astype("f4")
        guards = Guards()
        c = guards.empty((rows, columns), kind)
        c[:] = old = rng.standard_normal(c.shape)
        words = {"c_row": c.strides[0], "k": k, "segments": segments, "columns": columns, "accumulate": accumulate}
        run.bind(1, a_row=a.strides[0], a_k=2 * size, last=last, **words)(a, offsets, b, bias, c)
        guards.check()
        want = sum(a[2 * s : 2 * s + rows, s : s + 2 * k : 2].astype("f8") @ b[s] for s in range(segments)) + 0.0
        want = (want + np.zeros((rows, width)))[:, :columns] + accumulate * old.astype(kind).astype("f8")
        want = want + (bias[:columns] if last and kind == "f4" else 0)
        np.testing.assert_allclose(c, want, rtol=1e-4 if kind == "f4" else 1e-12, atol=1e-4 if kind == "f4" else 1e-12)


@pytest.mark.parametrize("rows", blocking("f4").heights)
def test_constant_strides(rows):
    rng = np.random.default_rng(rows)
    a, b = rng.standard_normal((rows, 40)).astype("f4"), rng.standard_normal((37, blocking("f4").width)).astype("f4")
    c, none = np.empty((rows, blocking("f4").width), "f4"), np.zeros(0, "f4")
    words = dict.fromkeys(("a_row", "a_k", "segments", "accumulate", "last"), 0)
    run = routine(rows, "f4", (160, 4)).bind(1, c_row=c.strides[0], k=37, columns=c.shape[1], **words)
    run(a, np.zeros(0, np.int64), b, none, c)
    np.testing.assert_allclose(c, a[:, :37].astype("f8") @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("features", [{"avx2"}, set()])
def test_blocks_of_other_cpus_fit(features, monkeypatch):
    monkeypatch.setattr(llvm, "has", lambda feature: feature in features)
    found = blocking("f4")
    registers = found.heights[0] * found.vectors + found.vectors + 1
    assert registers <= 16
    test_constant_strides(found.heights[0])
