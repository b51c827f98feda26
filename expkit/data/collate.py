"""Samples to batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from expkit.errors import ShapeError
from expkit.tensor import Tensor, as_tensor, float64, stack, tensor


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch out of a list of samples, by the kind of the first, as PyTorch does.

    Tensors and arrays are stacked; numbers become a tensor (float64 for Python floats); texts stay a list; mappings,
    tuples and lists are collated entry by entry. ShapeError when shapes or lengths differ, TypeError for other kinds.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return _stacked(list(batch))
    if isinstance(first, np.ndarray | np.generic) and first.dtype.kind not in "OSU":
        return _stacked([as_tensor(np.asarray(item)) for item in batch])
    if isinstance(first, float):
        return tensor(batch, dtype=float64)
    if isinstance(first, bool | int):
        return tensor(batch)
    if isinstance(first, str | bytes):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, tuple | list):
        return _columns(first, batch)
    raise TypeError(
        f"default_collate: samples hold {type(first).__name__}; tensors, arrays, numbers, texts, mappings and "
        "sequences of them can be put together. Give the DataLoader a collate_fn."
    )


def _columns(first: Any, batch: Sequence[Any]) -> Any:
    lengths = {len(sample) for sample in batch}
    if len(lengths) > 1:
        raise ShapeError(f"default_collate: the samples of a batch have {sorted(lengths)} entries each.")
    columns = [default_collate(column) for column in zip(*batch, strict=True)]
    return type(first)(*columns) if hasattr(first, "_fields") else columns


def _stacked(items: list[Tensor]) -> Tensor:
    for number, item in enumerate(items):
        if item.shape != items[0].shape:
            raise ShapeError(
                f"default_collate: sample {number} of a batch has shape {item.shape}, the first {items[0].shape}. "
                "Bring the samples to one shape, or give the DataLoader a collate_fn."
            )
    return stack(items)
