"""Wrong arguments raise errors that say what is wrong: never an AttributeError, KeyError, ... from the inside."""

from typing import Any

import numpy as np
import pytest

import expkit as ek
from tests.ops.case import REFUSALS
from tests.ops.rows import Row, Sample, to_ek
from tests.ops.table import ROWS
from tests.tensor.table_refusals import MESSAGES

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
            if not str(error):
                pytest.fail(f"{name}: {type(error).__name__} without a message")
        except Exception as error:
            what = Sample(*args, **kw)
            pytest.fail(f"{name}{what!r} raised {type(error).__name__}: {error}")


def test_the_test_above_can_fail():
    broken = Row("add", lambda g: [Sample(g(2), g(2))], call=lambda x, y: x.no_such_thing)
    with pytest.raises(AttributeError):
        broken.function()(*to_ek(broken.make()[0]).args)
    assert AttributeError not in REFUSALS


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
