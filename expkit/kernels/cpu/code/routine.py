"""A kernel that a Python function writes, and its calls: one foreign call each, split into tasks over the pool.

def write(f):  # f.index is the task's number
    x, y = f.arrays
    for i in f.range(f["n"]):
        y.store(x.load(i) + 1.0, i)

routine = Routine("add_one", ("f4", "f4"), ("n",), write)
run = routine.bind(tasks=1, n=100)  # once for given sizes: keep it
run(x, y)  # arrays of the kinds promised; nothing is checked here
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from expkit.kernels.cpu.code.builder import Function, Pointer
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.machine import llvm
from expkit.kernels.cpu.machine.call import Bound, Kernel, compiled


class Task(Function):
    """The body of a routine: its arrays, its numbers and the number of the task."""

    def __init__(self, kinds: Sequence[str], words: Sequence[str]) -> None:
        pointers = {f"p{k}": f"*{kind}" for k, kind in enumerate(kinds)}
        super().__init__("body", **pointers, **dict.fromkeys(words, "i8"), index="i8")
        self.arrays: list[Pointer] = [self.pointer(f"p{k}") for k in range(len(kinds))]
        self.helpers: list[Function] = []

    @property
    def index(self) -> Value:
        """Which task this is."""
        return self["index"]

    def helper(self, name: str, **arguments: str) -> Function:
        """Another function of the module, to be written and then called by `run`."""
        found = Function(name, **arguments)
        self.helpers.append(found)
        return found


class Routine:
    """A kernel over `kinds` of arrays (those that are written may not overlap any other) and whole numbers `words`.

    explicit: its vectors are written out, LLVM need not look for loops to vectorise.
    """

    def __init__(
        self, name: str, kinds: Sequence[str], words: Sequence[str], write: Callable[[Task], None], *,
        explicit: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.kinds, self.words, self._write = name, tuple(kinds), tuple(words), write
        self._head = (llvm.EXPLICIT if explicit else "") + f"; {name}"
        self._kernel: Kernel | None = None

    def kernel(self) -> Kernel:
        """Its machine code, made when it is first asked for."""
        if self._kernel is None:
            pointers = len(self.kinds)
            self._kernel = compiled(self.text(), pointers, pointers + 1 + len(self.words), pointers)
        return self._kernel

    def text(self) -> str:
        """The module."""
        task = Task(self.kinds, self.words)
        self._write(task)
        parts = [*task.helpers, task]
        calls = {name: line for part in parts for name, line in part.calls.items()}
        bodies = [part.text() for part in parts]
        return "\n".join([self._head, *calls.values(), *bodies, self._task()])

    @property
    def _tasks(self) -> int:
        return len(self.kinds)

    def _task(self) -> str:
        """task(table, i): the body's arguments from the table."""
        lines, args = [], []
        for k in range(self._tasks + 1 + len(self.words)):
            if k == self._tasks:
                continue
            kind = "ptr" if k < self._tasks else "i64"
            lines.append(f"  %q{k} = getelementptr i64, ptr %table, i64 {k}\n  %w{k} = load {kind}, ptr %q{k}")
            args.append(f"{kind} %w{k}")
        head = "define void @task(ptr %table, i64 %i) {\nentry:"
        return "\n".join([head, *lines, f"  call void @body({', '.join([*args, 'i64 %i'])})", "  ret void\n}\n"])

    def bind(self, tasks: int, *, parallel: bool = True, **words: int) -> Bound:
        """The kernel for given numbers, in so many tasks; `parallel`: over the pool's threads."""
        if words.keys() != set(self.words):
            raise TypeError(f"{self.name}: needs the numbers {self.words}, got {tuple(words)}")
        table = np.array([0] * len(self.kinds) + [tasks] + [words[name] for name in self.words], np.int64)
        return Bound(self.kernel, table, parallel=parallel and tasks > 1)
