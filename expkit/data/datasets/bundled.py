"""The real data sets that come with scikit-learn, read from its bundled files: importing it would take a second."""

import gzip
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np

from expkit.data.arrays import ArrayData, Part, Source
from expkit.data.header import Header
from expkit.errors import DataError
from expkit.registry import register


def bundled_file(name: str) -> Path:
    """Path of a file in sklearn/datasets/data. DataError when scikit-learn, or the file, is not there."""
    spec = find_spec("sklearn")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise DataError(f"{name} comes with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(folders[0], "datasets", "data", name)
    if not path.is_file():
        raise DataError(f"{path}: this version of scikit-learn does not bundle the file: install 1.6 or newer.")
    return path


def read_numbers(name: str, delimiter: str | None = ",") -> np.ndarray:
    """A bundled compressed table of numbers: float64 (rows, columns)."""
    path = bundled_file(name)
    text = gzip.decompress(path.read_bytes()).decode()
    return np.loadtxt(StringIO(text), delimiter=delimiter, ndmin=2)


def read_labelled(name: str) -> tuple[Part, list[str]]:
    """A bundled table whose first line says `rows,columns,class,class,...` and whose last column is the class."""
    with bundled_file(name).open() as file:
        classes = file.readline().strip().split(",")[2:]
        table = np.loadtxt(file, delimiter=",", ndmin=2)
    return Part(table[:, :-1], table[:, -1].astype(np.int64)), classes


class _Labelled(ArrayData):
    """A bundled table with classes."""

    file: str
    features: str

    def read(self) -> Source:
        data, classes = read_labelled(self.file)
        return Source(data, "classification", classes, self._names())

    def describe(self) -> Header:
        with bundled_file(self.file).open() as file:
            count, columns, *classes = file.readline().strip().split(",")
        return Header(int(count), (int(columns),), "classification", len(classes), classes, self._names())

    def _names(self) -> list[str]:
        return [name.strip() for name in self.features.split(",")]


@register("data", "digits")
class Digits(ArrayData):
    """Handwritten digits: 1,797 grey images (1, 8, 8) in 10 classes.

    Pixels are scaled to [0, 1]; with `normalize` to mean 0 and deviation 1. Alpaydin and Kaynak, UCI, 1998.
    """

    def read(self) -> Source:
        table = read_numbers("digits.csv.gz")
        data = Part(table[:, :-1].reshape(-1, 1, 8, 8) / 16, table[:, -1].astype(np.int64))
        return Source(data, "classification", [str(digit) for digit in range(10)])

    def describe(self) -> Header:
        return Header(1797, (1, 8, 8), "classification", 10, [str(digit) for digit in range(10)])


@register("data", "iris")
class Iris(_Labelled):
    """Iris flowers: 150 samples, 4 measurements (cm), 3 species. Fisher, 1936."""

    file = "iris.csv"
    features = "sepal length (cm), sepal width (cm), petal length (cm), petal width (cm)"


@register("data", "wine")
class Wine(_Labelled):
    """Wines of one region: 178 samples, 13 chemical measurements, 3 growers. Forina et al., UCI, 1991."""

    file = "wine_data.csv"
    features = (
        "alcohol, malic_acid, ash, alcalinity_of_ash, magnesium, total_phenols, flavanoids, nonflavanoid_phenols, "
        "proanthocyanins, color_intensity, hue, od280/od315_of_diluted_wines, proline"
    )


_CELL = [
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
]  # fmt: skip


@register("data", "breast_cancer")
class BreastCancer(_Labelled):
    """Breast tumours, malignant or benign: 569 samples, 30 measurements of cell nuclei. Wolberg et al., UCI, 1995."""

    file = "breast_cancer.csv"
    features = ", ".join(form.format(name) for form in ("mean {}", "{} error", "worst {}") for name in _CELL)


_COLUMNS = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


@register("data", "diabetes")
class Diabetes(ArrayData):
    """Diabetes progression after one year (regression): 442 patients, 10 measurements. Efron et al., 2004.

    With `normalize` the target is in standard deviations too, and so are errors such as the MAE.
    """

    def read(self) -> Source:
        x = read_numbers("diabetes_data_raw.csv.gz", delimiter=None)
        y = read_numbers("diabetes_target.csv.gz", delimiter=None)
        return Source(Part(x, y), "regression", feature_names=_COLUMNS)

    def describe(self) -> Header:
        return Header(442, (len(_COLUMNS),), "regression", 1, feature_names=_COLUMNS)
