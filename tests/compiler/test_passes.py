"""Passes, each by itself: what they leave of small graphs, and that this computes the same, bit for bit."""

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit.autograd.equations import Equation, live
from expkit.autograd.trace import Trace, capture, trace
from expkit.compiler.passes import optimized
from expkit.compiler.passes.common import NEAR, common
from expkit.compiler.passes.constants import fixed_of
from expkit.compiler.passes.rewrite import RULES, rewritten
from expkit.compiler.verify import verify

ODD = np.array([[-0.0, 0.0, np.nan, np.inf], [-np.inf, 1.5, -2.25, 1e-45], [3.0, -0.0, 7.0, -1.0]], np.float32)


def zeros(*shape):
    return ek.tensor(np.zeros(shape, np.float32))


def shifted(x, n):
    return F.pad(x, (0, 0, n, 9 - n))


def piecewise(x):
    return shifted(x, 3) + shifted(x * 2, 0) + (shifted(x * 3, 9) + shifted(x * 4, 6))


CASES = {  # a rule: a function of ODD, and the primitives that are left of it
    "times_one": (lambda x: ek.tanh(1 * x * 1.0), ["tanh"]),
    "times_one array": (lambda x: ek.tanh(x * ek.ones(1, 1)), ["tanh"]),
    "times_one wider": (lambda x: x * ek.ones(2, 1, 1), ["mul"]),
    "over_one": (lambda x: ek.tanh(x / 1), ["tanh"]),
    "minus_zero": (lambda x: ek.tanh(x - 0.0), ["tanh"]),
    "minus_zero of another sign": (lambda x: ek.tanh(x - -0.0), ["sub", "tanh"]),
    "plus_zero": (lambda x: ek.tanh(x + -0.0), ["tanh"]),
    "plus_zero of another sign": (lambda x: ek.tanh(x + 0.0), ["add", "tanh"]),
    "twice": (lambda x: ek.tanh(ek.neg(-x)), ["tanh"]),
    "again": (lambda x: ek.tanh(ek.relu(ek.relu(x))), ["relu", "tanh"]),
    "of_negative": (lambda x: (x + -x.tanh(), x - -x.exp()), ["tanh", "sub", "exp", "add"]),
    "either_way": (lambda x: ek.tanh(ek.where(x > 0, x, x)), ["tanh"]),
    "through_wider": (lambda x: ek.tanh(x.to(ek.float64).to(ek.float32)), ["tanh"]),
    "through_wider to integers": (lambda x: (x > 0).to(ek.float32).to(ek.int64), ["gt", "cast"]),
    "through_wider, but narrow": (lambda x: ek.tanh(x.to(ek.float16).to(ek.float32)), ["convert", "convert", "tanh"]),
    "of_one": (lambda x: ek.tanh(x.reshape(1, 3, 4).sum(0)), ["tanh"]),
    "of_one largest": (lambda x: ek.tanh(x.reshape(3, 1, 4).amax(1)), ["tanh"]),
    "of_equal": (lambda x: x.reshape(3, 4, 1).expand(3, 4, 5).amax(2), ["reshape", "reshape"]),
    "of_equal sum": (lambda x: x.reshape(1, 3, 4).expand(4, 3, 4).sum(0) - 1, ["mul", "sub"]),
    "a_squared_error": (lambda x: F.mse_loss(x, x.exp()) - 1, ["exp", "sub", "square_sum", "mul", "sub"]),
    "as_it_is": (lambda x: ek.tanh(x.reshape(3, 4).expand(3, 4)), ["tanh"]),
    "in_order": (lambda x: ek.tanh(x.permute(0, 1)), ["tanh"]),
    "whole": (lambda x: ek.tanh(x[:, :]), ["tanh"]),
    "there_and_back": (lambda x: ek.tanh(x.reshape(12).reshape(2, 6).reshape(3, 4)), ["tanh"]),
    "expanded_twice": (lambda x: x[:1, :1].expand(1, 4).expand(3, 4), ["slice", "expand"]),
    "permuted_twice": (lambda x: ek.tanh(x.t().t()), ["tanh"]),
    "permuted_twice, three axes": (
        lambda x: x.reshape(3, 2, 2).permute(1, 2, 0).permute(1, 2, 0), ["reshape", "permute"]
    ),
    "sliced_twice": (lambda x: x[1:, ::2][:, 1:], ["slice"]),
    "sliced_twice, to nothing": (lambda x: x[1:][2:], ["slice"]),
    "what_was_padded": (lambda x: ek.tanh(F.pad(x, (1, 2))[:, 1:5]), ["tanh"]),
    "a_part_of_many": (lambda x: ek.tanh(ek.cat([x, x.exp(), x], 1)[:, 4:8]), ["exp", "tanh"]),
    "rows_of_a_product": (
        lambda x: (x.reshape(3, 2, 2).reshape(6, 2) @ x[:2, :2]).reshape(3, 2, 2), ["reshape", "slice", "matmul"]
    ),
    "joined": (piecewise, ["mul", "mul", "mul", "cat"]),
    "joined, with a gap": (lambda x: shifted(x, 0) + shifted(x, 6), ["pad", "pad", "add"]),
    "joined, with an overlap": (lambda x: shifted(x, 0) + shifted(x, 2), ["pad", "pad", "add"]),
}  # fmt: skip


