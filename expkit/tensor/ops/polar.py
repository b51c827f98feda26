"""Complex tensors from their parts, and the angle."""

import math
from typing import Any

from expkit.autograd.tape import apply1
from expkit.tensor.ops.arguments import require_tensor
from expkit.tensor.ops.complex import COMPLEX, imag, is_complex, real, view_as_complex_p
from expkit.tensor.ops.convert import floating
from expkit.tensor.ops.elementwise import atan2, choose, cos, isnan, lt, mul, sin
from expkit.tensor.ops.join import stack
from expkit.tensor.ops.kinds import broadcast_shapes
from expkit.tensor.ops.movement import broadcast_to


def _parts(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    for x in (a, b):
        if require_tensor(x, name).raw.dtype not in COMPLEX:
            raise TypeError(f"{name}: expected tensors of float32 or float64, got {x.dtype}")
    if a.dtype is not b.dtype:
        raise TypeError(f"{name}: expected both tensors to have one dtype, got {a.dtype} and {b.dtype}")
    shape = broadcast_shapes(tuple(a.shape), tuple(b.shape))
    return broadcast_to(a, shape), broadcast_to(b, shape)


def complex(real: Any, imag: Any) -> Any:
    """The complex tensor with these parts, float32 or float64 both."""
    return apply1(view_as_complex_p, stack(_parts("complex", real, imag), -1))


def polar(abs: Any, angle: Any) -> Any:
    """The complex tensor abs * exp(i angle), float32 or float64 both."""
    size, turn = _parts("polar", abs, angle)
    return complex(mul(size, cos(turn)), mul(size, sin(turn)))


def angle(input: Any) -> Any:
    """The angle of complex numbers in radians; of real ones pi where they are negative, else 0 (NaN stays)."""
    if is_complex(input):
        return atan2(imag(input), real(input))
    x = floating(input)
    return choose(lt(x, 0), math.pi, choose(isnan(x), x, 0.0))
