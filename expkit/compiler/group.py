"""Equations that run as one kernel, while they are put together from the last one to the first."""

from __future__ import annotations

from expkit.autograd.equations import Equation, Var
from expkit.compiler.cores import CORES
from expkit.compiler.kinds import Kind, Rows

MEMBERS = 64  # equations of a kernel: the intermediate values of more do not fit into the registers
STREAMS = 14  # arrays that a kernel reads: more of them crowd the same sets of the nearest cache


class Group:
    """Equations that run at one slot: as one kernel, or, without a kind, an equation by itself.

    space: what the kernel loops over; axes: what it reduces of that. core: the equation inside of which the others run.
    """

    def __init__(self, slot: int, kind: Kind | None) -> None:
        self.slot, self.kind = slot, kind
        self.space = kind.space if kind is not None else ()
        self.axes: tuple[int, ...] = ()
        self.rows: Rows | None = kind.row if kind is not None else None  # of which all members are, if of any
        self.core: Equation | None = None
        self.equations: list[Equation] = []  # but the core, from the last to the first
        self.reads: dict[int, Var] = {}  # what they read from outside
        self.full: set[int] = set()  # Vars that are read at each place of the space
        self.results = 0  # values that others read
        self.fixed = True  # whether all its numbers are known

    def add(self, e: Equation, kind: Kind | None, *, leaves: bool) -> None:
        """leaves: others read its result."""
        for v in e.outs:
            self.reads.pop(v.index, None)
        self.results += leaves
        if kind is not None and kind.core:
            self.core = e
            return
        self.equations.append(e)
        self.fixed = self.fixed and not any(hasattr(a, "value") for a in e.args)
        used = {a.index: a for a in e.args if isinstance(a, Var)}
        self.reads |= used
        if kind is None:
            return
        if kind.axes or kind.row is None:
            self.space, self.axes = kind.space, self.axes or kind.axes
            self.rows, self.full = None, self.full.union(used)
        elif kind.row != self.rows:
            self.rows = None

    def takes(self, e: Equation, kind: Kind, *, leaves: bool) -> bool:
        """Whether the kernel that it becomes with e can be written."""
        if self.kind is None or len(self.equations) >= MEMBERS:
            return False
        if self.core is not None:
            return self._takes_beside_core(e, kind, leaves)
        if self.kind.alone:  # a reduction whose kernel has one result
            return not leaves and kind.row is None and kind.space == self.space
        return self._fits(e, kind) and len(self.reads) + len(e.args) - 1 <= STREAMS

    def _fits(self, e: Equation, kind: Kind) -> bool:
        """Elementwise code of the same space; or code of rows, where reduced values are read with that axis kept."""
        out = e.outs[0]
        if kind.row is None:
            return kind.space == self.space
        if kind.row == self.rows and not kind.view:
            return not kind.axes or all(m.outs[0].shape == out.shape for m in self.equations)
        inside = kind.row.space == self.space and self.axes in ((), kind.row.axes)
        if inside and (out.index not in self.full or out.shape in (kind.row.kept, self.space)):
            return True
        return not kind.axes and not kind.view and kind.space == self.space

    # ---- with a core ----

    def holds(self, core: Equation, *, leaves: bool) -> bool:
        """Whether its code can run inside of `core`, behind the first result. leaves: others read that."""
        inner = core.outs[0]
        if self.kind is None or self.kind.alone or self.axes or self.core is not None or not self.fixed:
            return False
        if (
            inner.index not in self.reads
            or inner.shape != self.space
            or any(v.index in self.reads for v in core.outs[1:])
        ):
            return False
        reads = [a for a in self.reads.values() if a is not inner]
        return CORES[core.prim.name].allows(core, reads, self.results + leaves)

    def _takes_beside_core(self, e: Equation, kind: Kind, leaves: bool) -> bool:
        core, out = self.core, e.outs[0]
        if core is None or kind.axes or kind.view or kind.space != self.space or not _numbers_known(e):
            return False
        spec = CORES[core.prim.name]
        operands = {a.index for a in core.args[spec.front :] if isinstance(a, Var)}
        inner = spec.inner(core)
        if out.index in operands or (spec.front and out is not inner and out.index not in self.reads):
            return False
        reads = {k: a for k, a in self.reads.items() if k not in (out.index, inner.index)}
        reads |= {a.index: a for a in e.args if isinstance(a, Var)}
        return spec.allows(core, list(reads.values()), max(1, self.results + leaves) + spec.front)


def _numbers_known(e: Equation) -> bool:
    return not any(hasattr(a, "value") for a in e.args)
