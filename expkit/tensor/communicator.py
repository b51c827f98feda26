"""Who takes part in a collective operation: ranks that exchange arrays.

A `Communicator` has rank, size and `exchange`; everything else follows. There are two so far: a process by itself, and
ranks that are threads of one process (`threads`), by which programs for several ranks are tested.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from expkit.errors import ExpkitError
from expkit.tensor.devices import xp_of


class CollectiveError(ExpkitError, RuntimeError):
    """A collective operation that not all ranks take part in as they should."""


class Communicator:
    """The ranks 0 ... size - 1, of which this is `rank`."""

    rank: int = 0
    size: int = 1

    def exchange(self, what: tuple[Any, ...], mine: Any, combine: Callable[[Sequence[Any]], Any]) -> Any:
        """combine(what all ranks brought, by rank), on every rank. `what` must be the same on all of them.

        combine must not keep the arrays of others: they may be overwritten as soon as it returns.
        """
        raise NotImplementedError

    def barrier(self) -> None:
        """Waits for all ranks."""
        self.exchange(("barrier",), None, lambda _all: None)

    # ---- on raw arrays ----

    def all_reduce(self, x: Any) -> Any:
        """The sum over all ranks."""
        return self.exchange(_what("all_reduce", x), x, _total)

    def all_gather(self, x: Any) -> Any:
        """(size, *shape): what all ranks have."""
        return self.exchange(_what("all_gather", x), x, lambda parts: xp_of(x).stack(parts))

    def reduce_scatter(self, x: Any) -> Any:
        """x: (size, *shape) -> this rank's part of the sum over all ranks."""
        return self.exchange(_what("reduce_scatter", x), x, lambda parts: _total([p[self.rank] for p in parts]))

    def all_to_all(self, x: Any) -> Any:
        """x: (size, *shape), a part for each rank -> the parts that the ranks have for this one."""
        return self.exchange(
            _what("all_to_all", x), x, lambda parts: xp_of(x).stack([p[self.rank] for p in parts])
        )  # fmt: skip

    def broadcast(self, x: Any, source: int) -> Any:
        """What rank `source` has."""
        return self.exchange(_what("broadcast", x, source), x, lambda parts: parts[source].copy())

    def reduce(self, x: Any, target: int) -> Any:
        """The sum over all ranks on rank `target`, zeros elsewhere."""
        return self.exchange(
            _what("reduce", x, target), x,
            lambda parts: _total(parts) if self.rank == target else xp_of(x).zeros_like(x),
        )  # fmt: skip


def _what(name: str, x: Any, *more: Any) -> tuple[Any, ...]:
    return (name, tuple(x.shape), x.dtype, *more)


def _total(parts: Sequence[Any]) -> Any:
    """Their sum, in the order of the ranks: the same bits everywhere."""
    found = parts[0].copy()
    for part in parts[1:]:
        found += part
    return found


class LocalCommunicator(Communicator):
    """A world of one."""

    def exchange(self, what: tuple[Any, ...], mine: Any, combine: Callable[[Sequence[Any]], Any]) -> Any:
        return combine([mine])


class _Room:
    """Where the ranks of one world meet."""

    def __init__(self, size: int, timeout: float) -> None:
        self.brought: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=timeout)

    def meet(self) -> None:
        try:
            self.barrier.wait()
        except threading.BrokenBarrierError:
            raise CollectiveError(
                "a collective operation was given up: another rank has failed, has ended, or did not come in time"
            ) from None


class ThreadCommunicator(Communicator):
    """One of several ranks that are threads of this process."""

    def __init__(self, rank: int, size: int, room: _Room) -> None:
        self.rank, self.size, self.room = rank, size, room

    def exchange(self, what: tuple[Any, ...], mine: Any, combine: Callable[[Sequence[Any]], Any]) -> Any:
        room = self.room
        room.brought[self.rank] = (what, mine)
        room.meet()
        try:
            for rank, (other, _) in enumerate(room.brought):
                if other != what:
                    raise CollectiveError(f"rank {self.rank} is at {_said(what)}, rank {rank} at {_said(other)}")
            return combine([x for _, x in room.brought])
        finally:
            room.meet()


def _said(what: tuple[Any, ...]) -> str:
    return f"{what[0]}({', '.join(map(str, what[1:]))})"


class _Current(threading.local):
    communicator: Communicator | None = None


CURRENT = _Current()


def current() -> Communicator:
    """The communicator of this thread; a world of one where none was set."""
    return CURRENT.communicator or LocalCommunicator()


def threads(fn: Callable[..., Any], size: int, *args: Any, timeout: float = 60.0) -> list[Any]:
    """Runs fn(*args) on `size` ranks, each a thread; what they return, by rank. An error of a rank is raised here."""
    if size < 1:
        raise ValueError(f"threads: at least one rank is needed, not {size}")
    room = _Room(size, timeout)
    results: list[Any] = [None] * size
    errors: dict[int, BaseException] = {}

    def work(rank: int) -> None:
        CURRENT.communicator = ThreadCommunicator(rank, size, room)
        try:
            results[rank] = fn(*args)
        except BaseException as error:  # noqa: BLE001  (raised again in the caller's thread)
            errors[rank] = error
            room.barrier.abort()

    workers = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(size)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for error in sorted(errors.values(), key=lambda e: isinstance(e, CollectiveError)):  # the cause before its echoes
        raise error
    return results
