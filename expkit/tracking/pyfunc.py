"""The loader that MLflow's model files name: `mlflow.pyfunc.load_model` finds `_load_pyfunc` here.

Models are built from their config by the registry and filled from safetensors; nothing is unpickled.
"""

from typing import Any

import numpy as np

from expkit.errors import TrackingError
from expkit.tracking import predictor


class PyfuncModel:
    """What MLflow calls: `predict` of a DataFrame or an array gives class probabilities or values."""

    def __init__(self, model: predictor.Predictor) -> None:
        self.model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """model_input: an array (n, ...) of samples, or a DataFrame with a row for each and a column for each feature.

        TrackingError for columns or shapes that are not those of the training.
        """
        if params:
            raise TrackingError(f"the model takes no params, got {', '.join(params)}.")
        if hasattr(model_input, "columns"):
            model_input = self._array(model_input)
        return self.model(np.asarray(model_input))

    def _array(self, frame: Any) -> np.ndarray:
        """The samples of a DataFrame. Columns are found by name where they have the names of the training."""
        names = self.model.description.feature_names
        found = [str(column) for column in frame.columns]
        if names and set(names) <= set(found):
            frame = frame.iloc[:, [found.index(name) for name in names]]
        elif names and not all(column.isdigit() for column in found):  # numbers: MLflow made the frame of an array
            missing = [name for name in names if name not in found]
            raise TrackingError(f"the columns {missing} are missing; the model takes {names}.")
        return frame.to_numpy()


def _load_pyfunc(data_path: str) -> PyfuncModel:
    """Called by MLflow with the folder of the model."""
    return PyfuncModel(predictor.load(data_path))
