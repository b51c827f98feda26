"""autograd.graph, node hooks, anomaly mode, forward_ad: what PyTorch has beside backward and grad."""

import re

import numpy as np
import pytest

import expkit as ek
from expkit.autograd import forward_ad as fwAD
from expkit.autograd import graph
from expkit.errors import AutogradError


def x64(*values):
    return ek.tensor(list(values), dtype=ek.float64, requires_grad=True)


# ---- hooks on what is saved ------------------------------------------------------------------------------------------


def test_saved_tensors_are_packed_and_unpacked():
    x, packed = x64(1.0, 2.0), []

    def pack(t):
        packed.append(t)
        return t.tolist()

    with graph.saved_tensors_hooks(pack, lambda values: ek.tensor(values, dtype=ek.float64)):
        y = (x.exp() * x.sin()).sum()
    assert packed
    assert all(not t.requires_grad for t in packed)
    (g,) = ek.autograd.grad(y, x, create_graph=True)
    expected = np.exp([1.0, 2.0]) * (np.sin([1.0, 2.0]) + np.cos([1.0, 2.0]))
    np.testing.assert_allclose(g.detach().numpy(), expected)
    (h,) = ek.autograd.grad(g.sum(), x)
    np.testing.assert_allclose(h.numpy(), 2 * np.exp([1.0, 2.0]) * np.cos([1.0, 2.0]))


def test_the_innermost_hooks_count():
    seen, x = [], x64(1.0)
    with graph.saved_tensors_hooks(lambda t: seen.append("outer") or t, lambda t: t):
        x.exp()
        with graph.saved_tensors_hooks(lambda t: seen.append("inner") or t, lambda t: t):
            x.exp()
        x.exp()
    x.exp()
    assert seen == ["outer", "inner", "outer"]


def test_hooks_that_do_wrong():
    x = x64(1.0)
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 3.0):
        y = x.exp()
    with pytest.raises(TypeError, match="unpack must return a Tensor"):
        y.backward()
    with graph.disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"):
        graph.saved_tensors_hooks(lambda t: t, lambda t: t).__enter__()


def test_save_on_cpu():
    x = x64(1.0, 2.0)
    with graph.save_on_cpu(pin_memory=True):
        y = x.exp().sum()
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1.0, 2.0]))


# ---- nodes -----------------------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_nodes_as_in_pytorch(torch):
    def walk(m):
        x = m.tensor([1.0, 2.0], requires_grad=True)
        y = (x * 2).exp()
        values, _ = y.max(0)
        node = y.grad_fn
        leaf = node.next_functions[0][0].next_functions[0][0]
        return [node.name(), [i for _, i in node.next_functions], leaf.variable is x, values.output_nr, y.output_nr,
                y.retains_grad, x.retains_grad, x.is_leaf, node.metadata, leaf.next_functions,
                (x + m.ones(2)).grad_fn.next_functions[1]]  # fmt: skip

    assert walk(ek) == walk(torch)


@pytest.mark.torch
def test_node_hooks_as_in_pytorch(torch):
    def run(m):
        x = m.tensor([1.0, 2.0], requires_grad=True)
        seen = []
        y = x * 3
        z = y.exp()
        values, _ = (z + 1).sort()
        z.grad_fn.register_prehook(lambda outs: seen.append(outs[0].tolist()))
        z.grad_fn.register_prehook(lambda outs: (outs[0] * 2,))
        z.grad_fn.register_hook(lambda ins, outs: seen.append([ins[0].tolist(), outs[0].tolist()]))
        y.grad_fn.register_hook(lambda ins, outs: (ins[0] + 1, None))
        values.grad_fn.register_hook(lambda ins, outs: seen.append([ins[0].tolist(), outs[0].tolist()]))
        handle = z.grad_fn.register_hook(lambda ins, outs: (ins[0] * 100,))
        handle.remove()
        values.sum().backward()
        return [seen, x.grad.tolist()]

    np.testing.assert_allclose(
        *(np.concatenate([np.ravel(part) for part in _flat(run(m))]) for m in (ek, torch)), rtol=1e-6
    )


def _flat(value):
    if isinstance(value, list) and value and isinstance(value[0], list):
        return [leaf for part in value for leaf in _flat(part)]
    return [value]


def test_hooks_on_leaves():
    x, seen = x64(1.0, 2.0), []
    leaf = (x * 1).grad_fn.next_functions[0][0]
    leaf.register_prehook(lambda outs: (outs[0] * 10,))
    leaf.register_hook(lambda ins, outs: seen.append((ins, outs[0].tolist(), x.grad.tolist())))
    (x * 2).sum().backward()
    assert seen == [((), [20.0, 20.0], [20.0, 20.0])]


def test_multi_grad_hooks():
    a, b, c = x64(1.0), x64(2.0), x64(3.0)
    alls, first = [], []
    handle = graph.register_multi_grad_hook(
        (a, b, c), lambda gs: alls.append([None if g is None else g.item() for g in gs])
    )
    graph.register_multi_grad_hook((a, b, c), lambda g: first.append(g.item()), mode="any")
    (a * b).sum().backward()
    assert alls == [[2.0, 1.0, None]]
    assert len(first) == 1
    (a * b * c).sum().backward(inputs=[a])
    assert alls[-1] == [6.0, None, None]
    handle.remove()
    (a * b * c).sum().backward()
    assert len(alls) == 2
    assert len(first) == 3
    with pytest.raises(ValueError, match="mode"):
        graph.register_multi_grad_hook((a,), print, mode="some")
    with pytest.raises(AutogradError, match="require"):
        graph.register_multi_grad_hook((ek.ones(1),), print)


