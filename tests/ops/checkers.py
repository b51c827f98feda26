"""The checks that every row of the op table goes through. Each raises AssertionError, naming the sample."""

from tests.ops.case import REFUSALS, attempt
from tests.ops.check_gradients import check_jvp, check_second, check_torch_grad, check_versions, check_vjp
from tests.ops.check_transforms import (
    check_trace,
    check_trace_dtypes,
    check_trace_grad,
    check_vmap,
    check_vmap_grad,
    primitives_of,
)
from tests.ops.check_values import check_alias, check_layout, check_refused, check_torch, check_value

__all__ = [
    "REFUSALS", "attempt", "check_alias", "check_jvp", "check_layout", "check_refused", "check_second",
    "check_torch", "check_torch_grad", "check_trace", "check_trace_dtypes", "check_trace_grad", "check_value",
    "check_versions", "check_vjp", "check_vmap", "check_vmap_grad", "primitives_of",
]  # fmt: skip
