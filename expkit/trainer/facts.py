"""`data.json` in a run directory: what a trained model must know of its data when these are not there any more.

Shapes, sizes, names of classes and columns, and the transforms of inputs and targets. Data with anything else about
them (a tokenizer, transforms of the user's own) have no such file: whoever needs them reads the data again.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from expkit.data import DataModule, Standardize
from expkit.data.header import Header, Unread
from expkit.errors import DataError, ExpkitError

NAME = "data.json"
VERSION = 1
PARTS = ("train", "val", "test")
PLAIN = ("task", "output_size", "class_names", "feature_names", "batch_size", "drop_last")
TRANSFORMS = ("input_transform", "target_transform")


def save(data: DataModule, run_dir: Path) -> None:
    """Writes the file, where the data can be described so."""
    transforms = {name: getattr(data, name) for name in TRANSFORMS}
    if data.tokenizer is not None or not all(isinstance(t, Standardize | None) for t in transforms.values()):
        return
    sizes = {part: None if getattr(data, part) is None else len(getattr(data, part)) for part in PARTS}
    facts = {"version": VERSION, "input_shape": data.input_shape, "sizes": sizes}
    facts |= {name: getattr(data, name) for name in PLAIN}
    facts |= {name: None if t is None else {"mean": t.mean.tolist(), "std": t.std.tolist()}
              for name, t in transforms.items()}  # fmt: skip
    temporary = run_dir / f".{NAME}"
    temporary.write_text(json.dumps(facts, indent=1, default=_native), encoding="utf-8")
    temporary.replace(run_dir / NAME)


def _native(value: Any) -> Any:
    """Numbers and arrays of NumPy as JSON has them; the names of anything else by their texts."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)


def load(run_dir: Path) -> DataModule | None:
    """A DataModule without samples; None where there is no such file. DataError for one that is damaged."""
    path = run_dir / NAME
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["version"] != VERSION:
            raise ValueError(f"version {facts['version']}")
        return _stand_in(facts)
    except (ExpkitError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}). Remove it: the data of the run are then read instead.") from None


def _stand_in(facts: dict[str, Any]) -> DataModule:
    targets = facts["output_size"]
    header = Header(facts["sizes"]["train"], tuple(facts["input_shape"]), facts["task"], targets)
    parts = [None if facts["sizes"][part] is None else Unread(facts["sizes"][part], header) for part in PARTS]
    plain = {name: facts[name] for name in PLAIN if name != "feature_names"}
    data = DataModule(*parts, **plain)
    data.feature_names = facts["feature_names"]
    data.input_transform, data.target_transform = (_transform(facts[name]) for name in TRANSFORMS)
    return data


def _transform(stored: dict[str, Any] | None) -> Standardize | None:
    return None if stored is None else Standardize(np.asarray(stored["mean"]), np.asarray(stored["std"]))
