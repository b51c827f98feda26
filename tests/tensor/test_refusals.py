"""Wrong arguments raise errors that say what is wrong: never an AttributeError, KeyError, AssertionError from the inside."""

from typing import Any

import numpy as np
import pytest

import expkit as ek
from tests.ops.checkers import REFUSALS
from tests.ops.rows import Row, Sample, to_ek
from tests.ops.table import ROWS

NOT_TENSORS = [None, "text", [1.0, 2.0], {"a": 1}, object()]
WRONG_DIMS = [99, -99, "a", 1.5, (0, 0), (0, 99), [None]]
PUBLIC = {row.name: row for row in ROWS if row.call is None and "Tensor." not in row.name and row.make()}


def calls(row: Row) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Variants of the first sample, each wrong in one place."""
    s: Sample = to_ek(next((s for s in row.make() if s.arrays()), row.make()[0]))
    args, kw = list(s.args), s.kw
    found = [((*args[:i], wrong, *args[i + 1 :]), kw) for i in range(len(args)) for wrong in NOT_TENSORS]
    found += [((*args, object(), object(), object()), kw), (tuple(args), {**kw, "no_such_argument": 1}), ((), {})]
    found += [(tuple(args), {**kw, "dim": d}) for d in WRONG_DIMS]
    found += [((args[0], d, *args[2:]), kw) for d in WRONG_DIMS if args]
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_wrong_arguments(name):
    row = PUBLIC[name]
    for args, kw in calls(row):
        try:
            row.function()(*args, **kw)
        except REFUSALS as error:
            assert str(error), f"{name}: {type(error).__name__} without a message"
        except Exception as error:
            what = Sample(*args, **kw)
            pytest.fail(f"{name}{what!r} raised {type(error).__name__}: {error}")


def test_the_test_above_can_fail():
    broken = Row("add", lambda g: [Sample(g(2), g(2))], call=lambda x, y: x.no_such_thing)
    with pytest.raises(AttributeError):
        broken.function()(*to_ek(broken.make()[0]).args)
    assert AttributeError not in REFUSALS


MESSAGES = {
    "matmul of shapes": (lambda: ek.ones(2, 3) @ ek.ones(2, 3), RuntimeError, r"cannot be multiplied \(2x3 and 2x3\)"),
    "matmul of dtypes": (lambda: ek.ones(2, 2) @ ek.ones(2, 2).double(), TypeError, r"float32 and expkit.float64.*\.to\(dtype\)"),
    "add of shapes": (lambda: ek.ones(2, 3) + ek.ones(4), RuntimeError, r"add.*\(2, 3\) and \(4,\)"),
    "reshape": (lambda: ek.ones(6).reshape(4, 2), RuntimeError, r"shape '\[4, 2\]' is invalid for input of size 6"),
    "view": (lambda: ek.ones(2, 3).t().view(6), RuntimeError, "reshape"),
    "a dim": (lambda: ek.ones(2).sum(1), IndexError, r"expected to be in range of \[-1, 0\], but got 1"),
    "dims twice": (lambda: ek.ones(2, 2).sum((0, 0)), RuntimeError, "multiple times"),
    "mean of ints": (lambda: ek.arange(3).mean(), TypeError, r"floating-point.*float\(\)"),
    "cat of shapes": (lambda: ek.cat([ek.ones(2, 2), ek.ones(2, 3)]), RuntimeError, r"must match except in dimension 0"),
    "cat of nothing": (lambda: ek.cat([]), RuntimeError, "non-empty"),
    "stack of shapes": (lambda: ek.stack([ek.ones(2), ek.ones(3)]), RuntimeError, "equal size"),
    "where of a number": (lambda: ek.where(ek.ones(2), 1.0, 0.0), TypeError, "boolean tensor"),
    "item of many": (lambda: ek.ones(2).item(), RuntimeError, "2 elements"),
    "bool of many": (lambda: bool(ek.ones(2)), RuntimeError, "ambiguous"),
    "max of nothing": (lambda: ek.zeros(0).max(), RuntimeError, "size 0"),
    "gather": (lambda: ek.gather(ek.ones(3), 0, ek.tensor([3])), IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
    "gather by floats": (lambda: ek.gather(ek.ones(3), 0, ek.ones(1)), TypeError, "int64"),
    "negative of a bool": (lambda: -ek.tensor([True]), TypeError, "logical_not"),
    "minus of bools": (lambda: ek.tensor([True]) - ek.tensor([False]), TypeError, "xor"),
    "float into ints": (lambda: ek.tensor([1]).add_(0.5), TypeError, "can't be cast"),
    "clamp of nothing": (lambda: ek.ones(1).clamp(), ValueError, "At least one|at least one"),
    "einsum": (lambda: ek.einsum("ij,jk->ik", ek.ones(2, 2)), ValueError, "2 subscripts for 1 operands"),
    "permute": (lambda: ek.ones(2, 2).permute(0, 0), RuntimeError, "order"),
    "topk": (lambda: ek.ones(2).topk(3), RuntimeError, "out of range"),
    "integer division by zero": (lambda: ek.tensor([1]) // ek.tensor([0]), RuntimeError, "ZeroDivision"),
    "a whole number to a negative power": (lambda: ek.tensor([2]) ** -1, RuntimeError, "negative integer powers"),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name):
    call, kind, message = MESSAGES[name]
    with pytest.raises(kind, match=message):
        call()


def test_nothing_here_changes_the_arguments():
    x = ek.ones(2, 3)
    before = x.numpy().copy()
    for row in PUBLIC.values():
        for args, kw in calls(row)[:2]:
            try:
                row.function()(x, *args[1:], **kw)
            except Exception:
                continue
    assert np.array_equal(x.numpy(), before)
