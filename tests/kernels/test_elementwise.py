"""Every elementwise emitter against the primitive's own implementation, and programs over shapes, strides, threads."""


import numpy as np
import pytest

import expkit  # noqa: F401  the primitives
from expkit.autograd.primitive import PRIMITIVES
from expkit.kernels.cpu.code.elementwise import DTYPES, EMITTERS, Gap
from expkit.kernels.cpu.loops import plan, pointwise
from expkit.kernels.cpu.loops.pointwise import Kernel, write_streams
from expkit.kernels.cpu.loops.program import Program, Ref, Step, unary
from tests.kernels.guards import Guards, install, layouts
from tests.kernels.together import at_once

pytest.importorskip("llvmlite")
KEYWORDS = {
    "clamp": [{"low": -0.5, "high": 0.5}, {"low": None, "high": 0}, {"low": 0.25, "high": None}],
    "cast": [{"dtype": np.dtype(d)} for d in ("float32", "float64", "bool")],
    "convert": [{"dtype": np.dtype(d)} for d in ("float32", "float64")],
    "safe_power": [{"p": p} for p in (0.5, 2.0, 3.0)],
}
BINARY = {
    "add", "sub", "mul", "div", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
    "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "copysign", "xlogy",
}  # fmt: skip
GAPS = {"pow": "only with the whole exponents that test_powers has"}
CASES = [(name, kind) for name in EMITTERS if name not in GAPS for kind in ("f4", "f8", "i4", "i8", "u1", "b1")]


def operand(kind: str, rng, n: int = 700) -> np.ndarray:
    if kind == "b1":
        return rng.random(n) < 0.5
    if kind[0] != "f":
        return rng.integers(0 if kind == "u1" else -100, 100, n).astype(DTYPES[kind])
    x = rng.standard_normal(n) * 3
    return np.concatenate([x, [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, 1e-40]]).astype(kind)


def test_every_emitter_is_tested_and_belongs_to_a_primitive():
    assert not set(EMITTERS) - set(PRIMITIVES)
    assert set(GAPS) < set(EMITTERS)


@pytest.mark.parametrize(("name", "kind"), CASES, ids=lambda v: v)
@np.errstate(all="ignore")
def test_an_emitter_agrees_with_its_primitive(name, kind):
    rng = np.random.default_rng(1)
    x = operand(kind, rng)
    args = [x, rng.permutation(x)] if name in BINARY else [x]
    if name == "where":
        args = [rng.random(x.size) < 0.5, x, rng.permutation(x)]
    for kw in KEYWORDS.get(name, [{}]):
        kinds = ("b1", kind, kind) if name == "where" else (kind,) * len(args)
        refs = tuple(Ref(i) for i in range(len(args)))
        try:
            kernel = Kernel(Program(kinds, (Step(name, refs, tuple(kw.items())),), (len(args),)))
        except Gap:
            assert kind[0] != "f" or name.startswith(("bitwise", "logical_not"))  # floats have everything
            continue
        got, want = kernel(*args), PRIMITIVES[name].impl(*args, **kw)
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        loose = (2e-5 if name.startswith("gelu") else 3e-6) if kind == "f4" else 4e-15
        near = 3e-6 if kind == "f4" else 1e-14  # of the activations, which cancel
        np.testing.assert_allclose(got, want, rtol=loose if kind[0] == "f" else 0, atol=near if kind[0] == "f" else 0)


@pytest.mark.parametrize("exponent", [1, 2, 3, -1])
def test_powers(exponent):
    x = np.random.default_rng(0).standard_normal(500)
    program = Program(("f8",), (Step("pow", (Ref(0), exponent)),), (1,))
    np.testing.assert_allclose(Kernel(program)(x), x**exponent, rtol=1e-15)
    with pytest.raises(Gap):
        Kernel(Program(("f8",), (Step("pow", (Ref(0), 0.7)),), (1,)))


