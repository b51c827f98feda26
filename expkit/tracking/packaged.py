"""A trained model as a folder that needs nothing of its run: what to build, its weights, and what surrounds it.

    model.json                what the registry builds, plugins, how outputs are to be read, names of classes and inputs
    model.safetensors         the weights
    transforms.safetensors    mean and deviation of inputs and targets
    example_input.npy, example_output.npy     a few inputs as users have them, and what the model says to them

It knows the folder and not the engine, since the shipper reads it too; predictor.py writes, loads and predicts.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import TrackingError
from expkit.tracking.files import read_json, write_json

FORMAT = "expkit-model"
VERSION = 1
DESCRIPTION, WEIGHTS, TRANSFORMS = "model.json", "model.safetensors", "transforms.safetensors"
EXAMPLE = ("example_input.npy", "example_output.npy")


@dataclass
class Description:
    """What model.json says."""

    model: dict[str, Any]  # the entry of the config: name and arguments
    given: dict[str, Any]  # what it was given from the data: input_shape, output_size, ...
    output: str = "values"  # how outputs are read: a key of predictor.OUTPUTS
    input_dtype: str = "float32"
    plugins: list[str] = field(default_factory=list)
    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    expkit: str = ""

    def write(self, folder: Path) -> None:
        write_json(folder / DESCRIPTION, {"format": FORMAT, "version": VERSION, **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> "Description":
        """What model.json of `folder` says. TrackingError where it is none of this version."""
        path = folder / DESCRIPTION
        head = read_json(path)
        if head is None or head.pop("format", None) != FORMAT:
            raise TrackingError(f"{folder} holds no model of expkit: it has no {DESCRIPTION} that says {FORMAT!r}.")
        if head.pop("version", None) != VERSION:
            raise TrackingError(
                f"{path}: expkit {head.get('expkit')} wrote it in a format that this one does not read."
            )
        try:
            return cls(**head)
        except TypeError as error:
            raise TrackingError(f"{path} is damaged: {error}.") from None


def write_example(folder: Path, *pair: np.ndarray) -> None:
    """Write example inputs and outputs."""
    for name, array in zip(EXAMPLE, pair, strict=True):
        np.save(folder / name, array, allow_pickle=False)


def read_example(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The example inputs of a package, and what the model says to them."""
    found, said = (np.load(folder / name, allow_pickle=False) for name in EXAMPLE)
    return found, said
