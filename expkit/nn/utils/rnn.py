"""Sequences of different lengths in one tensor: padded to the longest, or packed step by step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.tensor import Tensor


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """Sequences without padding: the first steps of all, then the second ones, and so on, the longest sequence first.

    data: (steps of all sequences, *); batch_sizes: how many sequences there are at each step, int64 on the CPU;
    sorted_indices: the sequences by length as they were numbered before, None where they keep their order;
    unsorted_indices: the inverse. Made by `pack_padded_sequence` and `pack_sequence`; recurrent layers take it.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> Self:
        if batch_sizes is None:
            if not isinstance(data, list | tuple) or len(data) != 2:
                raise TypeError("PackedSequence needs data and batch_sizes")
            data, batch_sizes = data
        if batch_sizes.device.type != "cpu":
            raise ValueError("batch_sizes should always be on CPU. Use pack_sequence or pack_padded_sequence.")
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data in another dtype or on another device; the indices stay with it."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        moved = (None if v is None else v.to(data.device) for v in (self.sorted_indices, self.unsorted_indices))
        return type(self)(data, self.batch_sizes, *moved)

    def cpu(self) -> PackedSequence:
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> PackedSequence:
        """On a GPU."""
        return self.to("cuda" if device is None else device)

    def double(self) -> PackedSequence:
        """In float64."""
        return self.to(T.float64)

    def float(self) -> PackedSequence:
        """In float32."""
        return self.to(T.float32)

    def half(self) -> PackedSequence:
        """In float16."""
        return self.to(T.float16)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return self.data.device.type == "cuda"


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes a permutation; None for None."""
    if permutation is None:
        return None
    return T.argsort(permutation)


# ---- packing ---------------------------------------------------------------------------------------------------------


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """input: (T, B, *), or (B, T, *) if batch_first; lengths: of each sequence.

    enforce_sorted: the sequences are given by decreasing length; else they are sorted here.
    """
    sizes = _lengths(lengths)
    batch = input.shape[0 if batch_first else 1]
    if input.numel() == 0:
        raise ShapeError("Cannot pack empty tensors.")
    if sizes.ndim != 1 or len(sizes) != batch:
        raise ShapeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {sizes.size} (batch_size={batch})"
        )
    if (sizes <= 0).any():
        raise ShapeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
    elif (np.diff(sizes) > 0).any():
        raise ShapeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement."
        )
    steps = input.shape[1 if batch_first else 0]
    if sizes[0] > steps:
        raise ShapeError(f"Expected lengths of at most {steps}, the input's, but got {sizes[0]}")
    there = np.arange(sizes[0])[:, None] < sizes
    step, column = np.nonzero(there)
    if order is not None:
        column = order[column]
    flat = column * steps + step if batch_first else step * batch + column
    data = T.index_select(input.flatten(0, 1), 0, T.tensor(flat, device=input.device))
    sorted_indices = None if order is None else T.tensor(order, device=input.device)
    return PackedSequence(data, T.tensor(there.sum(1)), sorted_indices)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """(the padded sequences, (T, B, *) or (B, T, *), their lengths): undoes `pack_padded_sequence`.

    total_length: T, at least the longest sequence's, which it is where it is not given.
    """
    data, sizes = sequence.data, sequence.batch_sizes.numpy()
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    there = np.arange(sizes[0]) < sizes[:, None]
    place = np.zeros((steps, int(sizes[0])), np.int64)
    place[: len(sizes)][there] = np.arange(len(data))
    padding = np.ones(place.shape, bool)
    padding[: len(sizes)] = ~there
    lengths = there.sum(0)
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices.cpu().numpy()
        place, padding, lengths = place[:, order], padding[:, order], lengths[order]
    if batch_first:
        place, padding = place.T, padding.T
    out = data[T.tensor(np.ascontiguousarray(place), device=data.device)]
    mask = T.tensor(padding.reshape(*padding.shape, *(1,) * (data.ndim - 1)), device=data.device)
    return T.where(mask, padding_value, out), T.tensor(lengths)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs tensors (length, *) of different lengths."""
    lengths = [len(v) for v in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences, as `pack_sequence` got them."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


# ---- padding ---------------------------------------------------------------------------------------------------------


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Tensors (length, *) as one: (T, B, *), or (B, T, *) if batch_first, filled up at the end, or at the "left"."""
    if not isinstance(sequences, Iterable):
        raise ShapeError(f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}")
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side should be one of 'left' or 'right', got {padding_side!r}")
    rows = list(sequences)
    if not rows:
        raise ShapeError("pad_sequence: received an empty list of sequences")
    longest, dim = max(len(v) for v in rows), 0 if batch_first else 1
    filled = []
    for v in rows:
        rest = longest - len(v)
        if rest:
            padding = T.full((rest, *v.shape[1:]), padding_value, dtype=v.dtype, device=v.device)
            v = T.cat([v, padding] if padding_side == "right" else [padding, v])
        filled.append(v)
    return T.stack(filled, dim)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded tensor, each cut to its length."""
    rows = padded_sequences.unbind(0 if batch_first else 1)
    return [row[:n] for row, n in zip(rows, _lengths(lengths).tolist(), strict=True)]


def _lengths(lengths: Tensor | Sequence[int]) -> Any:
    """As an array on the host."""
    return lengths.cpu().numpy().astype(np.int64) if isinstance(lengths, Tensor) else np.array(lengths, np.int64)
