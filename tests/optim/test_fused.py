"""One kernel for all parameters: to the bit what update_one gives, and update_one where it cannot be."""

import copy

import numpy as np
import pytest

import expkit as ek
from expkit.optim import SGD, Adam, clip_grad_norm_, clip_grad_value_
from expkit.optim.fused import Fused
from expkit.registry import build, lookup
from expkit.tensor.generated import update as generated
from tests.optim.test_optimizers import IDS, ROWS

FUSIBLE = [pytest.param(*row, id=name) for row, name in zip(ROWS, IDS, strict=True) if lookup("optim", row[0]).fusible]
FUSIBLE += [pytest.param("lion", {}, id="lion"), pytest.param("lion", {"weight_decay": 0.1}, id="lion-weight_decay")]

pytest.importorskip("llvmlite")
# Small enough that update_one runs on NumPy itself, which rounds each operation as the kernel does.
SHAPES = [(3, 4), (5,), (2, 0), (40, 50), (33,), (1,)]


@pytest.fixture
def left(monkeypatch):
    """How many parameters each call left to update_one."""
    seen = []
    original = Fused.update

    def update(self, update_one, pairs, *args):
        rest = original(self, update_one, pairs, *args)
        seen.append(len(rest))
        return rest

    monkeypatch.setattr(Fused, "update", update)
    return seen


def plainly(monkeypatch):
    monkeypatch.setattr(Fused, "update", lambda self, update_one, pairs, *args: pairs)


def leaves(dtype=np.float32, shapes=SHAPES):
    rng = np.random.default_rng(0)
    return [ek.from_numpy(rng.standard_normal(shape).astype(dtype)).requires_grad_() for shape in shapes]


