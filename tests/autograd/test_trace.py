"""Tracing: what the graph holds, what it gives when it runs, and that nothing of the trace stays behind."""

import numpy as np
import pytest

import expkit as ek
from expkit.autograd.equations import Equation, Var
from expkit.autograd.handle import aval_of
from expkit.autograd.trace import trace
from expkit.errors import TraceError


def f64(*values):
    return ek.tensor(values, dtype=ek.float64)


def run(graph, *args):
    """The raw outputs, after the graph was verified."""
    graph.check()
    return graph.run([x.raw for x in args])


def by_name(graph, name):
    return [e for e in graph.equations if e.prim.name == name]


# ---- what a graph is -------------------------------------------------------------------------------------------------


def test_a_graph_is_a_list_of_equations_that_can_be_read():
    graph = trace(lambda x, y: (x * y).sum(), f64(1.0, 2.0), f64(3.0, 4.0))
    assert str(graph).splitlines() == [
        "graph(%1: float64[2], %2: float64[2]):",
        "  %3: float64[2] = mul(%1, %2)",
        "  %4: float64[] = sum(%3, axes=(0,))",
        "  return %4",
    ]


def test_a_graph_is_called_with_the_trees_that_were_traced():
    def f(batch, scale, k):
        return {"out": batch["x"] * scale[0], "rest": [batch["x"].sum(), "text", None, k]}

    example = ({"x": ek.ones(2, dtype=ek.float64)}, (ek.ones(2, dtype=ek.float64),), 3)
    graph = trace(f, *example)
    out = graph({"x": f64(1.0, 2.0)}, (f64(10.0, 20.0),), 3)
    assert out["out"].tolist() == [10.0, 40.0]
    assert out["rest"][0].item() == 3.0
    assert out["rest"][1:] == ["text", None, 3]


@pytest.mark.parametrize("dtype", [ek.float64, ek.float32, ek.int64, ek.bool_, ek.bfloat16], ids=str)
def test_results_keep_their_dtype(dtype):
    x = ek.ones(2, dtype=dtype)
    out = trace(lambda v: [v, v[0], v.reshape(1, 2)], x)(x)
    assert [o.dtype for o in out] == [dtype] * 3
    assert [tuple(o.shape) for o in out] == [(2,), (), (1, 2)]


def test_python_numbers_are_fixed():
    graph = trace(lambda x, k: x * k, f64(1.0), 3.0)
    assert graph(f64(2.0), 3.0).tolist() == [6.0]


def test_an_input_that_is_returned_and_one_that_is_not_used():
    graph = trace(lambda x, y: (x, x), f64(1.0), f64(2.0))
    first, second = graph(f64(5.0), f64(6.0))
    assert first.tolist() == second.tolist() == [5.0]
    assert graph.equations == []


def test_results_that_depend_on_no_input():
    graph = trace(lambda x: (ek.ones(2), ek.arange(3) * 2), f64(1.0))
    ones, numbers = graph(f64(7.0))
    assert ones.tolist() == [1.0, 1.0]
    assert numbers.tolist() == [0, 2, 4]


def test_a_tensor_from_outside_is_one_constant():
    w = f64(2.0, 3.0)
    graph = trace(lambda x: (x * w + w).sum() * w.sum(), f64(1.0, 1.0))
    assert len(graph.consts) == 1
    assert graph.consts[0][1] is w.raw
    np.testing.assert_allclose(run(graph, f64(4.0, 5.0))[0], (4 * 2 + 2 + 5 * 3 + 3) * 5.0)


def test_the_wrong_arguments_are_refused():
    graph = trace(lambda x: x * 2, f64(1.0, 2.0))
    with pytest.raises(TraceError, match="1 tensors expected, 2 given"):
        graph(f64(1.0, 2.0), f64(1.0))
    with pytest.raises(TraceError, match=r"float64\[2\] expected, float64\[3\] given"):
        graph(f64(1.0, 2.0, 3.0))
    with pytest.raises(TraceError, match="float32"):
        graph(ek.ones(2))
    with pytest.raises(TraceError, match="inside a transform"):
        ek.vmap(graph)(ek.ones(3, 2, dtype=ek.float64))


# ---- the verifier ----------------------------------------------------------------------------------------------------


