"""What a table is told: how long to measure, which rows, which peers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    rounds: int
    seconds: float  # for each case, peer and round
    threads: int
    only: tuple[str, ...]  # the beginnings of rows' names; none: all rows
    peers: tuple[str, ...]  # of the tables of training steps

    def chosen(self, name: str) -> bool:
        return name.startswith(self.only or ("",))


# A table yields its lines as they are measured, and puts the raw figures into the dictionary.
Table = Callable[[Options, dict], Iterator[str]]