def test_gradient_edges():
    x = x64(1.0, 2.0)
    y = x * 3
    edge, leaf = graph.get_gradient_edge(y), graph.get_gradient_edge(x)
    (y * y).sum().backward(inputs=[leaf], retain_graph=True)
    assert x.grad.tolist() == [18.0, 36.0]
    assert [g.tolist() for g in ek.autograd.grad((y * y).sum(), [edge, leaf])] == [[6.0, 12.0], [18.0, 36.0]]
    values, _ = x.max(0)
    assert graph.get_gradient_edge(values).output_nr == 0
    with pytest.raises(AutogradError, match="gradient edge"):
        graph.get_gradient_edge(ek.ones(1))


def test_writes_by_other_means_are_told():
    x = x64(1.0, 2.0)
    kept = ek.ones(2, dtype=ek.float64)
    y = (x * kept).sum()
    kept.numpy()[0] = 5.0
    graph.increment_version(kept)
    with pytest.raises(AutogradError, match="modified by an in-place operation"):
        y.backward()
    with pytest.raises(TypeError, match="increment_version"):
        graph.increment_version([kept, 3])


# ---- anomaly mode ----------------------------------------------------------------------------------------------------


def test_nan_names_the_forward_line():
    x = x64(-1.0, 2.0)
    with ek.autograd.detect_anomaly():
        y = x.sqrt()  # the line
        with pytest.raises(RuntimeError, match="SqrtBackward0' returned nan values in its 0th output") as caught:
            y.sum().backward()
    assert re.search(
        r"test_graph\.py:\d+, in test_nan_names_the_forward_line: y = x\.sqrt\(\)  # the line", str(caught.value)
    )
    assert not ek.autograd.is_anomaly_enabled()
    x.sqrt().sum().backward()


def test_errors_in_backward_name_the_forward_line():
    class Broken(ek.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise ValueError("meant")

    with ek.autograd.detect_anomaly():
        y = Broken.apply(x64(1.0))  # the line
        with pytest.raises(ValueError, match="meant") as caught:
            y.sum().backward()
    assert "y = Broken.apply(x64(1.0))  # the line" in "".join(caught.value.__notes__)
    assert "BrokenBackward" in "".join(caught.value.__notes__)


def test_anomaly_mode_without_the_look_for_nan_and_as_a_switch():
    x = x64(-1.0)
    with ek.autograd.detect_anomaly(check_nan=False):
        assert ek.autograd.is_anomaly_enabled()
        assert not ek.autograd.is_anomaly_check_nan_enabled()
        x.sqrt().sum().backward()
    ek.autograd.set_detect_anomaly(True)
    try:
        with pytest.raises(RuntimeError, match="nan"):
            x.sqrt().sum().backward()
    finally:
        ek.autograd.set_detect_anomaly(False)
    with ek.autograd.set_detect_anomaly(True):
        assert ek.autograd.is_anomaly_enabled()
    assert not ek.autograd.is_anomaly_enabled()


# ---- forward_ad ------------------------------------------------------------------------------------------------------


def test_dual_numbers():
    x, t = ek.tensor([1.0, 2.0], dtype=ek.float64), ek.tensor([1.0, 0.5], dtype=ek.float64)
    with fwAD.dual_level():
        dual = fwAD.make_dual(x, t)
        y = dual.sin() * dual
        value, tangent = fwAD.unpack_dual(y)
        assert fwAD.unpack_dual(x).tangent is None
    np.testing.assert_allclose(tangent.numpy(), (np.cos([1.0, 2.0]) * [1, 2] + np.sin([1.0, 2.0])) * [1.0, 0.5])
    np.testing.assert_allclose(y.numpy(), value.numpy())
    assert fwAD.unpack_dual(dual).tangent is None
    np.testing.assert_allclose((dual + 1).numpy(), [2.0, 3.0])


def test_dual_numbers_and_the_tape():
    x = x64(1.0, 2.0)
    with fwAD.dual_level():
        y = fwAD.make_dual(x, ek.ones(2, dtype=ek.float64)) ** 3
        tangent = fwAD.unpack_dual(y).tangent
    tangent.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [6.0, 12.0])


def test_dual_numbers_refuse():
    x = ek.ones(2)
    with pytest.raises(AutogradError, match="no dual level"):
        fwAD.make_dual(x, x)
    level = fwAD.enter_dual_level()
    try:
        with pytest.raises(RuntimeError, match="shape"):
            fwAD.make_dual(x, ek.ones(3))
        with pytest.raises(ValueError, match="floating"):
            fwAD.make_dual(ek.arange(2), ek.arange(2))
        with pytest.raises(TypeError):
            fwAD.make_dual(x, 3.0)
        with pytest.raises(RuntimeError, match="do not nest"):
            fwAD.enter_dual_level()
        with pytest.raises(RuntimeError, match="already"):
            fwAD.make_dual(fwAD.make_dual(x, x), x)
    finally:
        fwAD.exit_dual_level(level=level)


def test_what_is_written_in_place_is_packed_as_it_was():
    x = ek.tensor([0.5, 2.0], dtype=ek.float64, requires_grad=True)
    with graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        y = x * 2
        y.sin_()
        y[:1].cos_()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [-np.sin(np.sin(1)) * np.cos(1) * 2, np.cos(4) * 2])


def test_retain_grad_follows_writes_and_hooks_stay():
    x = ek.tensor([0.5, 2.0], dtype=ek.float64, requires_grad=True)
    y = x * 1
    y.register_hook(lambda g: g * 10)
    y.retain_grad()
    part = y[1:]
    part.retain_grad()
    y.mul_(2)
    part.add_(1)
    (y + part.sum()).sum().backward()
    assert y.retains_grad
    assert y.grad.tolist() == [1.0, 3.0]
    assert x.grad.tolist() == [20.0, 60.0]
