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
from expkit.compiler.cores import CORES
from expkit.compiler.group import Group
from expkit.compiler.kinds import Kind, kind_of, rows_of

COPIES = 4  # kernels that compute a cheap value themselves rather than have it stored
NEAR = 64  # equations that a value may wait for its reader, though its operands then live longer
END = 1 << 60  # the slot of whoever takes the results


class Groups:
    """The groups of equations.

    wanted: Vars (their indices) that are results. rows: whether reductions may share a kernel with what reads them.
    """

    def __init__(self, equations: Sequence[Equation], wanted: set[int], *, rows: bool = True) -> None:
        self.rows = rows_of(equations) if rows else {}
        self._number = {v.index: n for n, e in enumerate(equations) for v in e.outs}  # of the equation that makes a Var
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
        made = [*([] if group.core is None else [group.core]), *reversed(group.equations)]
        return [v for e in made for v in e.outs if v.index not in self._copied and self._leaves(v, group)]

    def _leaves(self, v: Var, group: Group) -> bool:
        return bool(self._readers.get(v.index, set()) - {group.slot})

    def _place(self, number: int, e: Equation) -> None:
        readers = {s for v in e.outs for s in self._readers.get(v.index, ())}
        kind = kind_of(e, self.rows)
        if kind is None:
            hosts = []
        elif kind.core:
            hosts = self._around(number, e, readers)
        else:
            hosts = self._hosts(number, e, kind, readers)
        copied = len(hosts) > 1
        if copied:
            self._copied.update(v.index for v in e.outs)
        for group in hosts or [self._new(number, e, kind, min(readers, default=END))]:
            group.add(e, kind, leaves=not copied and self._leaves(e.outs[0], group))
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

    # ---- what runs inside of products and norms ----

    def _around(self, number: int, core: Equation, readers: set[int]) -> list[Group]:
        """The group whose code can run behind a core; it comes to the core if others read that earlier."""
        inner = core.outs[0]
        slots = self._readers.get(inner.index, ())
        group = self._at.get(min(slots, default=END))
        if CORES[core.prim.name].front or group is None or not group.holds(core, leaves=len(slots) > 1):
            return []
        if min(readers) < group.slot or not self._near(group.slot, number, core):
            if any(self._number.get(i, -1) > number for i in group.reads):
                return []
            self._move(group, 2 * number)
        return [group]

    def _move(self, group: Group, slot: int) -> None:
        """The group runs earlier; all that it reads is made by then."""
        old, group.slot = group.slot, slot
        for i in group.reads:
            self._readers[i] = self._readers[i] - {old} | {slot}
        self._at[slot] = self._at.pop(old)
        place = next(n for n, found in enumerate(self._found) if found[2] is group)
        self._found[place] = slot, self._found[place][1], group

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
        leaves = readers != {group.slot}
        if kind.alone or (kind.view and leaves):
            return False
        return group.takes(e, kind, leaves=leaves) and self._near(group.slot, number, e)

    def _near(self, slot: int, number: int, e: Equation) -> bool:
        """Whether e may wait until then, for the sake of the memory."""
        return slot <= 2 * (number + NEAR) or self._lasting(slot, e)

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
