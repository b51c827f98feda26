"""Predictions of a packaged model (packaged.py): arrays in their own units in, probabilities or values out.

predict = predictor.load("model")
predict(x)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expkit.data.transforms import Standardize
from expkit.errors import RegistryError, TrackingError
from expkit.nn.functional import sigmoid, softmax
from expkit.nn.module import Module
from expkit.registry import build, load_plugins
from expkit.serialization import tensorfile
from expkit.tensor import Tensor, cat, from_numpy, no_grad
from expkit.tracking.packaged import TRANSFORMS, WEIGHTS, Description, write_example

BATCH = 256  # samples that go through the model at a time


def _two_classes(p: Tensor) -> Tensor:
    """Probabilities of both classes (n, 2) from that of the second one, (n, 1) or (n,)."""
    p = p.reshape(len(p), 1)
    return cat([1 - p, p], dim=1)


# How what a model gives is turned into what is predicted. Classes are the second dimension.
OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "values": lambda out: out,
    "logits": lambda out: softmax(out, dim=1),
    "log_probabilities": lambda out: out.exp(),
    "logit": lambda out: _two_classes(sigmoid(out)),
    "probability": _two_classes,
}

# For data with classes: the loss (by its name in configs) says what the model gives.
BY_LOSS = {
    **dict.fromkeys(("auto", "cross_entropy"), "logits"),
    "nll": "log_probabilities",
    "bce_with_logits": "logit",
    "bce": "probability",
}


def output_kind(task: str, loss: str | None) -> str:
    """The key of OUTPUTS for a kind of data and the name of a loss (None: "auto")."""
    return BY_LOSS.get(loss or "auto", "values") if task in ("classification", "segmentation") else "values"


@dataclass
class Predictor:
    """A model that was loaded: call it with an array of samples."""

    description: Description
    model: Module
    transforms: dict[str, Standardize]

    def __call__(self, x: Any) -> np.ndarray:
        """What the model says to samples x (n, ...): class probabilities (n, classes, ...), or values in their own
        units (n, ...). TrackingError for another shape."""
        x = np.asarray(x)
        expected = tuple(self.description.given["input_shape"])
        if x.shape[1:] != expected or len(x) == 0:
            raise TrackingError(f"the model takes samples of shape {expected}, one or more, got {x.shape}.")
        before, after = self.transforms.get("input"), self.transforms.get("target")
        ready = before(x) if before else x.astype(self.description.input_dtype)
        with no_grad():
            out = cat([self._batch(ready[start : start + BATCH]) for start in range(0, len(ready), BATCH)]).numpy()
        return after.inverse(out) if after else out

    def _batch(self, x: np.ndarray) -> Tensor:
        return OUTPUTS[self.description.output](self.model(from_numpy(np.ascontiguousarray(x)))).float().cpu()


def save(
    folder: Path,
    description: Description,
    weights: Mapping[str, Tensor],
    transforms: Mapping[str, Standardize],
    example: np.ndarray,
) -> Predictor:
    """Write the folder, and load it again: what cannot be loaded is found now. `example`: a few inputs."""
    if description.output not in OUTPUTS:
        raise TrackingError(f"output {description.output!r} is unknown. Legal: {', '.join(OUTPUTS)}.")
    folder.mkdir(parents=True, exist_ok=True)
    description.write(folder)
    (folder / WEIGHTS).write_bytes(tensorfile.dump({name: w.detach().cpu().numpy() for name, w in weights.items()}))
    numbers = {f"{name}.{key}": getattr(t, key) for name, t in transforms.items() for key in ("mean", "std")}
    (folder / TRANSFORMS).write_bytes(tensorfile.dump(numbers))
    predictor = load(folder)
    write_example(folder, np.ascontiguousarray(example), predictor(example))
    return predictor


def load(folder: str | Path) -> Predictor:
    """The model in `folder`, ready to predict. TrackingError when it is none, or its plugins are not there."""
    folder = Path(folder)
    description = Description.read(folder)
    model = _built(description)
    weights = _arrays(folder / WEIGHTS)
    model.load_state_dict({name: from_numpy(array) for name, array in weights.items()})
    numbers = _arrays(folder / TRANSFORMS)
    names = dict.fromkeys(name.partition(".")[0] for name in numbers)
    transforms = {name: Standardize(numbers[f"{name}.mean"], numbers[f"{name}.std"]) for name in names}
    return Predictor(description, model.eval(), transforms)


def _built(description: Description) -> Module:
    try:
        load_plugins(description.plugins)
    except RegistryError as error:
        raise TrackingError(
            f"the model {description.model['name']!r} needs plugins={description.plugins}, which must be installed, or "
            f"on the Python path, where it is loaded: {error}"
        ) from error
    return build("model", description.model, given=description.given)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise TrackingError(f"{path.parent} is damaged: it has no {path.name}.")
    return tensorfile.load(path.read_bytes(), path)
