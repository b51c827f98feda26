"""Kernels are bound without their code, which is made when they first run."""

import numpy as np
import pytest

from expkit.kernels.cpu.code.routine import Routine
from expkit.kernels.cpu.machine.call import LISTENERS


class Instead:
    """Takes the place of all calls."""

    def __init__(self):
        self.calls = 0

    def called(self, _bound, _arrays):
        self.calls += 1
        return True


def write(f):
    x, y = f.arrays
    for i in f.range(f["n"]):
        y.store(x.load(i) + 1.0, i)


def test_code_is_made_when_a_kernel_first_runs():
    written = []
    routine = Routine("add_one", ("f4", "f4"), ("n",), lambda f: (written.append(f), write(f)))
    run, instead = routine.bind(tasks=1, n=4), Instead()
    x, y = np.ones(4, np.float32), np.zeros(4, np.float32)
    LISTENERS.append(instead)
    try:
        run(x, y)
    finally:
        LISTENERS.remove(instead)
    assert (instead.calls, written, y.sum()) == (1, [], 0)
    run(x, y)
    run(x, y)
    assert len(written) == 1
    assert y.tolist() == [2.0] * 4


def test_other_names_are_no_attributes():
    run = Routine("nothing", ("f4", "f4"), ("n",), write).bind(tasks=1, n=0)
    with pytest.raises(AttributeError, match="colour"):
        run.colour  # noqa: B018
