"""Tensors to print: m is expkit or torch."""

nan, inf = float("nan"), float("inf")
SHOWN = {
    "0-d float": lambda m: m.tensor(2.5), "0-d whole": lambda m: m.tensor(3.0), "0-d int": lambda m: m.tensor(7), "0-d bool": lambda m: m.tensor(True),
    "tiny": lambda m: m.tensor(1e-8), "huge": lambda m: m.tensor(1e10), "large whole": lambda m: m.tensor([12345678.0]), "too large": lambda m: m.tensor(123456789.0),
    "floats": lambda m: m.tensor([1.0, 2.5]), "whole floats": lambda m: m.tensor([1.0, -2.0]), "far apart": lambda m: m.tensor([1e-5, 1.0]), "far apart whole": lambda m: m.tensor([1e10, 1.0]),
    "small": lambda m: m.tensor([0.00012, 0.5]), "wide": lambda m: m.tensor([[1.234567, 100.5], [0.0, -3.0]]), "ints": lambda m: m.tensor([[1, -2], [3, 400]]),
    "bools": lambda m: m.tensor([True, False]), "not finite": lambda m: m.tensor([nan, inf, -inf, 1.0]), "not finite, not whole": lambda m: m.tensor([nan, 1.5]), "only nan": lambda m: m.tensor([nan]),
    "empty": lambda m: m.tensor([]), "empty rows": lambda m: m.zeros(0, 3), "empty ints": lambda m: m.zeros(0, dtype=m.int64), "empty int32": lambda m: m.zeros(2, 0, dtype=m.int32),
    "float64": lambda m: m.tensor([1.5, 2.5], dtype=m.float64), "int32": lambda m: m.tensor([1, 2], dtype=m.int32), "bfloat16": lambda m: m.tensor([1.5], dtype=m.bfloat16),
    "float16": lambda m: m.tensor(1.5, dtype=m.float16), "complex": lambda m: m.tensor([1 + 2j, -0.5 - 1j]), "complex128": lambda m: m.tensor([1j], dtype=m.complex128),
    "leaf": lambda m: m.tensor([1.0], requires_grad=True), "result": lambda m: m.tensor([1.0], requires_grad=True) * 2, "long line": lambda m: m.arange(30) * 1.5,
    "three axes": lambda m: m.arange(12).reshape(2, 3, 2), "four axes": lambda m: m.zeros(2, 1, 2, 1), "summary": lambda m: m.arange(2000), "summary of rows": lambda m: m.ones(50, 50),
    "summary of cubes": lambda m: m.zeros(20, 20, 20), "summary of few columns": lambda m: m.zeros(500, 3), "view": lambda m: m.arange(6).reshape(2, 3).t(), "minus zero": lambda m: m.tensor([-0.0]),
    "keywords on a new line": lambda m: m.arange(20, dtype=m.int32) * 1000, "int8 limits": lambda m: m.tensor([-128, 127], dtype=m.int8),
}  # fmt: skip
