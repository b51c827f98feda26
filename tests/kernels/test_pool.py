"""The pool of threads: every part runs once, whoever comes; after a fork; with other numbers of threads."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from expkit.kernels.cpu.machine import llvm, pool
from tests.kernels.together import at_once

pytest.importorskip("llvmlite")
COUNT = """
define void @task(ptr %counts, i64 %i) {
  %p = getelementptr i64, ptr %counts, i64 %i
  %old = atomicrmw add ptr %p, i64 1 seq_cst
  ret void
}
"""


def run(parts: int) -> np.ndarray:
    counts = np.zeros(max(1, parts), np.int64)
    pool.pool().run(llvm.compile_ir(COUNT).address("task"), counts.ctypes.data, parts)
    return counts[:parts]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_every_part_runs_once(n, threads):
    threads(n)
    for parts in (0, 1, 2, 3, 7, 64, 10_000):
        assert (run(parts) == 1).all()
    for _ in range(300):
        assert (run(5) == 1).all()


def test_from_several_python_threads(threads):
    threads(3)

    def work(_):
        for _ in range(200):
            assert (run(20) == 1).all()

    at_once(work, range(4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_child_has_threads_of_its_own(threads):
    threads(2)
    assert (run(100) == 1).all()
    child = os.fork()
    if child == 0:
        ok = (run(100) == 1).all() and pool.pool().threads == 2
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (run(100) == 1).all()


def test_set_num_threads(threads):
    threads(3)
    assert pool.get_num_threads() == pool.pool().threads == 3
    for bad in (0, -1, 1.5, True, "2"):
        with pytest.raises(RuntimeError, match="positive integer"):
            threads(bad)
    assert pool.get_num_threads() == 3


def test_omp_num_threads_is_respected(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert pool.default_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "no")
    assert pool.default_threads() >= 1


def test_the_pool_is_free_again_after_a_use_of_its_own(threads):
    threads(2)
    p = pool.pool()
    assert p.take()
    assert not p.take()
    p.release()
    assert p.take()
    p.release()
    assert ctypes.sizeof(ctypes.c_int64) == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_and_calls_while_another_thread_changes_the_number_of_threads(threads):
    wrong, over = [], threading.Event()

    def change():
        n = 0
        while not over.is_set():
            n += 1
            threads(2 + n % 2)
            if not (run(20) == 1).all():
                wrong.append(n)

    changers = [threading.Thread(target=change) for _ in range(2)]
    for t in changers:
        t.start()
    try:
        for _ in range(20):
            assert (run(30) == 1).all()
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # ends a child that waits for a lock of a thread that it does not have
                os._exit(0 if (run(30) == 1).all() else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        over.set()
        for t in changers:
            t.join()
    assert not wrong


def test_threads_of_a_former_number_end(threads):
    for n in (3, 4, 3, 4, 3, 4):
        threads(n)
        run(20)
        time.sleep(0.002)  # the workers fall asleep
    threads(1)
    for t in [t for t in threading.enumerate() if t.name.startswith("expkit-")]:
        t.join(10)
        assert not t.is_alive()


def test_workers_have_room_where_threads_have_small_stacks():
    program = (
        "import threading\nthreading.stack_size(1 << 18)\nimport expkit as ek\nek.set_num_threads(3)\n"
        "x = ek.ones(512, 512)\nassert float((x @ x).sum()) == 512**3\nx.sort(dim=1)\n"
        "assert threading.stack_size() == 1 << 18\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
