"""Values that are no tensors and change between two calls: compiled functions go on agreeing with plain ones."""

import gc
import weakref
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import expkit as ek
from expkit import nn

SMALL = np.ones(3, np.float32)
LARGE = np.ones(5000, np.float32)
RATE = [1.0]


def same(a, b):
    np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def follows(compiled, plain, changes, *args):
    """Compiled and plain agree before and after each change, twice."""
    for change in [lambda: None, *changes]:
        change()
        for _ in range(2):
            same(compiled(*args), plain(*args))


def rate(x):
    return x * RATE[0]


@pytest.mark.parametrize("fn", [
    lambda x: x * ek.tensor(SMALL), lambda x: x * float(SMALL[0]), lambda x: x * SMALL,
])  # fmt: skip
def test_small_arrays_around_a_function(fn):
    changes = [lambda: SMALL.__iadd__(1), lambda: globals().update(SMALL=np.full(3, 7, np.float32))]
    follows(ek.compile(fn, fullgraph=True), fn, changes, ek.ones(3))


def test_arrays_as_arguments():
    array = np.ones(3, np.float32)
    f = ek.compile(lambda x, a: x * ek.tensor(a), fullgraph=True)
    follows(f, f.fn, [lambda: array.__iadd__(1)] * 2, ek.ones(3), array)


def test_large_arrays_are_refused():
    f = ek.compile(lambda x: x * ek.tensor(LARGE))
    with pytest.warns(UserWarning, match="NumPy array of 20000 bytes"):
        follows(f, f.fn, [lambda: LARGE.__iadd__(1)], ek.ones(5000))
    g, array = ek.compile(lambda x, a: x * ek.tensor(a)), np.ones(5000, np.float32)
    with pytest.warns(UserWarning, match="of which it cannot be seen"):
        follows(g, g.fn, [lambda: array.__iadd__(1)], ek.ones(5000), array)


class Scale:
    def __init__(self):
        self.factor = 1.0

    def __call__(self, x):
        return rate(x) * self.factor


def test_partials_and_objects_that_can_be_called():
    held, scale = [1.0], Scale()
    fixed = partial(lambda held, x, *, options: rate(x) * held[0] * options["by"], held, options={"by": 1.0})
    for fn, changes in {
        fixed: [lambda: held.append(held.pop() + 1), lambda: fixed.keywords["options"].update(by=3.0)],
        scale: [lambda: setattr(scale, "factor", 5.0)],
    }.items():
        more = [*changes, lambda: RATE.append(RATE.pop() + 1)]
        follows(ek.compile(fn, fullgraph=True), fn, more, ek.ones(3))
    kept = Scale.__call__
    try:
        follows(ek.compile(scale), scale, [lambda: setattr(Scale, "__call__", lambda self, x: x * 11)], ek.ones(3))
    finally:
        Scale.__call__ = kept


@dataclass
class Options:
    level: float = 1.0
    more: object = None


class Slotted:
    __slots__ = ("level",)

    def __init__(self):
        self.level = 1.0


@pytest.mark.parametrize("made", [Options, Slotted])
def test_objects_as_arguments(made):
    options = made()
    f = ek.compile(lambda x, options: x * options.level, fullgraph=True)
    follows(f, f.fn, [lambda: setattr(options, "level", 2.0)], ek.ones(3), options)
    before = len(f.entries)
    same(f(ek.ones(3), made()), ek.ones(3))
    assert len(f.entries) == before


def test_functions_as_arguments():
    f = ek.compile(lambda x, fn: fn(x), fullgraph=True)
    follows(f, f.fn, [lambda: RATE.append(RATE.pop() + 1)], ek.ones(3), rate)


def test_objects_that_cannot_be_seen_into_are_refused():
    def drawn(x, numbers):
        return x * next(numbers)

    f, ones, others = ek.compile(drawn), iter(range(9)), iter(range(9))
    same(f(ek.ones(3), ones), drawn(ek.ones(3), others))
    with pytest.warns(UserWarning, match="of which it cannot be seen"):
        same(f(ek.ones(3), ones), drawn(ek.ones(3), others))
    same(f(ek.ones(3), ones), drawn(ek.ones(3), others))


def test_an_argument_that_the_function_changes():
    def counting(x, options):
        options.level += 1
        return x * options.level

    f, options, plain = ek.compile(counting), Options(), Options()
    for _ in range(4):
        same(f(ek.ones(3), options), counting(ek.ones(3), plain))
        assert options == plain


