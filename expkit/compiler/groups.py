"""Which equations share a kernel, and in which order everything runs.

The equations are gone through from the last one to the first. Each has a *slot*, the time at which it runs: its own
number, or, where a kernel can do both, that of the first equation that reads it. So it sinks, and its result need not
be stored. That is always in order: what an equation reads is made before its number, hence before its slot, and all
its readers run at that slot or later. Equations that share an operand meet in one kernel by the same rule. Views run
just before what reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from expkit.autograd.equations import Equation, Var
from expkit.compiler.kinds import Kind, Rows, kind_of, rows_of

MEMBERS = 64  # equations of a kernel: the intermediate values of more do not fit into the registers
STREAMS = 14  # arrays that a kernel reads: more of them crowd the same sets of the nearest cache
COPIES = 4  # kernels that compute a cheap value themselves rather than have it stored
NEAR = 64  # equations that a value may wait for its reader, though its operands then live longer
END = 1 << 60  # the slot of whoever takes the results


class Group:
    """Equations that run at one slot: as one kernel, or, without a kind, an equation by itself.

    space: what the kernel loops over; axes: what it reduces of that.
    """

    def __init__(self, slot: int, kind: Kind | None) -> None:
        self.slot, self.kind = slot, kind
        self.space = kind.space if kind is not None else ()
        self.axes: tuple[int, ...] = ()
        self.rows: Rows | None = kind.row if kind is not None else None  # of which all members are, if of any
        self.equations: list[Equation] = []  # from the last to the first
        self.reads: set[int] = set()  # Vars from outside
        self.full: set[int] = set()  # Vars that are read at each place of the space

    def add(self, e: Equation, kind: Kind | None) -> None:
        self.equations.append(e)
        used = {a.index for a in e.args if isinstance(a, Var)}
        self.reads = (self.reads | used).difference(v.index for v in e.outs)
        if kind is None:
            return
        if kind.axes or kind.row is None:
            self.space, self.axes = kind.space, self.axes or kind.axes
            self.rows, self.full = None, self.full | used
        elif kind.row != self.rows:
            self.rows = None

    def takes(self, e: Equation, kind: Kind) -> bool:
        """Whether the kernel that it becomes with e can be written."""
        if self.kind is None or self.kind.alone or len(self.equations) >= MEMBERS:
            return False
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


class Groups:
    """The groups of equations.

    wanted: Vars (their indices) that are results. rows: whether reductions may share a kernel with what reads them.
    """

    def __init__(self, equations: Sequence[Equation], wanted: set[int], *, rows: bool = True) -> None:
        self.rows = rows_of(equations) if rows else {}
        self._at: dict[int, Group] = {}  # those that others may join, by slot
        self._found: list[tuple[int, int, Group]] = []
        self._readers: dict[int, set[int]] = {i: {END} for i in wanted}  # slots, by Var
        self._copied: set[int] = set()  # Vars that each of their readers computes
        for number in reversed(range(len(equations))):
            self._place(number, equations[number])

    def ordered(self) -> list[Group]:
        """The groups as they can run."""
        return [group for *_, group in sorted(self._found, key=lambda found: found[:2])]

    def results(self, group: Group) -> list[Var]:
        """What the group makes for others, in order."""
        return [
            v for e in reversed(group.equations) for v in e.outs
            if v.index not in self._copied and self._readers.get(v.index, set()) - {group.slot}
        ]  # fmt: skip

    def _place(self, number: int, e: Equation) -> None:
        readers = {s for v in e.outs for s in self._readers.get(v.index, ())}
        kind = kind_of(e, self.rows)
        hosts = self._hosts(number, e, kind, readers) if kind is not None else []
        if len(hosts) > 1:
            self._copied.update(v.index for v in e.outs)
        for group in hosts or [self._new(number, e, kind, min(readers, default=END))]:
            group.add(e, kind)
            for a in e.args:
                if isinstance(a, Var):
                    self._readers.setdefault(a.index, set()).add(group.slot)

    def _new(self, number: int, e: Equation, kind: Kind | None, first: int) -> Group:
        """Numbers are doubled: a view's slot is the odd one in front of its reader's."""
        slot = first - 1 + first % 2 if e.prim.aliases and first < END else 2 * number
        group = Group(slot, None if kind is None or kind.view else kind)
        if group.kind is not None:
            self._at[slot] = group
        self._found.append((slot, number, group))
        return group

    # ---- who takes it ----

    def _hosts(self, number: int, e: Equation, kind: Kind, readers: set[int]) -> list[Group]:
        """The groups that e joins; several, if it is cheap enough to be computed by each of its readers."""
        if kind.cheap and 1 < len(readers) <= COPIES:
            groups = [self._at[s] for s in sorted(readers) if s in self._at]
            if len(groups) == len(readers) and all(self._joins(g, number, e, kind, {g.slot}) for g in groups):
                return groups
        first = min(readers, default=END)
        host = self._at.get(first)
        if host is not None and self._joins(host, number, e, kind, readers):
            return [host]
        return [] if kind.view else self._sibling(number, e, kind, readers, first)

    def _joins(self, group: Group, number: int, e: Equation, kind: Kind, readers: set[int]) -> bool:
        only = readers == {group.slot}
        if kind.alone or (kind.view and not only):
            return False
        if group.kind is not None and group.kind.alone:  # a kernel of one result
            return only and kind.row is None and kind.space == group.space and len(group.equations) < MEMBERS
        return group.takes(e, kind) and (group.slot <= 2 * (number + NEAR) or self._lasting(group.slot, e))

    def _sibling(self, number: int, e: Equation, kind: Kind, readers: set[int], first: int) -> list[Group]:
        """The next group that reads one of e's large operands anyway, and runs before e's readers."""
        slots = {
            s for a in e.args if isinstance(a, Var) and a.shape == kind.space
            for s in self._readers.get(a.index, ()) if 2 * number < s < first and s in self._at
        }  # fmt: skip
        groups = (self._at[s] for s in sorted(slots))
        return next(([g] for g in groups if self._joins(g, number, e, kind, readers)), [])

    def _lasting(self, slot: int, e: Equation) -> bool:
        """Whether e's operands are held until then anyway, but for as much as its result takes."""
        held = [a for a in e.args if isinstance(a, Var) and max(self._readers.get(a.index, {-1})) < slot]
        return sum(map(_size, held)) <= sum(map(_size, e.outs))


def _size(v: Var) -> int:
    return prod(v.shape) * v.dtype.itemsize
