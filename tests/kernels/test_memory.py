"""NumPy's memory under the engine: kept, aligned, and NumPy's own where the environment or the thread says so."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from expkit.kernels.cpu.machine import memory

pytest.importorskip("llvmlite")


def test_large_blocks_begin_at_a_cache_line():
    if not (memory.keep() and memory.align()):
        pytest.skip("not with this C library, or this environment")
    for count in (512, 513, 1000, 70_001, 600_000):
        made = [np.empty(count), np.zeros(count), np.arange(count) + 0.5]
        assert not made[1].any()
        assert all(x.ctypes.data % 64 == 0 for x in made)
        made[0][:] = 1
        made[0].resize(3 * count, refcheck=False)
        assert made[0].sum() == count


def test_a_freed_block_is_used_again_though_there_is_no_room_around_it():
    if not (memory.keep() and memory.align()):
        pytest.skip("not with this C library, or this environment")
    for count in (1013, 70_013, 6_000_013):
        x, wall = np.empty(count), [np.empty(700) for _ in range(4)]
        place = x.ctypes.data
        del x
        y = np.empty(count)
        assert y.ctypes.data == place
        del wall


def test_what_nobody_uses_can_be_given_back():
    program = """
import numpy as np
from expkit.kernels.cpu.machine import memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

memory.keep(), memory.align()
x = [np.ones(1 << 20) for _ in range(20)]
wall = np.ones(1000)
full = resident()
del x
kept = resident()
memory.release()
print(full - kept, full - resident())
"""
    if not sys.platform.startswith("linux") or not memory.keep():
        pytest.skip("not with this C library, or this environment")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    kept, released = map(int, done.stdout.split())
    assert kept < 20 << 20
    assert released > 140 << 20


def test_zeros_of_all_sizes():
    for size in (0, 1, memory.LARGE - 1, memory.LARGE, memory.ZEROED - 1, memory.ZEROED, memory.ZEROED + 7):
        x = np.zeros(size, np.uint8)
        x += 1
        del x
        assert not np.zeros(size, np.uint8).any()


def test_other_threads_and_impossible_sizes():
    sums, wrong = [], []
    for _ in range(3):
        worker = threading.Thread(target=lambda: sums.append(np.ones(100_000).sum()))
        worker.start()
        worker.join()
    assert sums == [100_000.0] * 3
    for size in (1 << 60, 1 << 46):
        try:
            np.zeros(size, np.uint8)
        except (MemoryError, ValueError):
            wrong.append(size)
    assert 1 << 60 in wrong


def test_the_environment_has_priority(monkeypatch):
    memory.keep.cache_clear()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert not memory.keep()
    memory.keep.cache_clear()


PROGRAM = """
import atexit, numpy as np, threading
import expkit as ek
x = ek.ones(300, 300).exp()
assert x.raw.ctypes.data % 64 == 0 or {set}
kept = [ek.ones(100, 100) + n for n in range(20)]
atexit.register(lambda: np.ones(100_000).sum())
class Late:
    def __del__(self):
        np.ones(100_000)
late = Late()
"""


@pytest.mark.parametrize("variable", ["", "MALLOC_ARENA_MAX"])
def test_a_program_ends_well(variable, monkeypatch):
    if variable:
        monkeypatch.setenv(variable, "4")
    code = PROGRAM.format(set=bool(variable) or not memory.keep())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
