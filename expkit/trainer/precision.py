"""What the Trainer's `precision` means: the dtype of model and batches, autocast around the steps, loss scaling."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from expkit import tensor
from expkit.amp import GradScaler, autocast


class Precision(NamedTuple):
    """dtype: of parameters and batches. lower: what steps run in by autocast, where it is another."""

    dtype: str
    lower: str | None = None


PRECISIONS: dict[Any, Precision] = {
    "32-true": Precision("float32"),
    "64-true": Precision("float64"),
    "16-true": Precision("float16"),
    "bf16-true": Precision("bfloat16"),
    "16-mixed": Precision("float32", "float16"),
    "bf16-mixed": Precision("float32", "bfloat16"),
}
SHORT = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}  # Lightning's short forms
PRECISIONS |= {name: PRECISIONS[meant] for name, meant in SHORT.items()}
PRECISIONS |= {number: PRECISIONS[str(number)] for number in (32, 64, 16)}


def dtype_of(precision: Any) -> Any:
    """The dtype of parameters and batches."""
    return getattr(tensor, PRECISIONS[precision].dtype)


def scaler_for(precision: Any, device: Any) -> GradScaler | None:
    """The loss scaling that float16's narrow range needs; None for other precisions."""
    return GradScaler(device.type) if PRECISIONS[precision].lower == "float16" else None


def in_precision(precision: Any, device: Any, step: Callable[..., Any]) -> Callable[..., Any]:
    """A task's step: under autocast where the precision is a mixed one, else with another dtype as the default one."""
    dtype, lower = PRECISIONS[precision]
    if lower is not None:
        return autocast(device.type, getattr(tensor, lower))(step)
    return step if dtype == "float32" else with_default(dtype_of(precision))(step)


@contextmanager
def with_default(dtype: Any) -> Iterator[None]:
    """Within it tensors that are made without a dtype are of this one: noise that a step draws fits its model."""
    before = tensor.get_default_dtype()
    tensor.set_default_dtype(dtype)
    try:
        yield
    finally:
        tensor.set_default_dtype(before)
