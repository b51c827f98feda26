"""One pool of threads for all kernels: Python daemon threads that wait inside generated code, without the GIL.

`parallel_for(task, argument, count)` lets the caller and the workers run task(argument, i) for every i below count.
The parts are claimed one by one, so that a core that is busy elsewhere delays one part and not its share of all; what
a part computes depends on i alone, so results do not depend on the number of threads.

The pool is one array of 64-bit words. Its first word is the job, as (generation, next part): a part is claimed by a
compare-and-swap of the whole word, which fails where the job has changed: the old job is closed before what belongs to
the new one can be seen (release and acquire, which cost nothing on x86). Workers spin for a while, then sleep in
futex; the caller wakes them only where some sleep. After a fork the child starts threads of its own.
"""

import ctypes
import os
import platform
import sys
import threading
from typing import Any

import numpy as np

from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.machine.locks import forkable

SPIN = 4_000  # looks at the ticket before a worker sleeps: some tens of microseconds
STACK = 8 << 20  # bytes of a worker's stack: kernels keep tiles there, and what is usual may be less (musl: 128 KiB)
_CALLS = {"x86_64": (202, 24), "aarch64": (98, 124)}  # system calls: futex, sched_yield
_FUTEX, _YIELD = _CALLS.get(platform.machine(), (0, 0)) if sys.platform == "linux" else (0, 0)
_WORDS = 128  # used, on cache lines of their own: ticket 0, done 16, task.. 32, wake 48, sleepers 64, stop 80
PARALLEL_FOR = 96  # and the address of parallel_for

_SYSCALL = "declare i64 @syscall(i64, ...)"
_IR = """
declare i64 @syscall(i64, ...)
declare void @llvm.x86.sse2.pause()

; runs parts of the job `seen` until none is left; %pool: ticket
define internal void @work(ptr %pool) {{
entry:
  %done.p = getelementptr i64, ptr %pool, i64 16
  %task.p = getelementptr i64, ptr %pool, i64 32
  %arg.p = getelementptr i64, ptr %pool, i64 33
  %count.p = getelementptr i64, ptr %pool, i64 34
  br label %look
look:
  %t = load atomic i64, ptr %pool seq_cst, align 8
  %i = and i64 %t, 4294967295
  %count = load atomic i64, ptr %count.p acquire, align 8
  %task.i = load atomic i64, ptr %task.p acquire, align 8
  %arg.i = load atomic i64, ptr %arg.p acquire, align 8
  %any = icmp ult i64 %i, %count
  br i1 %any, label %claim, label %out
claim:
  %next = add i64 %t, 1
  %pair = cmpxchg ptr %pool, i64 %t, i64 %next seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %run, label %look
run:
  %task = inttoptr i64 %task.i to ptr
  %arg = inttoptr i64 %arg.i to ptr
  call void %task(ptr %arg, i64 %i)
  %was = atomicrmw add ptr %done.p, i64 1 seq_cst
  br label %look
out:
  ret void
}}

define void @worker(ptr %pool, i64 %spin) {{
entry:
  %wake.p = getelementptr i64, ptr %pool, i64 48
  %sleepers.p = getelementptr i64, ptr %pool, i64 64
  %stop.p = getelementptr i64, ptr %pool, i64 80
  br label %again
again:
  call void @work(ptr %pool)
  %w = load atomic i32, ptr %wake.p seq_cst, align 8
  br label %wait
wait:
  %n = phi i64 [ 0, %again ], [ %n1, %more ]
  %stop = load atomic i64, ptr %stop.p monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %out, label %peek
peek:
  %now = load atomic i32, ptr %wake.p monotonic, align 8
  %new = icmp ne i32 %now, %w
  br i1 %new, label %again, label %more.pre
more.pre:
  {pause}
  br label %more
more:
  %n1 = add i64 %n, 1
  %tired = icmp ugt i64 %n1, %spin
  br i1 %tired, label %sleep, label %wait
sleep:
  %a = atomicrmw add ptr %sleepers.p, i64 1 seq_cst
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %wake.p, i64 128, i32 %w, ptr null, ptr null, i32 0)
  %b = atomicrmw sub ptr %sleepers.p, i64 1 seq_cst
  br label %again
out:
  ret void
}}

define void @parallel_for(ptr %pool, ptr %task, ptr %arg, i64 %count) {{
entry:
  %done.p = getelementptr i64, ptr %pool, i64 16
  %task.p = getelementptr i64, ptr %pool, i64 32
  %arg.p = getelementptr i64, ptr %pool, i64 33
  %count.p = getelementptr i64, ptr %pool, i64 34
  %wake.p = getelementptr i64, ptr %pool, i64 48
  %sleepers.p = getelementptr i64, ptr %pool, i64 64
  %old = load atomic i64, ptr %pool seq_cst, align 8
  %gen = lshr i64 %old, 32
  %gen1 = add i64 %gen, 1
  %high = shl i64 %gen1, 32
  %closed = or i64 %high, 4294967295
  store atomic i64 %closed, ptr %pool seq_cst, align 8
  %task.i = ptrtoint ptr %task to i64
  %arg.i = ptrtoint ptr %arg to i64
  store atomic i64 %task.i, ptr %task.p release, align 8
  store atomic i64 %arg.i, ptr %arg.p release, align 8
  store atomic i64 %count, ptr %count.p release, align 8
  store atomic i64 0, ptr %done.p seq_cst, align 8
  store atomic i64 %high, ptr %pool seq_cst, align 8
  %w = atomicrmw add ptr %wake.p, i32 1 seq_cst
  %asleep = load atomic i64, ptr %sleepers.p seq_cst, align 8
  %any = icmp ne i64 %asleep, 0
  br i1 %any, label %wakeup, label %help
wakeup:
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %wake.p, i64 129, i32 2147483647, ptr null, ptr null, i32 0)
  br label %help
help:
  call void @work(ptr %pool)
  br label %wait
wait:
  %n = phi i64 [ 0, %help ], [ %n1, %pause ], [ 0, %yield ]
  %d = load atomic i64, ptr %done.p seq_cst, align 8
  %all = icmp uge i64 %d, %count
  br i1 %all, label %out, label %pause
pause:
  {pause}
  %n1 = add i64 %n, 1
  %tired = icmp ugt i64 %n1, {spin}
  br i1 %tired, label %yield, label %wait
yield:
  %y = call i64 (i64, ...) @syscall(i64 {sched})
  br label %wait
out:
  ret void
}}

define void @serial_for(ptr %pool, ptr %task, ptr %arg, i64 %count) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i1, %body ]
  %go = icmp ult i64 %i, %count
  br i1 %go, label %body, label %out
body:
  call void %task(ptr %arg, i64 %i)
  %i1 = add i64 %i, 1
  br label %loop
out:
  ret void
}}
"""


