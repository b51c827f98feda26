"""From Python into generated code: a kernel bound to its table is a built-in function.

    call(state, *arrays)

It speaks CPython's fast calling convention (METH_FASTCALL): the objects come as an array of pointers, and the data
pointers are read out of the arrays themselves, behind the object's header. `self` is the plan's table, with the address
of the kernel's `task` behind it. The table is copied to the stack, completed with the pointers, and the tasks run
without the GIL: over the pool whose state is given, or alone where `state` is the table itself. A call costs 0.1 us,
through ctypes it would be 0.6. Kernels whose tables are alike share this code, which takes longer to compile than a
small kernel; recorded programs do without it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import numpy as np

from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.machine.pool import PARALLEL_FOR, pool

OBJECT = object.__basicsize__  # the data pointer's place in an array
_FASTCALL = 0x80
_SYMBOLS = ("PyErr_BadArgument", "PyEval_SaveThread", "PyEval_RestoreThread", "Py_IncRef")


class _Method(ctypes.Structure):
    """PyMethodDef"""

    _fields_ = (("name", ctypes.c_char_p), ("call", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


def caller(operands: int, words: int, tasks: int) -> str:
    """The text of `call` for tables of so many words, of which the `tasks`th counts the tasks."""
    take = "".join(
        f"""  %a{k} = getelementptr ptr, ptr %args, i64 {k + 1}
  %o{k} = load ptr, ptr %a{k}
  %f{k} = getelementptr i8, ptr %o{k}, i64 {OBJECT}
  %d{k} = load ptr, ptr %f{k}
  %w{k} = getelementptr i64, ptr %table, i64 {k}
  store ptr %d{k}, ptr %w{k}
"""
        for k in range(operands)
    )
    return f"""{llvm.EXPLICIT}declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i32 @PyErr_BadArgument()
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare void @Py_IncRef(ptr)
define ptr @call(ptr %self, ptr %args, i64 %given) {{
entry:
  %table = alloca [{words} x i64], align 64
  %right = icmp eq i64 %given, {operands + 1}
  br i1 %right, label %start, label %wrong
wrong:
  %error = call i32 @PyErr_BadArgument()
  ret ptr null
start:
  %plan.p = getelementptr i8, ptr %self, i64 {OBJECT}
  %plan = load ptr, ptr %plan.p
  call void @llvm.memcpy.p0.p0.i64(ptr %table, ptr %plan, i64 {words * 8}, i1 false)
  %task.p = getelementptr i64, ptr %plan, i64 {words}
  %task = load ptr, ptr %task.p
{take}  %count.p = getelementptr i64, ptr %table, i64 {tasks}
  %count = load i64, ptr %count.p
  %state = load ptr, ptr %args
  %alone = icmp eq ptr %state, %self
  %thread = call ptr @PyEval_SaveThread()
  br i1 %alone, label %loop, label %many
many:
  %pool.p = getelementptr i8, ptr %state, i64 {OBJECT}
  %pool = load ptr, ptr %pool.p
  %parallel.p = getelementptr i64, ptr %pool, i64 {PARALLEL_FOR}
  %parallel = load ptr, ptr %parallel.p
  call void %parallel(ptr %pool, ptr %task, ptr %table, i64 %count)
  br label %out
loop:
  %i = phi i64 [ 0, %start ], [ %next, %loop ]
  call void %task(ptr %table, i64 %i)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %out
out:
  call void @PyEval_RestoreThread(ptr %thread)
  call void @Py_IncRef(ptr %self)
  ret ptr %self
}}
"""


@cache
def ready() -> Any:
    """Tells the linker of Python's functions, before code that calls them; the maker of built-in functions."""
    for name in _SYMBOLS:
        llvm.binding().add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return make


def method(address: int) -> int:
    """The address of the description of a built-in function, for `builtin`."""
    found = _Method(b"kernel", address, _FASTCALL, None)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(found))  # functions point to it, to the very end of the interpreter
    return ctypes.addressof(found)


def builtin(at: int, itself: Any) -> Callable[..., Any]:
    """The built-in function described there; `itself` is its first argument."""
    return ready()(at, itself, None)


@cache
def _caller(operands: int, words: int, tasks: int) -> int:
    """The description of `call` for tables of this kind."""
    ready()
    return method(llvm.compile_ir(caller(operands, words, tasks)).address("call"))


class Kernel:
    """Machine code of `task(table, i)`, compiled when it is needed, and the table's layout.

    operands: how many pointers there are, the table's first words; tasks: the place of the tasks' number.
    """

    def __init__(self, code: llvm.Code, operands: int, words: int, tasks: int) -> None:
        self.operands, self.words, self.tasks, self._code = operands, words, tasks, code

    @cached_property
    def task(self) -> int:
        """The address of `task`."""
        return self._code.address("task")

    def make(self, table: Any) -> tuple[Callable[..., Any], Any]:
        """The function that runs it with a table, and what this one takes for the table."""
        plan = np.append(table, self.task)
        return builtin(_caller(self.operands, self.words, self.tasks), plan), plan


def compiled(text: str, operands: int, words: int, tasks: int) -> Kernel:
    """The kernel of a module with `task(table, i)`, whose tables are arrays of so many 64-bit words."""
    return Kernel(llvm.promised(text), operands, words, tasks)


class Bound:
    """A kernel with its table: bound(*arrays) runs it. `make()` gives the kernel, and is called when it first runs."""

    __slots__ = ("_make", "_run", "_table", "kernel", "parallel")
    kernel: Kernel
    _run: tuple[Callable[..., Any], Any]

    def __init__(self, make: Callable[[], Kernel], table: Any, *, parallel: bool) -> None:
        self._make, self._table, self.parallel = make, table, parallel

    def __getattr__(self, name: str) -> Any:
        """`kernel` and `_run`, while they are not there yet."""
        if name == "kernel":
            self.kernel = self._make()
            return self.kernel
        if name == "_run":
            self._run = self.kernel.make(self._table)
            return self._run
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def __call__(self, *arrays: Any) -> None:
        """Runs on arrays whose memory the table describes; the caller keeps them alive."""
        if LISTENERS:
            for listener in LISTENERS:
                if listener.called(self, arrays):
                    return
        call, plan = self._run
        if self.parallel:
            threads = pool()
            if threads.take():
                try:
                    call(threads.state, *arrays)
                finally:
                    threads.release()
                return
        call(plan, *arrays)

    @property
    def table(self) -> Any:
        """Its words but for the pointers."""
        return self._table


LISTENERS: list[Any] = []  # told of each call before it runs: recordings. Where one says True, it is not run
