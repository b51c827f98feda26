"""MLflow's log_text, log_dict, log_figure, log_image and log_table: a file in the run directory, journalled, shipped.

    logger.log_text("...", "summary.txt")
    logger.log_figure(figure, "confusion/epoch_3.png")
    logger.log_image(pixels, key="samples", step=100)          # a slider over the steps, in MLflow's charts
    logger.log_table({"image": images, "predicted": [3, 5]}, "samples.json")

The files stay in `artifacts/` of the run directory, under the names that MLflow shows.
"""

import json
import math
import os
import re
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from expkit.errors import TrackingError
from expkit.tracking.files import read_json

FOLDER = "artifacts"
THUMBNAIL = 256  # pixels of the longer side, as MLflow's charts load them

_KEY = re.compile(r"[a-zA-Z0-9_\-./ ]+")
_DUMPERS = (".json", ".yaml", ".yml")


class Artifacts(ABC):
    """Part of a logger, which says where its run is and how a file is attached to it."""

    @property
    @abstractmethod
    def run_dir(self) -> Path:
        """The directory of the run."""

    @abstractmethod
    def log_artifact(self, path: str | os.PathLike[str], artifact_path: str | None = None, kind: str = "") -> None:
        """Attach a file or folder to the run; kind: "table" or "image" for what MLflow shows as such."""

    def log_text(self, text: str, artifact_file: str) -> None:
        """Attach `text` as a file, e.g. "model_summary.txt"."""
        self._place(artifact_file).write_text(text, encoding="utf-8")
        self._attach(artifact_file)

    def log_dict(self, dictionary: Mapping[str, Any] | Sequence[Any], artifact_file: str) -> None:
        """Attach nested data as JSON, or as YAML where the name ends so. TrackingError for another ending."""
        suffix = PurePosixPath(artifact_file).suffix
        if suffix not in _DUMPERS:
            raise TrackingError(f"log_dict: {artifact_file!r} must end in {', '.join(_DUMPERS)}.")
        if suffix == ".json":
            text = json.dumps(dictionary, indent=2, default=_plain)
        else:
            plain = json.loads(json.dumps(dictionary, default=_plain))
            text = yaml.safe_dump(plain, default_flow_style=False, allow_unicode=True, sort_keys=False)
        self.log_text(text, artifact_file)

    def log_figure(self, figure: Any, artifact_file: str, *, save_kwargs: Mapping[str, Any] | None = None) -> None:
        """Attach a figure of Matplotlib (its `savefig` is called) or of Plotly (`.html`: `write_html`)."""
        path = self._place(artifact_file)
        if hasattr(figure, "savefig"):
            figure.savefig(path, **(save_kwargs or {}))
        elif hasattr(figure, "write_html") and path.suffix == ".html":
            figure.write_html(path, **(save_kwargs or {}))
        else:
            raise TrackingError(
                f"log_figure: {type(figure).__name__} is no figure for {artifact_file!r}: expected one of Matplotlib, "
                "or one of Plotly with a name that ends in .html."
            )
        self._attach(artifact_file)

    def log_image(self, image: Any, artifact_file: str | None = None, key: str | None = None, step: int | None = None,
                  timestamp: int | None = None) -> None:  # fmt: skip
        """Attach an image: pixels (H, W) or (H, W, 1 | 3 | 4), integers 0..255 or numbers 0..1, or one of PIL.

        artifact_file: its name ("dog.png"); or key: the name of a series, of which MLflow shows one image per step.
        """
        if (artifact_file is None) == (key is None):
            raise TrackingError("log_image: give either artifact_file= (one image) or key= (a series over the steps).")
        picture = as_picture(image)
        if artifact_file is not None:
            picture.save(self._place(artifact_file))
            self._attach(artifact_file)
            return
        if not _KEY.fullmatch(str(key)):
            raise TrackingError(f"log_image: key {key!r}: letters, digits and _ - . / are legal, and spaces.")
        when = timestamp or time.time_ns() // 1_000_000
        stem = f"images/{str(key).replace('/', '~')}+step+{step or 0}+timestamp+{when}+{uuid.uuid4()}"
        self._attach_both(picture, f"{stem}.png", f"{stem}+compressed.webp", kind="image")

    def log_table(self, data: Any, artifact_file: str) -> None:
        """Attach a table as JSON: a dict of columns, or a DataFrame. Rows for a name that exists are added to it.

        Images (arrays with two or three dimensions, or PIL's) may stand in its cells.
        """
        if not artifact_file.endswith(".json"):
            raise TrackingError(f"log_table: {artifact_file!r} must end in .json.")
        columns = {str(name): list(values) for name, values in data.items()}
        if len({len(values) for values in columns.values()}) > 1:
            sizes = ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
            raise TrackingError(f"log_table: the columns of {artifact_file!r} differ in length ({sizes}).")
        path = self._place(artifact_file)
        before = read_json(path) or {"columns": [], "data": []}
        names = list(dict.fromkeys([*before["columns"], *columns]))
        rows = [dict(zip(before["columns"], row, strict=True)) for row in before["data"]]
        rows += [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        cells = [[self._cell(row.get(name), artifact_file) for name in names] for row in rows]
        path.write_text(json.dumps({"columns": names, "data": cells}, default=_plain), encoding="utf-8")
        self._attach(artifact_file, kind="table")

    def _cell(self, value: Any, table: str) -> Any:
        """A value of a table as MLflow keeps it: an image becomes two files and their names."""
        shape = getattr(value, "shape", ())
        if len(shape) not in (2, 3) and not _is_picture(value):
            value = value.item() if shape == () and hasattr(value, "item") else value
            return None if isinstance(value, float) and not math.isfinite(value) else value
        stem = f"table_images/{table.removesuffix('.json')}/{uuid.uuid4()}"
        self._attach_both(as_picture(value), f"{stem}.png", f"{stem}.webp")
        return {"type": "image", "filepath": f"{stem}.png", "compressed_filepath": f"{stem}.webp"}

    def _attach_both(self, picture: Any, full: str, small: str, kind: str = "") -> None:
        picture.save(self._place(full))
        width, height = picture.size
        scale = THUMBNAIL / max(width, height)
        picture.resize((max(1, int(width * scale)), max(1, int(height * scale)))).save(self._place(small))
        self._attach(full, kind)
        self._attach(small, kind)

    def _place(self, artifact_file: str) -> Path:
        """Where the file is kept. TrackingError for a name outside of the run's artifacts."""
        parts = PurePosixPath(artifact_file).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise TrackingError(
                f"{artifact_file!r}: a name inside of the run's artifacts is needed, as 'plots/roc.png'."
            )
        path = self.run_dir / FOLDER / artifact_file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _attach(self, artifact_file: str, kind: str = "") -> None:
        folder = str(PurePosixPath(artifact_file).parent)
        self.log_artifact(self.run_dir / FOLDER / artifact_file, None if folder == "." else folder, kind)


def as_picture(image: Any) -> Any:
    """`image` as one of PIL. TrackingError for shapes and values that are no image."""
    from PIL import Image  # noqa: PLC0415

    if _is_picture(image):
        return image
    pixels = np.asarray(image.detach().cpu().numpy() if hasattr(image, "detach") else image)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or pixels.dtype.kind not in "biuf":
        raise TrackingError(
            f"an array of shape {pixels.shape} and type {pixels.dtype} is no image: expected (H, W), (H, W, 1), "
            "(H, W, 3) or (H, W, 4) numbers (channels last)."
        )
    highest = 255 if pixels.dtype.kind in "iu" else 1
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= highest):
        raise TrackingError(
            f"an image of {pixels.dtype} has values from {pixels.min()} to {pixels.max()}: expected 0 to {highest}."
        )
    return Image.fromarray((pixels if highest == 255 else pixels * 255).astype(np.uint8))


def _is_picture(value: Any) -> bool:
    return hasattr(value, "save") and hasattr(value, "resize") and hasattr(value, "size")


def _plain(value: Any) -> Any:
    """Numbers of NumPy, tensors and paths for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TrackingError(f"{type(value).__name__} cannot be written as JSON: give numbers, texts, lists and dicts.")
