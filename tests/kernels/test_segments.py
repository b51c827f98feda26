"""Updates of many arrays as kernel calls alone: in place and into new arrays, plainly and replayed."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")
import expkit as ek
from expkit.kernels.cpu.loops.plan import TILE
from expkit.kernels.cpu.nets.formula import Formula, change, named
from expkit.kernels.cpu.record.arena import Arena, reserved
from expkit.kernels.cpu.record.driver import Script
from expkit.kernels.cpu.record.recording import Recording
from expkit.optim import Adam
from expkit.optim.symbols import split
from expkit.tensor.generated import segments
from expkit.tensor.generated.segments import in_place, pure_sum, pure_update, summed, updated
from tests.kernels.replayable import POISON, assert_replayable

SHAPES = [(3,), (40, 50), (2, 0), (TILE + 5,), (17, 1)]


def adam(shapes, dtype=np.float32, **options):
    """(formula, numbers, operands) of a step after the third."""
    rng = np.random.default_rng(0)
    params = [ek.from_numpy(rng.standard_normal(shape).astype(dtype)).requires_grad_() for shape in shapes]
    optimizer = Adam(params, **options)
    for step in range(3):
        for n, p in enumerate(params):
            p.grad = ek.from_numpy(rng.standard_normal(p.shape).astype(dtype)) if n or not step else None
        optimizer.step()
    (rule,) = [rule for rule in optimizer._fused[0]._rules.values() if rule is not None]
    states = [optimizer.state[p] for p in params]
    columns = [[s[name].raw for s in states] for name in ("exp_avg", "exp_avg_sq", "step")]
    grads = [rng.standard_normal(p.shape).astype(dtype) for p in params]
    numbers = np.array([*split(optimizer._now(0))[1], 0.0])
    operands = [np.array(x) for column in ([p.raw for p in params], grads, *columns) for x in column]
    return rule.formula, numbers, operands


def assert_changes_replayable(fn, *operands):
    """As assert_replayable, for a function that changes its operands."""
    before, want = [x.copy() for x in operands], [x.copy() for x in operands]
    fn(*want)
    arena = Arena(reserved(1 << 30))
    with Recording(arena) as tape:
        tape.know(operands)
        fn(*operands)
    assert not tape.foreign, tape.foreign
    compare(operands, want)
    other = [x[::-1] if x.ndim else x * 3 for x in before]
    for x, y in zip(operands, other, strict=True):
        x[...] = y
    want = [np.array(x) for x in other]
    fn(*want)
    arena.memory[: arena.peak] = POISON
    Script(tape.calls).run()
    compare(operands, want)


def compare(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}], ids=str)
def test_in_place(dtype, options):
    formula, numbers, operands = adam(SHAPES, dtype, **options)
    size, fixed = len(SHAPES), numbers_of(numbers)
    assert_changes_replayable(lambda *xs: in_place(fixed, *xs, formula=formula, size=size), *operands)


def test_counters_differ_and_are_moved():
    formula, numbers, operands = adam(SHAPES)
    made = in_place(numbers, *operands, formula=formula, size=len(SHAPES))
    assert [x.item() for x in made[-len(SHAPES) :]] == [2, 4, 4, 4, 4]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
def test_kernels_give_to_the_bit_what_operations_give(dtype, monkeypatch):
    formula, numbers, operands = adam(SHAPES[:3], dtype)
    held = [x.copy() for x in operands]
    fast = updated(numbers, *operands, formula=formula, size=3)
    monkeypatch.setattr(segments, "enabled", lambda: False)
    compare(fast, updated(numbers, *operands, formula=formula, size=3))
    compare(operands, held)


def test_into_new_arrays():
    formula, numbers, operands = adam(SHAPES)
    assert_replayable(lambda *xs: pure_update(numbers_of(numbers), *xs, formula=formula, size=len(SHAPES)), *operands)


def numbers_of(numbers):
    fixed = numbers.copy()
    fixed.flags.writeable = False
    return fixed


def test_numbers_are_read_at_each_run():
    formula, numbers, operands = adam(SHAPES)
    arena = Arena(reserved(1 << 30))
    with Recording(arena) as tape:
        tape.know([numbers, *operands])
        in_place(numbers, *operands, formula=formula, size=len(SHAPES))
    numbers[0] = 0.5  # the learning rate
    want = updated(numbers, *operands, formula=formula, size=len(SHAPES))
    Script(tape.calls).run()
    compare(segments.written(operands, formula, len(SHAPES)), want)
    numbers[-1] = 1.0  # all is left
    Script(tape.calls).run()
    compare(segments.written(operands, formula, len(SHAPES)), want)
    compare(updated(numbers, *operands, formula=formula, size=len(SHAPES)), want)


def test_orders_of_memory():
    formula, numbers, operands = adam([(6, 8), (4, 3, 2)])
    want = updated(numbers, *operands, formula=formula, size=2)

    def laid_out(x, order):
        return x.transpose(order).copy().transpose(np.argsort(order)) if x.ndim else x.copy()

    for first, second in [((1, 0), (2, 1, 0)), ((0, 1), (0, 2, 1))]:  # the second is dense in no usual order
        other = [laid_out(x, second if x.ndim == 3 else first) for x in operands]
        other[2] = np.ascontiguousarray(other[2])  # a gradient in another one
        compare(in_place(numbers, *other, formula=formula, size=2), want)
    strided = [np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x.copy() for x in operands]
    assert in_place(numbers, *strided, formula=formula, size=2) is None
    compare(updated(numbers, *strided, formula=formula, size=2), want)


def test_what_has_no_kernel_is_declined():
    formula, numbers, operands = adam([(6,)])
    mixed = [operands[0], operands[1].astype(np.float64), *operands[2:]]
    half = [*operands[:-1], operands[-1].astype(np.float16)]
    for wrong in (mixed, half):
        assert in_place(numbers, *wrong, formula=formula, size=1) is None
        assert pure_update(numbers, *wrong, formula=formula, size=1) is None
    assert in_place(numbers.astype(np.float32), *operands, formula=formula, size=1) is None


ARITHMETIC = [
    ("pow", (0, 1)), ("pow", (1, 0)), ("pow", (0, 2)), ("div", (0, 1)), ("sqrt", (0,)), ("neg", (1,)),
    ("maximum", (0, 1)), ("minimum", (0, 1)), ("sub", (1, 0)), ("mul", (0, 1)), ("add", (1, 1)), ("convert", (0,)),
]  # fmt: skip


def test_numbers_are_pythons_to_the_bit():
    made = (("constant", (0.5,)), *((name, tuple(3 if a == 2 else a for a in args)) for name, args in ARITHMETIC))
    places = tuple(range(3, 3 + len(made)))
    one = named("lerp", "f8").update._replace(arrays=1, numbers=len(made), steps=(), writes=())
    formula = Formula(one, 2, 1, made, places, (2,))
    rng = np.random.default_rng(0)
    x, counter = np.zeros(4), np.zeros((), np.float32)
    for _ in range(200):
        given = [*rng.uniform(1e-3, 4, 2), 0.0]
        found = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("expkit.kernels.cpu.loops.plan.empty", lambda *a, f=found: f.append(np.empty(*a)) or f[-1])
            change(formula, np.array(given), [[x]], [[counter]])
        assert found[0][1:].tolist() == formula.numbers([*given[:2], 0.0])[0]


# ---- sums ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["squares", "nothing"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
def test_sums(of, dtype, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    arrays[1] = np.asfortranarray(arrays[1])
    assert_replayable(lambda *xs: pure_sum(*xs, of=of), *arrays)
    found = summed(*arrays, of=of).item()
    monkeypatch.setattr(segments, "enabled", lambda: False)
    np.testing.assert_allclose(found, summed(*arrays, of=of).item(), rtol=1e-13)
    for value in (np.inf, -np.inf, np.nan):
        arrays[3][TILE] = value
        assert not np.isfinite(pure_sum(*arrays, of=of))


def test_the_sum_of_nothing():
    assert pure_sum(np.zeros((0, 3), np.float32), of="squares") == 0