SHAPES = [(), (1,), (7,), (16,), (1, 1), (3, 5), (5, 64), (2, 3, 4), (2, 1, 17, 3), (0, 4), (70_001,), (300, 301)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_shapes_and_strides(shape, kind, monkeypatch):
    rng, guards = np.random.default_rng(2), install(monkeypatch)
    kernel = Kernel(Program((kind, kind), (Step("mul", (Ref(0), Ref(1))), Step("add", (Ref(2), 1.5))), (3,)))
    x = np.asarray(rng.standard_normal(shape), kind)
    for a in layouts(x, rng):
        for b in (a, a[:1] if a.ndim else a, np.asarray(a.reshape(-1)[:1]) if a.size else a):
            got = kernel(guards.guarded(a), guards.guarded(b))
            want = a * b + np.dtype(kind).type(1.5)
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    guards.check()


class _Shifted(Guards):
    """Results that begin anywhere within a cache line."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def empty(self, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        block = super().empty(size + 192, np.uint8)
        start = -block.ctypes.data % 64 + self.shift
        return block[start : start + size].view(dtype).reshape(shape)


@pytest.mark.parametrize("shift", [0, 8, 16, 60])
@pytest.mark.parametrize("shape", [(1,), (7,), (16,), (130,), (3, 5), (9, 70), (40_003,), (300, 301)], ids=str)
def test_results_that_no_cache_holds(shape, shift, monkeypatch):
    guards, rng = _Shifted(shift), np.random.default_rng(4)
    monkeypatch.setattr(plan, "empty", guards.empty)
    monkeypatch.setattr(pointwise, "STREAM", 0)
    monkeypatch.setattr(pointwise, "write_streams", lambda *args: streamed.append(args) or original(*args))
    streamed, original = [], write_streams
    x, y = rng.standard_normal((2, *shape)).astype("f4")
    mask, column, wide = x > 0, y[..., :1].copy(), x.astype("f8")
    cases = [
        (Program(("b1", "f4", "f4"), (Step("where", (Ref(0), Ref(1), Ref(2))),), (3,)), (mask, x, y), None),
        (Program(("f4", "f4"), (Step("div", (Ref(0), Ref(1))),), (2,)), (x, column), x / column),
        (Program(("f4", "f4"), (Step("add", (Ref(0), Ref(1))),), (2,)), (x, y[-1:]), x + y[-1:]),
        (Program(("f8",), (Step("cast", (Ref(0),), (("dtype", np.dtype("f4")),)),), (1,)), (wide,), x),
        (Program(("f4",), (Step("cast", (Ref(0),), (("dtype", np.dtype("f8")),)),), (1,)), (x,), wide),
        (Program(("f4",), (Step("exp", (Ref(0),)),), (1,)), (x,), np.exp(x)),
    ]
    for program, args, want in cases:
        want = np.where(*args) if want is None else want
        np.testing.assert_allclose(Kernel(program)(*args), want, rtol=1e-6)
    assert streamed or x.size == 1
    guards.check()


@pytest.mark.parametrize("kind", ["f4", "f8", "i8"])
def test_results_in_the_memory_of_an_operand(kind):
    rng = np.random.default_rng(5)
    kernel = Kernel(Program((kind, kind), (Step("mul", (Ref(0), Ref(1))), Step("sub", (Ref(2), Ref(0)))), (3,), into=0))
    for shape in [(), (7,), (70_001,), (30, 41), (3, 4, 5)]:
        x = np.asarray(rng.standard_normal(shape) * 9).astype(kind)
        for a in layouts(x, rng):
            if not a.flags.writeable:
                continue
            for b in (np.asarray(rng.standard_normal(a.shape) * 9).astype(kind), a[..., :1].copy() if a.ndim else a, a):
                mine = a.copy() if b is not a else a
                other = mine if b is a else b
                want = mine * other - mine
                assert kernel(mine, other) is mine
                near = 1e-6 * float(np.abs(want).max(initial=0))
                np.testing.assert_allclose(mine, want, rtol=1e-5, atol=near)
    with pytest.raises(ValueError, match="does not fit"):
        kernel(np.zeros(3, kind), np.zeros((2, 3), kind))


def test_results_do_not_depend_on_the_number_of_threads(threads):
    x = np.random.default_rng(3).standard_normal((401, 1003)).astype("f4")
    results = []
    for n in (1, 2, 3, 4):
        threads(n)
        results.append(Kernel(unary("gelu", "f4"))(x))
    assert all(np.array_equal(results[0], r) for r in results)


def test_several_python_threads_at_once(threads):
    threads(2)
    kernel = Kernel(unary("exp", "f8"))
    arrays = [np.random.default_rng(n).standard_normal(90_000) for n in range(4)]

    def work(x):
        for _ in range(20):
            assert np.abs(kernel(x) / np.exp(x) - 1).max() <= 1e-14

    at_once(work, arrays)


def test_several_outputs_and_constants():
    steps = (Step("exp", (Ref(0),)), Step("sub", (1.0, Ref(1))), Step("gt", (Ref(2), 0.0)))
    kernel = Kernel(Program(("f8",), steps, (2, 3)))
    x = np.linspace(-1, 1, 101)
    value, mask = kernel(x)
    np.testing.assert_allclose(value, 1 - np.exp(x), rtol=1e-12, atol=1e-15)
    assert mask.dtype == bool
    assert np.array_equal(mask, value > 0)


def test_a_wrong_dtype_is_refused():
    kernel = Kernel(unary("exp", "f4"))
    for x in (np.zeros(3), np.zeros(3, ">f4"), np.zeros(3, "i4"), np.float32(1), np.zeros(3, "f4").view(np.recarray)):
        with pytest.raises(TypeError, match="this kernel takes float32"):
            kernel(x)


def test_the_order_of_memory_is_kept():
    x = np.zeros((4, 5, 6), "f4").transpose(2, 0, 1)
    assert Kernel(unary("exp", "f4"))(x).strides == np.exp(x).strides
