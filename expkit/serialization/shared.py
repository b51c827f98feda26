"""Which tensors of a tree look into the same memory, so that it is stored once and shared again after loading."""

from typing import Any

import numpy as np

from expkit.errors import CheckpointError
from expkit.tensor import Tensor
from expkit.tensor.devices import CPU, transfer
from expkit.tensor.parts import array_of


class Piece:
    """Memory that is stored as one array: a tensor's values, or what several tensors look into."""

    def __init__(self, raw: Any) -> None:
        self.raws = [raw]
        self.name: str | None = None
        self.low, self.high = _bounds(raw)

    @property
    def shared(self) -> bool:
        """Whether tensors look into it in different ways."""
        return len(self.raws) > 1

    def array(self) -> np.ndarray:
        """The values to store: of the one tensor, or the whole stretch of memory as a vector."""
        first = self.raws[0]
        if not self.shared:
            return np.array(transfer(first, CPU))
        return np.array(self._stretch())

    def _stretch(self) -> np.ndarray:
        first = min(self.raws, key=lambda raw: raw.__array_interface__["data"][0])
        size = (self.high - self.low) // first.itemsize
        return np.lib.stride_tricks.as_strided(first, (size,), (first.itemsize,))

    def window(self, tensor: Tensor) -> tuple[list[int], list[int], int]:
        """(shape, strides, offset) of a tensor in the vector, in elements."""
        raw = tensor.raw
        start = raw.__array_interface__["data"][0]
        return list(raw.shape), [s // raw.itemsize for s in raw.strides], (start - self.low) // raw.itemsize

    def takes(self, raw: Any) -> bool:
        """Whether an array is part of the same memory, cut into elements alike."""
        first, (low, high) = self.raws[0], _bounds(raw)
        return raw.dtype == first.dtype and low < self.high and high > self.low and not (low - self.low) % raw.itemsize

    def add(self, raw: Any) -> None:
        if not any(_alike(raw, other) for other in self.raws):
            self.raws.append(raw)
        low, high = _bounds(raw)
        self.low, self.high = min(self.low, low), max(self.high, high)


def _bounds(raw: Any) -> tuple[int, int]:
    return np.lib.array_utils.byte_bounds(raw) if isinstance(raw, np.ndarray) else (raw.data.ptr, raw.data.ptr + 1)


def _alike(a: Any, b: Any) -> bool:
    return a is b or (_bounds(a)[0] == _bounds(b)[0] and a.shape == b.shape and a.strides == b.strides)


class Memory:
    """The pieces of memory that the tensors of a tree look into."""

    def __init__(self) -> None:
        self._pieces: dict[int, Piece] = {}  # by the array's id
        self._kept: list[Any] = []

    def collect(self, tree: Any) -> None:
        """Takes note of every tensor."""
        found = sorted(_arrays(tree), key=lambda raw: _bounds(raw)[0])
        open_: list[Piece] = []
        for raw in found:
            low = _bounds(raw)[0]
            open_ = [piece for piece in open_ if piece.high > low]
            piece = next((piece for piece in open_ if raw.size and self._joins(piece, raw)), None)
            if piece is None:
                piece = Piece(raw)
                open_.append(piece)
            else:
                piece.add(raw)
            self._pieces[id(raw)] = piece
        self._kept = found

    @staticmethod
    def _joins(piece: Piece, raw: Any) -> bool:
        host = isinstance(raw, np.ndarray) and raw.__class__ is piece.raws[0].__class__
        same = any(_alike(raw, other) and raw.dtype == other.dtype for other in piece.raws)
        return same or (host and min(raw.strides, default=0) >= 0 and piece.takes(raw))

    def piece(self, tensor: Tensor) -> Piece:
        """The piece that a tensor looks into."""
        return self._pieces[id(tensor.raw)]


def _arrays(tree: Any) -> list[Any]:
    """The raw arrays of all tensors, each once; containers that contain themselves are looked into once."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    rest = [tree]
    while rest:
        node = rest.pop()
        if isinstance(node, Tensor):
            raw = array_of(node, "save()")
            found[id(raw)] = raw
        elif isinstance(node, list | tuple | set | frozenset | dict) and id(node) not in seen:
            seen.add(id(node))
            rest.extend(node.values() if isinstance(node, dict) else node)
    return list(found.values())


def within(array: np.ndarray, shape: Any, strides: Any, offset: Any) -> np.ndarray:
    """A window of a vector. CheckpointError where it would reach beyond."""
    numbers = [offset, *shape, *strides]
    if array.ndim != 1 or len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in numbers):
        raise CheckpointError(f"a view of shape {shape}, strides {strides}, offset {offset} is impossible.")
    last = (
        offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if 0 not in shape else offset - 1
    )
    if last >= array.size:
        raise CheckpointError(f"a view of shape {shape} reaches beyond the {array.size} elements that it looks into.")
    steps = [step * array.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(array[offset:], shape, steps)