def test_defaults_of_the_function_itself():
    def f(x, level=1.0, *, by=1.0):
        return x * level * by

    follows(
        ek.compile(f, fullgraph=True), f,
        [lambda: setattr(f, "__defaults__", (2.0,)), lambda: f.__kwdefaults__.update(by=3.0)], ek.ones(3),
    )  # fmt: skip


class Service:
    def run(self, x):
        return rate(x)


SERVICE = Service()
TABLE = {"first": [rate]}


@pytest.mark.parametrize("fn", [lambda x: SERVICE.run(x), lambda x: TABLE["first"][0](x)])
def test_what_methods_and_functions_in_containers_read(fn):
    follows(ek.compile(fn, fullgraph=True), fn, [lambda: RATE.append(RATE.pop() + 1)], ek.ones(3))


@pytest.mark.parametrize("result", [
    lambda x: Options(more=x * 2), lambda x: {"a": Options(more=[x * 2])}, lambda x: (x * n for n in (1.0, 2.0)),
])  # fmt: skip
def test_results_that_hide_tensors(result):
    f = ek.compile(result)
    f(ek.ones(3))
    with pytest.warns(UserWarning, match="return a tuple or dict"):
        f(ek.ones(3))
    got, expected = f(ek.ones(3)), result(ek.ones(3))
    if not isinstance(got, Options | dict):
        got, expected = ({"a": Options(more=list(x))} for x in (got, expected))
    got, expected = (x["a"] if isinstance(x, dict) else x for x in (got, expected))
    for a, b in zip(got.more, expected.more, strict=True):
        same(a, b)


@pytest.mark.parametrize("number", [np.float64(2.5), np.float32(2.5), np.int64(2), np.bool_(True)])
def test_numbers_of_numpy_are_python_numbers(number):
    torch = pytest.importorskip("torch")
    for name in ("float32", "float64", "int32"):
        for fn in (lambda x: x * number, lambda x: number * x, lambda x: x + number, lambda x: x < number):
            x = ek.ones(3, dtype=getattr(ek, name))
            plain, compiled = fn(x), ek.compile(fn, fullgraph=True)(x)
            # PyTorch takes these for Python numbers but the kind: there NumPy's integers and bools may be floats
            expected = fn(torch.ones(3, dtype=getattr(torch, name))) if isinstance(number, np.floating) else plain
            assert str(plain.dtype).split(".")[1] == str(compiled.dtype).split(".")[1]
            assert str(expected.dtype).split(".")[1] == str(plain.dtype).split(".")[1]
            np.testing.assert_array_equal(compiled.numpy(), np.asarray(expected.numpy()))


def test_traced_arguments_are_let_go():
    f, x = ek.compile(lambda x: (x * 2).sum(), fullgraph=True), ek.ones(3)
    f(x)
    held = weakref.ref(x)
    del x
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.view(2, 2), lambda x: x.t() if x.ndim == 2 else x[None]])
def test_arguments_may_be_written_where_backward_does_not_need_them(view):
    def f(x, y, w):
        return (view(x) * w.sum() + view(y).sin()).sum()

    compiled, w = ek.compile(f, fullgraph=True), ek.ones(3, requires_grad=True)
    for n in range(3):
        x, y = ek.ones(4), ek.ones(4, requires_grad=True)
        loss = compiled(x, y, w)
        with ek.no_grad():
            (y if n == 2 else w).add_(1)
        if n == 2:
            with pytest.raises(RuntimeError, match="modified in place after the call"):
                loss.backward()
        else:
            loss.backward()
            same(y.grad, ek.ones(4).cos())


@pytest.mark.parametrize(
    "fn",
    [ek.sin, lambda v: 1 / v, lambda v: v**3, lambda v: v.norm(2, 1), lambda v: v.clamp(0.2, 0.6), nn.functional.gelu],
    ids=["sin", "reciprocal", "power", "norm", "clamp", "gelu"],
)
def test_gradient_rules_read_a_tensor_from_outside_again(fn):
    """A rule that makes something of the operand alone, such as cos(x), must not keep what it was at the trace."""
    v = ek.rand(4, 3).double().requires_grad_()

    def step():
        v.grad = None
        fn(v).square().sum().backward()
        return v.grad.clone()

    compiled = ek.compile(step, fullgraph=True)
    for _ in range(3):
        with ek.no_grad():
            v.copy_(ek.rand(4, 3).double() * 0.8 + 0.1)
        np.testing.assert_allclose(compiled().numpy(), step().numpy(), rtol=1e-12)
