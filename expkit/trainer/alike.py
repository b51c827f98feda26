"""Other data for a model that is trained: the same columns, units and class numbers as its own."""

from typing import Any

import numpy as np

from expkit.data import DataModule, TensorDataset
from expkit.errors import DataError, did_you_mean
from expkit.tensor import from_numpy


def alike(data: DataModule, trained: DataModule) -> DataModule:
    """`data`, changed in place, as if it had been part of `trained`: columns by name, transforms, class numbers.

    DataError where that cannot be: another task, other columns or shapes, classes that the model does not know.
    """
    if data.task != trained.task:
        raise DataError(f"the data is for {data.task}, but the run was trained for {trained.task}.")
    columns = column_order(data.feature_names, trained.feature_names)
    if columns is None and data.input_shape != trained.input_shape:
        raise DataError(f"a sample has shape {data.input_shape}, but the run was trained on {trained.input_shape}.")
    classes = _class_numbers(data, trained)
    for name in ("train", "val", "test"):
        part = getattr(data, name)
        if part is not None:
            setattr(data, name, _converted(part, data, trained, columns, classes))
    data.input_transform, data.target_transform = trained.input_transform, trained.target_transform
    data.class_names, data.feature_names = trained.class_names, trained.feature_names
    data.input_shape, data.output_size = trained.input_shape, trained.output_size
    return data


def column_order(found: list[str] | None, wanted: list[str] | None) -> list[int] | None:
    """Where each of the wanted columns is; None where names are not known. DataError for one that is missing."""
    if not found or not wanted:
        return None
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"the column {missing[0]!r} is missing.{did_you_mean(missing[0], found)}\n"
            f"  The run was trained on: {', '.join(wanted)}.\n  There are: {', '.join(found)}."
        )
    return [found.index(name) for name in wanted]


def _class_numbers(data: DataModule, trained: DataModule) -> np.ndarray | None:
    """The run's number of each class of `data`; None where there are no names to go by."""
    if data.class_names is None or trained.class_names is None:
        return None
    unknown = [name for name in data.class_names if name not in trained.class_names]
    if unknown:
        known = ", ".join(trained.class_names)
        raise DataError(f"the class {unknown[0]!r} does not occur in the data of the run. Its classes: {known}.")
    return np.array([trained.class_names.index(name) for name in data.class_names], dtype=np.int64)


def _converted(
    part: Any, data: DataModule, trained: DataModule, columns: list[int] | None, classes: np.ndarray | None
) -> TensorDataset:
    """A part, out of the units of its own transforms and into those of the run."""
    if not isinstance(part, TensorDataset):
        raise DataError(f"data of the kind {type(part).__name__} cannot be brought into the units of another run's.")
    x, y = (tensor.numpy() for tensor in part.tensors)
    x = data.input_transform.inverse(x) if data.input_transform else x
    x = x if columns is None else np.ascontiguousarray(x[:, columns])
    x = trained.input_transform(x) if trained.input_transform else x
    if classes is not None:
        y = classes[y]
    elif y.dtype.kind == "f":
        y = data.target_transform.inverse(y) if data.target_transform else y
        y = trained.target_transform(y) if trained.target_transform else y
    return TensorDataset(from_numpy(x), from_numpy(y))
