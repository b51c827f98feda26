"""Primitives whose kernels run elementwise code inside: behind their first result, or in front of their first operand.

A product's code works on parts of the result that are in the cache, with operands that broadcast to it; a norm of
images takes images of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

from expkit.autograd.equations import Equation, Var
from expkit.kernels.cpu.gemm import product as gemm
from expkit.kernels.cpu.gemm.epilogue import SLOTS
from expkit.kernels.cpu.loops.program import Program, Ref, Step
from expkit.tensor.generated import norm

IMAGES = 6  # images that code inside of a norm reads and writes: each is one more to go through
LEAST = 1 << 21  # elements of an image from which that is the faster way: smaller ones stay in a cache between kernels
Run = Callable[..., Sequence[Any] | None]


class Core(NamedTuple):
    """What is known of such a primitive.

    front: the code makes its first operand; else it works on its first result.
    allows(equation, what the code reads besides, how many results it has): whether such code can run inside.
    run(equation, program): behind: (*operands, *what the code reads) -> (*the code's results, *the other results);
    in front: (*what the code reads, *operands but the first) -> (*results, *the code's results but the first). The
    program's input that is the first result comes first; in front, the normalised value comes last.
    """

    front: bool
    allows: Callable[[Equation, Sequence[Var], int], bool]
    run: Callable[[Equation, Program], Run]

    def inner(self, e: Equation) -> Var:
        """The value between the code and the primitive."""
        return e.args[0] if self.front else e.outs[0]


def _slots_suffice(e: Equation, reads: Sequence[Var], results: int) -> bool:
    floats = all(a.dtype == e.outs[0].dtype in gemm.KINDS and len(a.shape) > 1 for a in e.args[:2])
    return floats and len(reads) + (len(e.args) - 2) + max(0, results - 1) <= SLOTS


def _product(e: Equation, program: Program) -> Run:
    return lambda x, y, *others: gemm.fused(x, y, program, others)


def _linear(e: Equation, program: Program) -> Run:
    program = _biased(program) if len(e.args) > 2 else program
    return lambda x, w, *others: gemm.fused(x, w.swapaxes(-1, -2), program, others)


def _biased(program: Program) -> Program:
    """The program of (x + bias, *others) as one of (x, bias, *others)."""
    kind, count = program.inputs[0], len(program.inputs)

    def moved(number: int) -> int:
        return count + 1 if number == 0 else number + 1 + (number >= count)

    steps = [
        step._replace(args=tuple(Ref(moved(a.number)) if isinstance(a, Ref) else a for a in step.args))
        for step in program.steps
    ]
    sums = Step("add", (Ref(0), Ref(1)))
    return Program((kind, kind, *program.inputs[1:]), (sums, *steps), tuple(map(moved, program.outputs)))


def _images(e: Equation, reads: Sequence[Var], results: int) -> bool:
    inner = e.outs[0] if e.prim.name == "normalize" else e.args[0]
    alike = all((a.shape, a.dtype) == (inner.shape, inner.dtype) for a in reads)
    known = inner.dtype in gemm.KINDS and norm.takes_programs(inner.shape, e.kw["axes"], e.kw["at"])
    return alike and known and len(reads) + results <= IMAGES and prod(inner.shape) >= LEAST


def _normalize(e: Equation, program: Program) -> Run:
    count = len(e.args)

    def run(*arrays: Any) -> Sequence[Any] | None:
        return norm.normalize(*arrays[:count], **e.kw, program=program, others=arrays[count:])

    return run


def _normalize_grad(e: Equation, program: Program) -> Run:
    count = len(program.inputs) - 1

    def run(*arrays: Any) -> Sequence[Any] | None:
        return norm.normalize_grad_of(arrays[:count], *arrays[count:], **e.kw, program=program)

    return run


CORES: dict[str, Core] = {
    "matmul": Core(False, _slots_suffice, _product),
    "linear": Core(False, _slots_suffice, _linear),
    "normalize": Core(False, _images, _normalize),
    **{f"normalize_grad{n}": Core(True, _images, _normalize_grad) for n in (1, 2, 3)},
}
