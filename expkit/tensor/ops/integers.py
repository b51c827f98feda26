"""Functions of whole numbers: shifts of bits, common divisors and multiples."""

from typing import Any

import numpy as np

from expkit.tensor.devices import xp_of
from expkit.tensor.ops.arguments import BOOLS, COMPLEX, FLOATS
from expkit.tensor.ops.functions import binary_function
from expkit.tensor.ops.kinds import binary

# ---- primitives ------------------------------------------------------------------------------------------------------


def _operands(x: Any, y: Any) -> tuple[Any, Any, np.dtype]:
    """(x, the distance as an array, their dtype)"""
    d = x.dtype if hasattr(x, "dtype") else y.dtype
    return x, y if hasattr(y, "dtype") else xp_of(x).full((), y, d), d


def _outside(y: Any, d: np.dtype) -> Any:
    return (y < 0) | (y >= 8 * d.itemsize)


def _left(x: Any, y: Any) -> Any:
    """Where the distance is negative or the width and more, nothing is left."""
    x, y, d = _operands(x, y)
    xp = xp_of(y)
    return xp.where(_outside(y, d), d.type(0), xp.left_shift(x, xp.clip(y, 0, 8 * d.itemsize - 1))).astype(d)


def _right(x: Any, y: Any) -> Any:
    """Where the distance is negative or the width and more, the sign is left."""
    x, y, d = _operands(x, y)
    xp, last = xp_of(y), d.type(8 * d.itemsize - 1)
    shifted = xp.right_shift(x, xp.where(_outside(y, d), last, y).astype(d))
    return xp.where(_outside(y, d), d.type(0), shifted).astype(d) if d.kind == "u" else shifted


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