class Pool:
    """The threads of this process."""

    def __init__(self, threads: int) -> None:
        pause = "call void @llvm.x86.sse2.pause()" if platform.machine() == "x86_64" else ""
        text = _IR.format(pause=pause, futex=_FUTEX, sched=_YIELD, spin=SPIN)
        if not pause:
            text = text.replace("declare void @llvm.x86.sse2.pause()\n", "")
        if not _FUTEX:  # there are no other threads, and perhaps no `syscall` to link to
            text = text.replace(_SYSCALL, "define internal i64 @syscall(i64 %n, ...) {\n  ret i64 0\n}")
        self.code = llvm.compile_ir(text)
        self.threads = threads
        self._memory = np.zeros(_WORDS + 8, np.uint64)
        aligned = -self._memory.ctypes.data % 64 // 8
        self.state = self._memory[aligned:]
        self.address = self.state.ctypes.data
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        self.parallel = self.code.address("parallel_for")
        self._parallel = call(self.parallel)
        self.state[PARALLEL_FOR] = self.parallel
        self._serial = call(self.code.address("serial_for"))
        self._worker = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(self.code.address("worker"))
        self._busy = threading.Lock()
        self.release = self._busy.release
        usual = threading.stack_size(STACK)
        try:
            for n in range(threads - 1):
                name, args = f"expkit-{n}", (self.address, SPIN)
                threading.Thread(target=self._worker, args=args, name=name, daemon=True).start()
        finally:
            threading.stack_size(usual)

    def run(self, task: int, argument: int, count: int) -> None:
        """task(argument, i) for all i below count. A second thread that comes meanwhile does its work alone."""
        if self.threads > 1 and count > 1 and self._busy.acquire(blocking=False):
            try:
                self._parallel(self.address, task, argument, count)
            finally:
                self._busy.release()
        else:
            self._serial(self.address, task, argument, count)

    def take(self) -> bool:
        """Whether the caller may now call `parallel_for` itself; it must `release` the pool afterwards."""
        return self.threads > 1 and self._busy.acquire(blocking=False)

    def stop(self) -> None:
        """Lets the workers end, after what runs now; a job of no parts wakes those that sleep."""
        self.state[80] = 1
        with self._busy:
            self._parallel(self.address, None, None, 0)


_pool: list[Pool] = []
_wanted: list[int] = []  # what set_num_threads was told
_start = forkable()


def pool() -> Pool:
    """The pool, started at its first use."""
    found = _pool[:1]  # set_num_threads may take it away meanwhile
    if found:
        return found[0]
    with _start:
        if not _pool:
            _pool.append(Pool(_wanted[0] if _wanted else default_threads()))
        return _pool[0]


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may use; 1 where there is no futex."""
    if not _FUTEX:
        return 1
    named = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if named.isdigit() and int(named) > 0:
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(n: int) -> None:
    """How many threads kernels use, the caller's included."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer, got {n!r}")
    with _start:
        _wanted[:] = [n if _FUTEX else 1]
        _drop()


def get_num_threads() -> int:
    """How many threads kernels use, the caller's included."""
    return _wanted[0] if _wanted else default_threads()


def _drop(*, forked: bool = False) -> None:
    while _pool:
        old = _pool.pop()
        if not forked:
            old.stop()
        _retired.append(old)  # its memory may still be looked at by a worker


_retired: list[Any] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _drop(forked=True))
