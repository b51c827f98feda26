"""Functions of whole numbers: shifts of bits, common divisors and multiples."""

from typing import Any

import numpy as np

from expkit.tensor.devices import xp_of
from expkit.tensor.ops.functions import BOOLS, COMPLEX, FLOATS, binary_function
from expkit.tensor.ops.kinds import binary

# ---- primitives ------------------------------------------------------------------------------------------------------


def _dtype(x: Any, y: Any) -> np.dtype:
    return x.dtype if hasattr(x, "dtype") else y.dtype


def _left(x: Any, y: Any) -> Any:
    """Where the distance is negative or the width and more, nothing is left."""
    d = _dtype(x, y)
    return np.where(_outside(y, d), d.type(0), np.left_shift(x, np.clip(y, 0, 8 * d.itemsize - 1))).astype(d)


def _right(x: Any, y: Any) -> Any:
    """Where the distance is negative or the width and more, the sign is left."""
    d = _dtype(x, y)
    last = 8 * d.itemsize - 1
    shifted = np.right_shift(x, np.where(_outside(y, d), last, y).astype(d))
    return np.where(_outside(y, d), d.type(0), shifted).astype(d) if d.kind == "u" else shifted


def _outside(y: Any, d: Any) -> Any:
    y = y if hasattr(y, "dtype") else np.asarray(y, d)
    return xp_of(y).logical_or(y < 0, y >= 8 * d.itemsize)


left_shift_p = binary("left_shift", _left)
right_shift_p = binary("right_shift", _right)
gcd_p = binary("gcd", np.gcd)
lcm_p = binary("lcm", np.lcm)

# ---- functions -------------------------------------------------------------------------------------------------------

_NO_WHOLE = BOOLS + FLOATS + COMPLEX
bitwise_left_shift = binary_function(
    left_shift_p, "input's bits moved up by other.", refuses=_NO_WHOLE, name="bitwise_left_shift"
)
bitwise_right_shift = binary_function(
    right_shift_p, "input's bits moved down by other.", refuses=_NO_WHOLE, name="bitwise_right_shift"
)
gcd = binary_function(gcd_p, "The greatest common divisor, never negative.", refuses=_NO_WHOLE, numbers="")
lcm = binary_function(lcm_p, "The least common multiple.", refuses=_NO_WHOLE, numbers="")
