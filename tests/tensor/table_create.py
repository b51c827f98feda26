"""Data for tensors, data that cannot become one, and wrong calls of what makes tensors."""

import numpy as np

import expkit as ek

DATA = {
    "int": 3, "float": 2.5, "bool": True, "list": [1, 2], "floats": [1.0, 2], "bools": [True, False], "bool and int": [True, 2], "nested": [[1, 2], [3, 4]],
    "tuple": (1.5, 2.5), "empty": [], "empty rows": [[], []], "deep": [[[1.0]]], "complex": [1j, 2.0], "range": list(range(4)), "large": [2**40], "nan": [float("nan"), float("inf")],
    "array": np.array([1.0, 2.0]), "float32 array": np.array([1.0], np.float32), "int32 array": np.array([[1]], np.int32), "numpy number": np.float64(1.5), "numpy int": np.int32(3),
    "numpy bool": np.bool_(True), "uint8": np.array([255], np.uint8), "numpy floats in a list": [np.float32(1.5), 2.0], "arrays in a list": [np.array([1.0, 2.0]), np.array([3.0, 4.0])],
    "bool array": np.array([True]), "0-d array": np.array(2.5), "int arrays in a list": [np.array([1, 2]), np.array([3, 4])],
}  # fmt: skip

BAD = {
    "ragged": [[1, 2], [3]], "ragged depth": [1, [2]], "text": "abc", "texts": ["a"], "None": None, "Nones": [None], "object": object(), "dict": {"a": 1}, "set": {1},
    "strings in an array": np.array(["a"]), "dates": np.array(["2020"], "M8[Y]"), "objects in an array": np.array([None]),
}  # fmt: skip

WRONG = [
    lambda: ek.arange(0, 5, 0), lambda: ek.arange(5, 0), lambda: ek.arange(0, 5, -1), lambda: ek.arange(float("nan")), lambda: ek.arange("3"), lambda: ek.arange(0, float("inf")),
    lambda: ek.linspace(0, 1, -1), lambda: ek.linspace(0, 1, 2.5), lambda: ek.zeros(2, -1), lambda: ek.zeros(1.5), lambda: ek.zeros("2"), lambda: ek.zeros((2, None)), lambda: ek.full((2,), "x"),
    lambda: ek.full((2,), None), lambda: ek.eye(-1), lambda: ek.eye(2, -1), lambda: ek.eye(1.5), lambda: ek.ones(2, dtype="text"), lambda: ek.ones(2, device="gpu"), lambda: ek.zeros_like([1, 2]),
    lambda: ek.meshgrid(ek.ones(2), indexing="up"), lambda: ek.zeros(2, shape=3),
]  # fmt: skip