def train(optimizer, params, steps=4, dtype=np.float32, seed=1, order=None):
    """Steps with a schedule of the learning rate; the second parameter has no gradient in two of them."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        for n, p in enumerate(params):
            g = rng.standard_normal(p.shape).astype(dtype)
            g = np.asfortranarray(g) if order == "F" else g
            p.grad = None if n == 1 and step in (0, 2) else ek.from_numpy(g)
        optimizer.param_groups[0]["lr"] *= 0.9
        optimizer.step()


def everything(optimizer, params):
    state = [t for p in params for t in optimizer.state.get(p, {}).values()]
    return [t.detach().numpy() for t in [*params, *state]]


def same(got, want, rtol=0.0):
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-6), (np.float64, 1e-14)], ids=["f32", "f64"])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop"])
def test_large_parameters(name, dtype, rtol, left, monkeypatch):
    shapes = [(300, 100), (50_000,), (7,)]
    params = leaves(dtype, shapes)
    optimizer = build("optim", {"name": name}, params)
    train(optimizer, params, dtype=dtype)
    assert set(left) == {0}
    others = leaves(dtype, shapes)
    plainly(monkeypatch)
    reference = build("optim", {"name": name}, others)
    train(reference, others, dtype=dtype)
    same(everything(optimizer, params), everything(reference, others), rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize(("name", "options"), FUSIBLE)
def test_the_kernel_gives_to_the_bit_what_update_one_gives(name, options, dtype, left, monkeypatch):
    params = leaves(dtype)
    optimizer = build("optim", {"name": name, **options}, params)
    train(optimizer, params, dtype=dtype)
    assert left[-1] == 0
    others = leaves(dtype)
    plainly(monkeypatch)
    reference = build("optim", {"name": name, **options}, others)
    train(reference, others, dtype=dtype)
    same(everything(optimizer, params), everything(reference, others))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_do_not_depend_on_the_threads(count):
    before = ek.get_num_threads()
    ek.set_num_threads(count)
    params = leaves(shapes=[(300, 300), (7,), (50_000,)])
    optimizer = Adam(params)
    train(optimizer, params)
    clip = clip_grad_norm_(params, 1.0).item()
    ek.set_num_threads(1)
    others = leaves(shapes=[(300, 300), (7,), (50_000,)])
    reference = Adam(others)
    train(reference, others)
    assert clip == clip_grad_norm_(others, 1.0).item()
    same(everything(optimizer, params), everything(reference, others))
    ek.set_num_threads(before)


def test_options_are_numbers_of_the_kernel_and_not_baked_in(left):
    params = leaves()
    optimizer = Adam(params)
    train(optimizer, params)
    (fused,) = optimizer._fused
    assert len(fused._rules) == 1
    optimizer.param_groups[0].update(lr=0.5, betas=(0.5, 0.6), eps=1e-3)
    train(optimizer, params)
    assert len(fused._rules) == 1
    optimizer.param_groups[0].update(weight_decay=0.1)
    train(optimizer, params)
    assert len(fused._rules) == 2
    assert set(left) == {0}


def against_plain(monkeypatch, prepare, *, cls=Adam, **options):
    """Two optimizers, one with kernels and one without, prepared alike, trained alike."""
    results = []
    for plain in (False, True):
        with monkeypatch.context() as patch:
            if plain:
                plainly(patch)
            params = leaves()
            optimizer = cls(params, **options)
            train(optimizer, params)
            params = prepare(optimizer, params) or params
            train(optimizer, params, seed=2)
            results.append(everything(optimizer, params))
    same(*results)


def _replace_state(optimizer, params):
    optimizer.state[params[0]]["exp_avg"] = ek.ones_like(params[0])
    optimizer.state[params[3]]["exp_avg_sq"].fill_(2)
    optimizer.state[params[4]]["step"] = ek.tensor(40.0)


def _add_group(optimizer, params):
    new = leaves(shapes=[(6, 6)])
    optimizer.add_param_group({"params": new, "lr": 0.3})
    return [*params, *new]


def _load(optimizer, params):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def _data(optimizer, params):
    params[0].data = ek.zeros(3, 4)
    with ek.no_grad():
        params[3].mul_(0.5)


def _step_as_number(optimizer, params):
    optimizer.state[params[0]]["step"] = ek.tensor(7.0, dtype=ek.float64)


CHANGES = [_replace_state, _add_group, _load, _data, _step_as_number]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__.strip("_"))
def test_what_changes_between_steps_is_noticed(change, monkeypatch):
    against_plain(monkeypatch, change)


def test_copies_of_an_optimizer_find_out_for_themselves(left):
    params = leaves()
    optimizer = Adam(params)
    train(optimizer, params)
    fresh, others = copy.deepcopy((optimizer, params))
    train(optimizer, params)
    train(fresh, others)
    same(everything(fresh, others), everything(optimizer, params))
    assert set(left) == {0}


def test_transposed_gradients(left, monkeypatch):
    def run():
        params = leaves()
        optimizer = Adam(params)
        train(optimizer, params, order="F")
        return everything(optimizer, params)

    fast = run()
    assert set(left) == {0}
    plainly(monkeypatch)
    same(fast, run())


def test_a_step_counts_as_a_write():
    params = leaves()
    optimizer = SGD(params, lr=0.1, momentum=0.9)
    train(optimizer, params)
    loss = (params[0] * params[0]).sum()
    before = params[0]._version, optimizer.state[params[0]]["momentum_buffer"]._version
    for p in params:
        p.grad = ek.ones_like(p)
    optimizer.step()
    assert params[0]._version > before[0]
    assert optimizer.state[params[0]]["momentum_buffer"]._version > before[1]
    with pytest.raises(RuntimeError, match="modified"):
        loss.backward()


def _overlapping():
    base = ek.arange(20.0)
    return [base[:12].detach().requires_grad_(), base[8:].detach().requires_grad_()]


def _strided():
    return [ek.ones(6, 8)[:, ::2].detach().requires_grad_(), ek.ones(4).requires_grad_()]


def _transposed():
    return [ek.ones(6, 8).T.detach().requires_grad_()]  # and so is its state


PLAIN = {
    "transposed": (_transposed, 0),
    "half precision": (lambda: [ek.ones(5, dtype=ek.bfloat16).requires_grad_()], 1),
    "overlapping": (_overlapping, 2),
    "strided": (_strided, 1),
    "0-d": (lambda: [ek.ones(()).requires_grad_(), ek.ones(4).requires_grad_()], 1),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_the_kernel_cannot_do_is_left_to_update_one(name, left, monkeypatch):
    make, expected = PLAIN[name]

    def run():
        params = make()
        optimizer = SGD(params, lr=0.1, momentum=0.5)
        for _ in range(3):
            for p in params:
                p.grad = ek.ones_like(p).detach()
            optimizer.step()
        return [t.float() for t in map(ek.from_numpy, everything(optimizer, params))]

    fast = run()
    assert set(left) == {expected}
    plainly(monkeypatch)
    same([t.numpy() for t in fast], [t.numpy() for t in run()])


def test_slices_of_one_buffer_that_do_not_overlap_are_updated_together(left):
    base = ek.arange(20.0)
    params = [base[:10].detach().requires_grad_(), base[10:].detach().requires_grad_()]
    optimizer = SGD(params, lr=1.0)
    for p in params:
        p.grad = ek.ones(10)
    optimizer.step()
    assert left == [0]
    assert base.tolist() == [x - 1.0 for x in range(20)]


def test_a_gradient_that_is_another_parameter_is_read_in_turn(left):
    a, b = (x.requires_grad_() for x in (ek.ones(4), ek.ones(4)))
    optimizer = SGD([a, b], lr=1.0)
    a.grad, b.grad = ek.ones(4), a.detach()
    optimizer.step()
    assert left == [2]
    assert b.tolist() == [1.0] * 4


def test_another_update_one_is_not_fused_unless_it_says_so():
    class Own(SGD):
        def update_one(self, p, g, state, *, lr):
            p.add_(g.abs().sum() * g, alpha=-lr)

    class Fusible(SGD):
        fusible = True

        def update_one(self, p, g, state, *, lr):
            p.add_(g * g, alpha=-lr)

    class Asking(SGD):
        fusible = True

        def update_one(self, p, g, state, *, lr):
            p.add_(g, alpha=-lr if g.sum().item() > 0 else lr)

    for cls, fused, expected in ((Own, False, -1.0), (Fusible, True, 0.5), (Asking, True, 0.5)):
        p = ek.ones(4).requires_grad_()
        optimizer = cls([p], lr=0.5)
        p.grad = ek.ones(4)
        optimizer.step()
        assert p.tolist() == [expected] * 4
        assert bool(optimizer._fused) is fused
    assert list(optimizer._fused[0]._rules.values()) == [None]


def test_it_can_be_traced_and_runs_plainly_there(left):
    params = leaves()
    optimizer = SGD(params, lr=0.1)
    for p in params:
        p.grad = ek.ones_like(p)
    graph = ek.func.trace(optimizer.step)
    assert left == []
    assert len(graph.state) == len(params)


# ---- clipping --------------------------------------------------------------------------------------------------------


def clipped(fn, dtype, monkeypatch, *, plain):
    with monkeypatch.context() as patch:
        if plain:
            patch.setattr(generated, "enabled", lambda: False)
        params = leaves(dtype)
        for p in params:
            p.grad = (p * 3).detach()
        version = params[0].grad._version
        result = fn(params)
        return result, [p.grad.numpy() for p in params], params[0].grad._version > version


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("limit", [0.5, 1e9])
def test_clipping_in_one_pass(dtype, limit, monkeypatch):
    for fn in (lambda ps: clip_grad_norm_(ps, limit), lambda ps: clip_grad_value_(ps, limit)):
        result, fast, written = clipped(fn, dtype, monkeypatch, plain=False)
        want, plain, _ = clipped(fn, dtype, monkeypatch, plain=True)
        assert written or limit > 1
        if result is not None:
            assert result.dtype is want.dtype
            np.testing.assert_allclose(result.item(), want.item(), rtol=1e-6)
        for a, b in zip(fast, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6 if dtype is np.float32 else 1e-14)


def test_a_gradient_that_two_parameters_share_is_scaled_for_each():
    a, b = leaves(shapes=[(4,), (4,)])
    a.grad = b.grad = ek.ones(4)
    clip_grad_norm_([a, b], 1.0)
    scale = 1 / (np.sqrt(8) + 1e-6)
    np.testing.assert_allclose(a.grad.numpy(), scale * scale, rtol=1e-6)


def test_gradients_are_filled_with_zeros_together():
    params = leaves()
    optimizer = SGD(params)
    for p in params[:-1]:
        p.grad = ek.ones_like(p)
    optimizer.zero_grad(set_to_none=False)
    assert all(not p.grad.numpy().any() for p in params[:-1])
    assert params[-1].grad is None
