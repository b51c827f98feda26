"""Keys of subscripts, for shapes from 0-d to three axes; T([0, 2]) stands for an index tensor."""

import numpy as np

FULL = slice(None)


class T:
    """An index tensor in a key: T([0, 2]) becomes m.tensor([0, 2])."""

    def __init__(self, values, dtype=None):
        self.values, self.dtype = values, dtype

    def __repr__(self):
        return f"T({self.values}{', ' + self.dtype if self.dtype else ''})"


MASK = [[True, False, True, False], [False, False, True, True], [False, False, False, False]]
KEYS = {
    (5,): [
        0, -1, FULL, slice(1, 4), slice(None, None, 2), slice(-3, None), slice(4, 1), slice(10, 20), slice(-10, 2), ..., None, (..., None),
        (None, 0), T(2), T(-1), T([0, 0, 4]), T([-1, -5]), [1, 3], [True, False, True, False, True], T([True, False, False, True, True]),
        T([[0, 1], [2, 3]]), T([]), [], np.array([1, 2]), np.int64(3), (T([1]),), True, False, range(3), T([1, 2], "int32"), T([1, 2], "uint8"),
        5, -6, T([5]), T([0, -6]), (0, 0), slice(None, None, -1), slice(None, None, 0), T([True, False]), 1.5, "a", T([1.0]), T(1.0),
    ],
    (3, 4): [
        0, (0, 1), (-1, -1), (FULL, 0), (0, FULL), (slice(1, 3), slice(None, None, 3)), (..., 0), (0, ...), (None, FULL, None), (FULL, None, 0),
        (1, None, slice(1, 3)), T([0, 2]), (T([0, 2]), T([1, -1])), (T([[0], [2]]), T([1, 3])), (FULL, T([3, 0, 0])), (0, T([1, 2])), (T([1, 2]), 0),
        (slice(1, None), T([0, 1])), (T([0, 1]), slice(1, None)), (None, T([0, 1])), (T([0, 1]), None), (T([0, 1]), None, T([1, 2])), T(MASK),
        T([True, False, True]), (FULL, T([True, False, False, True])), (T([True, True, False]), T([1, 2])), (T([True, True, False]), FULL), (0, T([True, False, True, True])),
        (T(1), T(2)), (T(1), T([0, 1])), (T([0, 1]), T(3)), T([[[0, 1]], [[2, 0]]]), (slice(0, 0), 1), (T([]), FULL), (T([], "int64"), 2), ([0, 1], [1, 2]),
        (True, 0), (0, True), (False, FULL), (T(True), 0), (FULL, None, T([0])), (..., None, T([0, 1])),
        3, (0, 4), (0, 0, 0), (T([3]), 0), (T([0, 1]), T([0, 1, 2])), T([[True, False]]), (FULL, T([True, True])), (0, "a"), (0, 1.0), T([[0.0]]),
    ],
    (2, 3, 4): [
        (1, ..., 2), (..., slice(None, None, 2)), (T([0, 1]), FULL, T([0, 2])), (T([0, 1]), T([0, 2])), (FULL, T([0, 2]), T([1, 1])), (FULL, T([[0], [1]]), T([2, 3])),
        (0, FULL, T([1, 2])), (T([0, 1]), 1, T([2, 2])), (T([1]), FULL, 0), (FULL, 1, T([0, 1])), (T([0, 1]), ..., T([1, 2])), (None, T([0, 1]), FULL, 2), (FULL, T(MASK)),
        (T([True, False]), ...), (T([True, True]), FULL, T([0, 3])), (slice(0, 1), T([0, 2]), slice(1, 3)), (T([[0, 1], [1, 0]]), FULL, T([0, 1])),
        (FULL, T([0, 1]), None, T([1, 2])), (T([0, 1]), None, FULL, T([1, 2])), (..., T([True, False, False, True])), (1, T([[2, 0]])), (0, 0, 0), (0, 0, T(3)),
        (T([0]), T([0]), T([0])), (T([0, 1]), slice(1, 3), T([0, 1])), (FULL, FULL, FULL, None),
        (FULL, T([[True, False]])), (0, 0, 4), (T([2]), ...),
    ],
    (): [..., (), None, (None, ...), True, False, T(True), T(False), 0, FULL, T([0])],
    (0, 3): [FULL, (FULL, 1), (..., T([0, 2])), T([], "int64"), (slice(0, 5), 0), 0, T([0]), T([[True] * 3] * 0)],
    (2, 0): [0, (0, FULL), T([1, 0]), (FULL, T([], "int64")), (FULL, 0)],
}  # fmt: skip
CASES = [(shape, key) for shape, keys in KEYS.items() for key in keys]
