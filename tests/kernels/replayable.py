"""Whether a function of arrays is nothing but kernel calls: recorded once, it must follow other values."""

import numpy as np

from expkit.kernels.cpu.record.arena import Arena, reserved
from expkit.kernels.cpu.record.driver import Script
from expkit.kernels.cpu.record.recording import Recording

POISON = 0xA5


def assert_replayable(fn, *arrays, reserve=1 << 30):
    """Records fn(*arrays) (an array, or some), gives the arrays other values, poisons all memory that the recording
    owns, replays it, and compares with fn as it is. Other values are the same ones in another order."""
    arena = Arena(reserved(reserve))
    expected = _list(fn(*arrays))
    with Recording(arena) as tape:
        tape.know(arrays)
        outs = _list(fn(*arrays))
    assert not tape.foreign, tape.foreign
    for found, wanted in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg="while it is recorded")
        assert not found.size or arena.block(found.ctypes.data) is not None or _within(found, arrays), (
            f"a result {found.dtype}{list(found.shape)} lies in memory that no kernel was given"
        )
    for x in arrays:
        x[...] = x.ravel()[::-1].reshape(x.shape)
    expected = [np.array(x) for x in _list(fn(*arrays))]
    arena.memory[: arena.peak] = POISON
    Script(tape.calls).run()
    for found, wanted in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg="when it is replayed")


def _list(found):
    return [found] if isinstance(found, np.ndarray) else list(found)


def _within(x, arrays):
    return any(np.may_share_memory(x, a) for a in arrays)
