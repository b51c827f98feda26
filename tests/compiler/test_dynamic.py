"""Signatures: how many are compiled, what mark_dynamic changes, and what a loop of its own may ask a program for."""

import gc
import itertools
import warnings

import pytest

import expkit as ek
from expkit.compiler import Compiled, compiled, dynamic
from expkit.errors import RangeError, TraceError


def double(x):
    return x * 2


def test_many_signatures_end_in_one_warning():
    run = ek.compile(double)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for size in range(1, compiled.SIGNATURES + 4):
            for _ in range(2):
                assert run(ek.ones(size)).tolist() == [2.0] * size
    assert len(heard) == 1
    assert "mark_dynamic" in str(heard[0].message)


def test_sizes_of_a_marked_dimension_are_one_signature_and_a_bounded_number_of_programs():
    run = ek.compile(double, fullgraph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in [*range(1, compiled.SIGNATURES + 4), 3]:
            for k in range(3):
                x = ek.full((2, size), float(k))
                ek.mark_dynamic(x, -1)
                assert run(x).tolist() == [[2.0 * k] * size] * 2
    assert len(run.recent) == 1
    assert len(run.entries) == dynamic.KEPT
    assert all(len(entry.replays) == 1 for entry in run.entries.values())


def test_what_was_used_last_is_kept():
    traced = itertools.count()

    def f(x):
        next(traced)
        return x + 1

    run = Compiled(f, ready=True)
    for size in range(1, 3 * dynamic.KEPT):
        for n in (size, 500):
            x = ek.ones(n)
            ek.mark_dynamic(x, 0)
            run(x)
    assert next(traced) == 3 * dynamic.KEPT  # each size once, the one that always comes back too


def test_another_dimension_that_changes_makes_a_signature():
    run = ek.compile(double)
    for shape in ((2, 3), (4, 3), (2, 5)):
        x = ek.ones(shape)
        ek.mark_dynamic(x, 0)
        run(x)
    assert len(run.recent) == 2


def test_marks_are_the_tensors_own_and_go_with_it():
    x = ek.ones(2, 3)
    ek.mark_dynamic(x, (0, -1))
    assert dynamic.marked(x) == (0, 1)
    assert dynamic.marked(x + 0) == ()
    place = id(x)
    del x
    gc.collect()
    assert place not in dynamic._MARKS


@pytest.mark.parametrize(("bad", "error"), [((3, 0), TypeError), ((ek.ones(2), 1), RangeError)])
def test_a_wrong_mark_is_refused(bad, error):
    with pytest.raises(error, match="mark_dynamic"):
        ek.mark_dynamic(*bad)


def test_a_failed_check_leaves_everything_as_it_was():
    state = ek.zeros(2)

    class Refused(Exception):
        pass

    def check(result):
        if not result.isfinite().all():
            raise Refused

    def step(x):
        state.add_(x)
        return x.log().sum()

    run = Compiled(step, ready=True, check=check)
    run(ek.ones(2))
    with pytest.raises(Refused):
        run(ek.tensor([1.0, 0.0]))
    assert state.tolist() == [1.0, 1.0]
    run(ek.ones(2))
    assert state.tolist() == [2.0, 2.0]


def test_what_fails_only_under_a_trace_runs_eagerly_and_says_so():
    def picky(x):
        if type(x.raw).__name__ != "ndarray":
            raise KeyError("no array")
        return x + 1

    said: list[str] = []
    run = Compiled(picky, ready=True, warn=said.append)
    for _ in range(3):
        assert run(ek.ones(1)).tolist() == [2.0]
    (message,) = said
    assert "KeyError: 'no array'" in message
    assert "raise KeyError" in message
    with pytest.raises(KeyError):
        Compiled(picky, ready=True, fullgraph=True)(ek.ones(1))


def test_an_error_of_the_function_itself_is_that_error():
    def wrong(x):
        return x @ ek.ones(7)

    run = Compiled(wrong, ready=True)
    with pytest.raises(RuntimeError) as caught:
        run(ek.ones(2, 3))
    assert not isinstance(caught.value, TraceError)