def names(equations):
    return [e.prim.name for e in equations]


def simplified(graph):
    """The graph after all passes."""
    equations = optimized(graph, graph.equations, graph.outputs)
    new = type(graph)(graph.inputs, graph.consts, equations)
    new.outputs = graph.outputs
    verify(new)
    return new


def live_trace(fn, *args):
    return capture(Trace(live=True), fn, args)


@pytest.mark.parametrize("name", CASES)
def test_what_rules_leave(name):
    fn, left = CASES[name]
    graph = live_trace(fn, ek.tensor(ODD))
    new = simplified(graph)
    assert sorted(names(new.equations)) == sorted(left), str(new)
    for a, b in zip(new.run([ODD]), graph.run([ODD]), strict=True):
        np.testing.assert_array_equal(a, b)
        if name not in ("joined", "of_one"):  # sums, where -0.0 may stay
            np.testing.assert_array_equal(np.signbit(a), np.signbit(b))


def test_every_rule_has_a_case():
    rules = {fn.__name__ for found in RULES.values() for fn in found}
    assert rules == {name.split(",")[0].split(" ")[0] for name in CASES} | {"to_itself"}


def test_a_conversion_to_itself_goes():
    graph = trace(lambda x: ek.tanh(x.to(ek.float64)), ek.tensor(ODD))
    cast, tanh = graph.equations
    graph.inputs[0]._dtype = np.dtype(np.float64)
    assert names(live(rewritten([cast, tanh], {tanh.outs[0].index}, {}), tanh.outs)) == ["tanh"]


def test_what_is_wanted_keeps_its_var():
    graph = live_trace(lambda x: (x * 1, ek.neg(-x), x.exp(), x.exp()), ek.tensor(ODD))
    new = simplified(graph)
    for a, b in zip(new.run([ODD]), graph.run([ODD]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_dead_equations_go():
    def fn(x):
        x.exp().sum()
        return x.tanh()

    assert names(simplified(live_trace(fn, ek.tensor(ODD))).equations) == ["tanh"]


def test_common_subexpressions():
    new = simplified(live_trace(lambda x: (x.exp() + 1) * (x.exp() + 1) - (x.exp() + 1.5), ek.tensor(ODD)))
    assert names(new.equations) == ["exp", "add", "mul", "add", "sub"]


def test_parameters_and_kinds_of_numbers_tell_equations_apart():
    def fn(x):
        return ek.sum(x, 0) - ek.sum(x, 1)[:1], x.amax(0), (x > 0) == True, (x > 0).to(ek.int64) == 1  # noqa: E712

    found = names(simplified(live_trace(fn, ek.tensor(ODD))).equations)
    assert found.count("sum") == 2
    assert found.count("gt") == 1


def test_random_numbers_are_equal_only_of_equal_offsets():
    new = simplified(live_trace(lambda x: F.dropout(x) + F.dropout(x), ek.tensor(ODD)))
    drawn = [e for e in new.equations if e.prim.name in ("random", "philox")]
    assert len(drawn) >= 2


def test_what_is_recomputed_on_purpose_stays():
    """A value that nobody holds any more is not held for its recomputation, unless it is small or soon wanted."""

    def fn(x):
        h = x.exp()
        for _ in range(NEAR + 6):
            h = ek.tanh(h * 0.5)
        return h * x.exp()

    for rows, count in ((1 << 12, 2), (4, 1)):
        graph = trace(fn, zeros(rows, 4))
        assert names(common(graph.equations, {v.index for v in graph.outputs})).count("exp") == count


def test_what_rests_on_fixed_values_alone_is_no_equation():
    def fn(x):
        mask = ek.ones(4, 4).tril() > 0
        return ek.where(mask[:3], x, 0.0)

    graph = live_trace(fn, ek.tensor(ODD))
    assert names(graph.equations) == ["where"]
    assert len(fixed_of(graph)) == 1


def test_what_is_read_at_each_run_is_not_fixed():
    outside = ek.ones(3, 4)
    for graph in (live_trace(lambda x: x * outside, ek.tensor(ODD)), trace(lambda x: x * outside, ek.tensor(ODD))):
        assert names(simplified(graph).equations) == ["mul"]


@pytest.mark.parametrize("dtype", [ek.float16, ek.bfloat16])
def test_two_byte_floats_are_computed_in_four(dtype):
    def fn(x):
        h = x.to(dtype)
        return (ek.relu(h) * h + h).sum(0), F.gelu(h) > h, ek.where(h > 0, h, -h).to(ek.float32), h.amax(1)

    graph = live_trace(fn, ek.tensor(ODD))
    new = simplified(graph)
    assert all(a.dtype == np.float32 for e in new.equations if e.prim.name in ("relu", "mul", "sum") for a in e.args)
    with np.errstate(invalid="ignore"):
        for a, b in zip(new.run([ODD]), graph.run([ODD]), strict=True):
            np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))
            assert a.dtype == b.dtype


def test_rules_that_undo_each_other_end():
    graph = trace(lambda x: x + x.tanh(), ek.tensor(ODD))

    def turn(e, _known):
        return Equation(e.prim, e.args[::-1], e.kw, e.outs)

    RULES["add"].append(turn)
    try:
        found = rewritten(graph.equations, set(), {})
    finally:
        RULES["add"].remove(turn)
    assert names(found) == ["tanh", "add"]
