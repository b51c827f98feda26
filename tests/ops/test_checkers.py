"""The testers are tested: each checker must catch a rule that is wrong in its own way, and pass the right one.

The primitive of these tests is x * x * y with a broadcast y; every variant differs from the right one in one rule.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import expkit as ek
from expkit.autograd.handle import Aval
from expkit.autograd.primitive import PRIMITIVES, Primitive
from tests.ops import checkers
from tests.ops.rows import Bad, Maker, Row, Sample


def shape(x: Aval, y: Aval) -> Aval:
    return Aval(np.broadcast_shapes(x.shape, y.shape), x.dtype, x.device)


def vjp_x(g: Any, _out: Any, x: Any, y: Any) -> Any:
    return g * x * y * 2


def vjp_y(g: Any, _out: Any, x: Any, _y: Any) -> Any:
    return g * x * x


def jvp(tangents: list[Any], _out: Any, primals: list[Any], _kw: dict[str, Any]) -> Any:
    (x, y), (t, u) = primals, tangents
    parts = [*([t * x * y * 2] if t is not None else []), *([u * x * x] if u is not None else [])]
    return sum(parts[1:], parts[0])


def align(values: list[Any], mapped: list[bool]) -> list[Any]:
    rank = max(v.ndim - m for v, m in zip(values, mapped, strict=True))
    return [
        v.reshape(v.shape[0], *(1,) * (rank + 1 - v.ndim), *v.shape[1:]) if m and v.ndim <= rank else v
        for v, m in zip(values, mapped, strict=True)
    ]


RIGHT = {
    "impl": lambda x, y: x * x * y,
    "shape": shape,
    "vjp": (vjp_x, vjp_y),
    "jvp": jvp,
    "batch": lambda size, values, mapped, kw: PRIMITIVES["planted"](*align(values, mapped)),
}


@pytest.fixture
def plant() -> Iterator[Any]:
    """plant(part=wrong rule, ...) -> the row of the primitive; it is gone after the test."""

    def make(**wrong: Any) -> Row:
        parts = {**RIGHT, **wrong}
        prim = Primitive("planted", parts["impl"], parts["shape"], parts["vjp"], jvp=parts["jvp"], batch=parts["batch"])
        samples = lambda g: [Sample(g(2, 3), g(3)), Sample(g(2, 2), g(2, 2)), Sample(g(), g(2))]  # noqa: E731
        return Row("planted", samples, lambda x, y: x * x * y, call=prim, torch=lambda t: lambda x, y: x * x * y)

    yield make
    PRIMITIVES.pop("planted", None)


CHECKERS = {
    "value": checkers.check_value,
    "layout": checkers.check_layout,
    "vjp": checkers.check_vjp,
    "jvp": checkers.check_jvp,
    "second": checkers.check_second,
    "vmap": checkers.check_vmap,
    "vmap_grad": checkers.check_vmap_grad,
    "trace": checkers.check_trace,
    "trace_grad": checkers.check_trace_grad,
}


@pytest.mark.parametrize("check", CHECKERS)
def test_the_right_rules_pass(plant, check):
    CHECKERS[check](plant())


@pytest.mark.torch
def test_the_right_rules_pass_beside_pytorch(plant, torch):
    row = plant()
    checkers.check_torch(row, torch, "float32")
    checkers.check_torch_grad(row, torch)


def spoiled(x: Any, y: Any) -> Any:
    x *= 1.5
    return x * x * y


def by_layout(x: Any, y: Any) -> Any:
    return x * x * y if x.flags.c_contiguous else x * x * y + 1e-6


def frozen(g: Any, _out: Any, x: Any, _y: Any) -> Any:
    """Right at first order; the gradient's own dependence on x is lost."""
    return g * (x.detach() if isinstance(x, ek.Tensor) else x) ** 2


