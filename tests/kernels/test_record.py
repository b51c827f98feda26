"""Recording and replaying kernel calls; the memory of recorded programs."""

import numpy as np
import pytest

from expkit.kernels.cpu.arrays.copy import contiguous
from expkit.kernels.cpu.loops import plan
from expkit.kernels.cpu.loops.pointwise import Kernel
from expkit.kernels.cpu.loops.program import Program, Ref, Step
from expkit.kernels.cpu.record.arena import Arena, reserved
from expkit.kernels.cpu.record.driver import Script
from expkit.kernels.cpu.record.recording import Recording
from tests.kernels.replayable import assert_replayable

ADD = Kernel(Program(("f4", "f4"), (Step("add", (Ref(0), Ref(1))), Step("mul", (Ref(2), Ref(0)))), (3,)))


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(3,), (40, 50), (1000, 700)])
def test_calls_follow_their_operands(shape):
    assert_replayable(lambda x, y: ADD(ADD(x, y), y), normal(*shape), normal(*shape))


def test_views_and_copies():
    assert_replayable(lambda x: contiguous(x.T)[3:], normal(70, 30))


def test_what_numpy_computes_is_noticed():
    with pytest.raises(AssertionError, match="elsewhere"):
        assert_replayable(lambda x, y: ADD(x + y, y), normal(300), normal(300))
    with pytest.raises(AssertionError, match="no kernel"):
        assert_replayable(lambda x: x + 1, normal(300))

    def written(x):
        out = plan.empty(x.shape, x.dtype)
        out[...] = x
        return out

    with pytest.raises(AssertionError, match="replayed"):
        assert_replayable(written, normal(300))


def test_read_only_arrays_are_constants():
    constant = normal(300)
    constant.flags.writeable = False
    assert_replayable(lambda x: ADD(x, constant), normal(300))


def test_memory_is_handed_out_again():
    arena = Arena(reserved(1 << 20))
    first, second, third = (arena.empty((1000,), np.float32) for _ in range(3))
    peak = arena.peak
    for x in (second, first):
        arena.give_back(arena.block(x.ctypes.data))
    again = arena.empty((2000,), np.float32)
    assert (again.ctypes.data, arena.peak) == (first.ctypes.data, peak)
    assert [arena.block(third.ctypes.data + n) is None for n in (3999, 4096)] == [False, True]
    assert all(x.ctypes.data % 64 == 0 for x in (first, second, third, again))
    with pytest.raises(MemoryError):
        arena.empty((1 << 20,), np.float32)


def test_cells_stand_for_arrays():
    x = normal(5)
    tape = Recording(Arena(reserved(1 << 12)))
    (found,) = tape.pointers([x])
    ((_, cells),) = tape.cells
    assert cells[0] == x.ctypes.data
    assert found + 16 == cells.ctypes.data


def test_calls_that_are_put_off_run_with_the_script():
    x, y = normal(300), normal(300) + 1
    with Recording(Arena(reserved(1 << 20)), put_off=True) as tape:
        tape.know([x, y])
        out = ADD(x, y)
        out[...] = -1
        again = ADD(out, y)
    assert (out == -1).all()
    Script(tape.calls).run()
    np.testing.assert_array_equal(out, (x + y) * x)
    np.testing.assert_array_equal(again, (out + y) * out)


def test_an_empty_program_runs():
    Script([]).run()