def _graph():
    return trace(lambda x: (x * 2).exp().sum(), f64(1.0, 2.0))


def _use_before_made(graph):
    graph.equations.reverse()


def _made_twice(graph):
    graph.equations.append(graph.equations[0])


def _never_made(graph):
    graph.outputs.append(graph.outputs[0].trace.var(aval_of(graph.outputs[0])))


def _other_shape(graph):
    e = graph.equations[0]
    wrong = Var(e.outs[0].trace, aval_of(e.outs[0])._replace(shape=(3,)), 99)
    graph.equations[0] = Equation(e.prim, e.args, e.kw, (wrong,))


@pytest.mark.parametrize("damage", [_use_before_made, _made_twice, _never_made, _other_shape])
def test_a_damaged_graph_is_caught(damage):
    graph = _graph()
    graph.check()
    damage(graph)
    with pytest.raises(TraceError):
        graph.check()


# ---- differentiation inside ------------------------------------------------------------------------------------------


def test_backward_inside_a_trace():
    w = f64(2.0, 3.0).requires_grad_()

    def step(x):
        loss = ((x * w) ** 2).sum()
        loss.backward()
        return loss, w.grad

    graph = trace(step, f64(1.0, 1.0))
    assert w.grad is None
    loss, slope = run(graph, f64(2.0, 5.0))
    np.testing.assert_allclose(loss, 16 + 225)
    np.testing.assert_allclose(slope, [2 * 4 * 2.0, 2 * 25 * 3.0])


def test_a_gradient_that_was_there_is_added_to_and_is_state():
    w = f64(2.0, 3.0).requires_grad_()
    w.grad = held = f64(100.0, 200.0)

    def step(x):
        (x * w).sum().backward()
        return w.grad * 1

    graph = trace(step, f64(1.0, 1.0))
    assert w.grad is held
    assert held.tolist() == [100.0, 200.0]
    assert run(graph, f64(4.0, 5.0))[0].tolist() == [104.0, 205.0]
    assert [s.tensor is held for s in graph.state] == [True]


def test_arguments_that_require_grad_do_so_inside():
    def slope(x):
        return ek.autograd.grad((x**3).sum(), x)[0]

    graph = trace(slope, f64(1.0, 2.0).requires_grad_())
    np.testing.assert_allclose(run(graph, f64(3.0, 4.0))[0], [27.0, 48.0])


TRANSFORMS = {
    "grad": lambda x: ek.func.grad(lambda v: (v**3).sum())(x),
    "jvp": lambda x: ek.func.jvp(lambda v: v.sin() * v, (x,), (x,)),
    "vmap": lambda x: ek.vmap(lambda v: v * 2 + 1)(x),
    "hessian": lambda x: ek.func.hessian(lambda v: (v**3).sum() * v[0])(x),
    "vmap of grad": lambda x: ek.vmap(ek.func.grad(lambda v: v**3))(x),
    "create_graph": lambda x: _twice(x),
}