def first_only(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    """Right where all arguments are mapped and of one rank."""
    return PRIMITIVES["planted"](*values)


def mixed_up(size: int, values: list[Any], mapped: list[bool], kw: dict[str, Any]) -> Any:
    return PRIMITIVES["planted"](*align(values, mapped)).flip(0)


WRONG = {
    "a value off by a relative 1e-9": ("value", {"impl": lambda x, y: x * x * y * (1 + 1e-9)}),
    "a result in another dtype": ("trace", {"impl": lambda x, y: (x * x * y).astype(np.float32)}),
    "an argument written to": ("layout", {"impl": spoiled}),
    "a result that depends on strides": ("layout", {"impl": by_layout}),
    "vjp: a factor": ("vjp", {"vjp": (lambda g, _out, x, y: g * x * y, vjp_y)}),
    "vjp: a sign of the second argument": ("vjp", {"vjp": (vjp_x, lambda g, _out, x, _y: -g * x * x)}),
    "vjp: slightly off": ("vjp", {"vjp": (lambda g, _out, x, y: g * x * y * 2.00003, vjp_y)}),
    "vjp: of one argument missing": ("vjp", {"vjp": (vjp_x, None)}),
    "vjp: None instead of a gradient": ("vjp", {"vjp": (vjp_x, lambda g, _out, _x, _y: None)}),
    "vjp: reads what it declared not to need": ("vjp", {"vjp": (lambda g, _out, _x, y: g * _x * y * 2, vjp_y)}),
    "vjp: not summed over what was broadcast": ("vjp", {"vjp": (vjp_x, lambda g, _out, x, _y: (g * x * x)[:1])}),
    "jvp: the second argument forgotten": (
        "jvp",
        {"jvp": lambda t, _o, p, _k: t[0] * p[0] * p[1] * 2 if t[0] is not None else None},
    ),
    "jvp: a factor": ("jvp", {"jvp": lambda t, o, p, k: jvp(t, o, p, k) * 1.0001}),
    "second order: a constant in a gradient": ("second", {"vjp": (vjp_x, frozen)}),
    "batch: ranks not aligned": ("vmap", {"batch": first_only}),
    "batch: elements in another order": ("vmap", {"batch": mixed_up}),
    "batch: a factor": ("vmap_grad", {"batch": lambda size, v, m, k: PRIMITIVES["planted"](*align(v, m)) * 2}),
    "batch: missing": ("vmap", {"batch": None}),
    "shape: not broadcast": ("trace", {"shape": lambda x, y: Aval(x.shape, x.dtype, x.device)}),
    "shape: a wrong dtype": ("trace", {"shape": lambda x, y: Aval(shape(x, y).shape, np.dtype(np.float32), x.device)}),
    "shape: wrong in the gradient's trace": ("trace_grad", {"shape": lambda x, y: Aval((), x.dtype, x.device)}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_rule_is_caught(plant, what):
    check, wrong = WRONG[what]
    with pytest.raises((AssertionError, *checkers.REFUSALS, AttributeError)):
        CHECKERS[check](plant(**wrong))


@pytest.mark.torch
def test_a_wrong_dtype_is_caught_beside_pytorch(plant, torch):
    with pytest.raises(AssertionError, match="PyTorch has"):
        checkers.check_torch(plant(impl=lambda x, y: (x * x * y).astype(np.float64)), torch, "float32")


@pytest.mark.torch
def test_a_wrong_gradient_is_caught_beside_pytorch(plant, torch):
    with pytest.raises(AssertionError, match="gradient of argument 1"):
        checkers.check_torch_grad(plant(vjp=(vjp_x, lambda g, _out, x, _y: g * x)), torch)


@pytest.mark.torch
def test_what_only_one_of_both_refuses_is_caught(torch):
    lenient = Row("add", lambda g: [Bad(g(2), g(3))], call=lambda x, y: x)
    with pytest.raises(AssertionError, match="accepted"):
        checkers.check_refused(lenient, torch)
    strict = Row("add", lambda g: [Bad(g(3), g(3))])
    with pytest.raises(AssertionError, match="PyTorch accepts"):
        checkers.check_refused(strict, torch)
    refusing = Row("add", lambda g: [Sample(g(3), g(3))], call=lambda x, y: x.reshape(7))
    with pytest.raises(AssertionError, match="ShapeError"):
        checkers.check_torch(refusing, torch, "float32")


def test_a_row_that_no_gradient_flows_through_is_caught():
    with pytest.raises(AssertionError, match="no sample"):
        checkers.check_vjp(Row("eq", lambda g: [Sample(g(3), g(3))]))
    with pytest.raises(AssertionError, match="does not require grad"):
        checkers.check_vjp(Row("detach", lambda g: [Sample(g(3))]))


def test_a_gap_must_name_a_check():
    with pytest.raises(ValueError, match="no such check"):
        Row("add", lambda g: [], gaps={"vpj": "mistyped"})


def test_samples_are_the_same_in_every_run():
    first, again = (Maker("add")(2, 3) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, Maker("sub")(2, 3))
