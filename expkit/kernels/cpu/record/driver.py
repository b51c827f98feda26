"""Replaying recorded calls: their tables with all pointers in place, gone through by generated code in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.machine.call import OBJECT, builtin, method, ready
from expkit.kernels.cpu.machine.pool import PARALLEL_FOR, pool
from expkit.kernels.cpu.record.recording import Call, address

FIELDS = 4  # words of a record: task, table, number of tasks, parallel? Without a task: nothing, a flag


class Script:
    """Recorded calls. `words`: all their tables, one behind another; `first[n]`: where that of call n begins."""

    def __init__(self, calls: Sequence[Call]) -> None:
        sizes = [len(c.words) for c in calls]
        self.first = np.cumsum([0, *sizes])
        self.words = np.zeros(self.first[-1], np.int64)
        for start, size, c in zip(self.first, sizes, calls, strict=False):
            self.words[start : start + size] = c.words
            self.words[start : start + len(c.pointers)] = c.pointers
        self._calls = calls

    def pointers(self) -> tuple[np.ndarray, np.ndarray]:
        """(the places of all pointers among the words, the number of each one's call)"""
        counts = [len(c.pointers) for c in self._calls]
        places = [np.arange(start, start + n) for start, n in zip(self.first, counts, strict=False)]
        return np.concatenate([*places, np.zeros(0, np.int64)]).astype(int), np.repeat(np.arange(len(counts)), counts)

    def part(self, start: int, stop: int, border: int = -1, flags: Sequence[np.ndarray] = ()) -> Callable[[], None]:
        """What runs these calls; the parallel ones over the pool, if nobody else uses it.

        The calls from `border` on are run only if none of the flags (cells that calls set) is up.
        """
        records: list[int] = []
        base = address(self.words)
        for n, (at, c) in enumerate(zip(self.first[start:stop], self._calls[start:stop], strict=True), start):
            if n == border:
                records += [x for cell in flags for x in (0, address(cell), 0, 0)]
            records += [c.kernel.task, base + 8 * int(at), int(c.words[c.kernel.tasks]), int(c.parallel)]
        table = np.array([len(records) // FIELDS, *records], np.int64)
        call = builtin(_driver(), table)

        def run() -> None:
            threads = pool()
            if threads.take():
                try:
                    call(threads.state)
                finally:
                    threads.release()
            else:
                call(table)

        return run

    def run(self) -> None:
        """Runs all calls."""
        self.part(0, len(self._calls))()


_IR = f"""
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @Py_IncRef(ptr)
define ptr @replay(ptr %self, ptr %args, i64 %given) {{
entry:
  %records.p = getelementptr i8, ptr %self, i64 {OBJECT}
  %records = load ptr, ptr %records.p
  %n = load i64, ptr %records
  %state = load ptr, ptr %args
  %alone = icmp eq ptr %state, %self
  %pool.p = getelementptr i8, ptr %state, i64 {OBJECT}
  %pool = load ptr, ptr %pool.p
  %parallel.p = getelementptr i64, ptr %pool, i64 {PARALLEL_FOR}
  %thread = call ptr @PyEval_SaveThread()
  br label %calls
calls:
  %k = phi i64 [ 0, %entry ], [ %k1, %done ]
  %any = icmp slt i64 %k, %n
  br i1 %any, label %call, label %out
call:
  %first = mul i64 %k, {FIELDS}
  %first1 = add i64 %first, 1
  %task.p = getelementptr i64, ptr %records, i64 %first1
  %table.p = getelementptr i64, ptr %task.p, i64 1
  %count.p = getelementptr i64, ptr %task.p, i64 2
  %many.p = getelementptr i64, ptr %task.p, i64 3
  %run.p = load ptr, ptr %task.p
  %table = load ptr, ptr %table.p
  %count = load i64, ptr %count.p
  %many = load i64, ptr %many.p
  %flag = icmp eq ptr %run.p, null
  br i1 %flag, label %look, label %task
look:
  %up = load i64, ptr %table
  %stop = icmp ne i64 %up, 0
  br i1 %stop, label %out, label %done
task:
  %wide = icmp ne i64 %many, 0
  %together = xor i1 %alone, true
  %both = and i1 %wide, %together
  br i1 %both, label %parallel, label %loop
parallel:
  %run = load ptr, ptr %parallel.p
  call void %run(ptr %pool, ptr %run.p, ptr %table, i64 %count)
  br label %done
loop:
  %i = phi i64 [ 0, %task ], [ %next, %body ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %body, label %done
body:
  call void %run.p(ptr %table, i64 %i)
  %next = add i64 %i, 1
  br label %loop
done:
  %k1 = add i64 %k, 1
  br label %calls
out:
  call void @PyEval_RestoreThread(ptr %thread)
  call void @Py_IncRef(ptr %self)
  ret ptr %self
}}
"""


@cache
def _driver() -> int:
    ready()
    return method(llvm.compile_ir(_IR).address("replay"))