def _twice(x):
    x = x.detach().requires_grad_()
    (g,) = ek.autograd.grad((x**3).sum(), x, create_graph=True)
    return ek.autograd.grad(g.sum(), x)[0]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_inside_a_trace(name):
    f = TRANSFORMS[name]
    graph = trace(f, f64(1.0, 2.0, 3.0))
    x = f64(0.3, -1.0, 2.0)
    expected = f(x)
    for got, e in zip(run(graph, x), expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_allclose(got, e.numpy(), rtol=1e-12)


# ---- state -----------------------------------------------------------------------------------------------------------


def test_what_is_written_into_a_tensor_from_outside_is_state():
    total = f64(10.0, 20.0)

    def step(x):
        total.add_(x)
        return total * 2

    graph = trace(step, f64(1.0, 1.0))
    assert total.tolist() == [10.0, 20.0]
    assert not isinstance(total.raw, Var)
    (state,) = graph.state
    assert state.tensor is total
    assert run(graph, f64(3.0, 4.0))[0].tolist() == [26.0, 48.0]
    assert "write" in str(graph)


def test_a_constant_written_into_a_tensor_from_outside_is_state_too():
    count = f64(5.0)

    def step(x):
        count.add_(1.0)
        return x * count

    graph = trace(step, f64(1.0))
    assert count.tolist() == [5.0]
    assert [s.tensor is count for s in graph.state] == [True]
    assert run(graph, f64(2.0))[0].tolist() == [12.0]


def test_views_of_what_was_written_come_back_as_well():
    base = ek.zeros(2, 2, dtype=ek.float64)
    row, column, other = base[0], base[:, 1], base.view(4)

    def step(x):
        row.add_(x)
        column.mul_(2.0)
        return other * 1, base.sum()

    graph = trace(step, f64(1.0, 1.0))
    for tensor in (base, row, column, other):
        assert not isinstance(tensor.raw, Var)
        assert tensor.sum().item() == 0.0
    assert [s.tensor is base for s in graph.state] == [True]
    flat, total = run(graph, f64(3.0, 4.0))
    assert flat.tolist() == [3.0, 8.0, 0.0, 0.0]
    assert total == 11.0
    base.add_(1.0)
    assert [t.sum().item() for t in (base, row, column, other)] == [4.0, 2.0, 2.0, 4.0]


def test_what_is_made_inside_is_no_state():
    def step(x):
        out = ek.zeros(3, dtype=ek.float64)
        out[0] = x.sum()
        out[1:].add_(x)
        copy = x.clone()
        copy.mul_(10.0)
        return out, copy

    graph = trace(step, f64(1.0, 1.0))
    assert graph.state == []
    out, copy = run(graph, f64(3.0, 4.0))
    assert out.tolist() == [7.0, 3.0, 4.0]
    assert copy.tolist() == [30.0, 40.0]


def test_a_training_step_with_momentum():
    w, momentum = f64(1.0, 2.0).requires_grad_(), f64(0.0, 0.0)

    def step(x):
        loss = ((w * x) ** 2).sum()
        (g,) = ek.autograd.grad(loss, w)
        with ek.no_grad():
            momentum.mul_(0.9).add_(g)
            w.sub_(momentum * 0.1)
        return loss

    x = f64(0.5, 1.0)
    graph = trace(step, x)
    graph.check()
    assert w.tolist() == [1.0, 2.0]
    assert {id(s.tensor) for s in graph.state} == {id(w), id(momentum)}
    loss = run(graph, x)[0]
    assert step(x).item() == loss
    assert w.is_leaf
    assert w.requires_grad


def test_a_function_that_raises_leaves_everything_as_it_was():
    total, leaf = f64(1.0), f64(1.0).requires_grad_()

    def fail(x):
        total.add_(x)
        (leaf * x).sum().backward()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trace(fail, f64(1.0))
    assert total.tolist() == [1.0]
    assert leaf.grad is None
    assert (total + 1).tolist() == [2.0]


# ---- what cannot be traced -------------------------------------------------------------------------------------------

UNTRACEABLE = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: x if x.sum() > 0 else -x,
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: ek.tensor(x.numpy()),
    "nonzero": lambda x: x.nonzero(),
    "a mask as an index": lambda x: x[x > 0],
    "float()": lambda x: x * float(x.sum()),
    "masked_select": lambda x: x.masked_select(x > 0),
    "int()": lambda x: range(int(x.sum())),
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_values_cannot_be_looked_at(name):
    with pytest.raises(TraceError):
        trace(UNTRACEABLE[name], f64(1.0, 2.0))


def test_values_of_tensors_from_outside_can_be():
    w = f64(3.0)
    graph = trace(lambda x: x * w.item() if w.item() > 0 else x, f64(1.0))
    assert graph(f64(2.0)).tolist() == [6.0]


# ---- random numbers --------------------------------------------------------------------------------------------------


def test_random_numbers_are_drawn_by_an_equation_from_the_generators_state():
    ek.manual_seed(5)
    expected = ek.rand(3)
    ek.manual_seed(5)
    graph = trace(lambda x: x * ek.rand(3), ek.ones(3))
    graph.check()
    assert len(by_name(graph, "philox")) == 1
    np.testing.assert_array_equal(graph(ek.ones(3)).numpy(), expected.numpy())


def test_two_draws_in_a_trace_differ():
    graph = trace(lambda x: (ek.rand(3), ek.rand(3)), ek.ones(1))
    first, second = graph(ek.ones(1))
    assert not (first == second).any()
