"""The context in which listed functions run in lower precision."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, Self

from expkit.amp.settings import checked
from expkit.tensor import bfloat16, devices, dtypes, float16
from expkit.tensor import dtype as Dtype
from expkit.tensor.precision import DEVICES, STATE

LEGAL = (bfloat16, float16)


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows this kind of device."""
    return device_type in DEVICES


class autocast:
    """Inside, matrix products, convolutions and their like run in lower precision, losses and what sums up in float32.

    device_type: "cpu" or "cuda", whose tensors it is for. dtype: bfloat16 or float16; None: bfloat16 on the CPU,
    float16 on a GPU. enabled=False switches autocast off inside a region where it is on. Also a decorator. The casts of
    weights are kept until the outermost context ends, unless cache_enabled=False. Do not run backward inside.
    """

    def __init__(
        self, device_type: str, dtype: Dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self.device = checked(device_type)
        self.fast_dtype = STATE.dtypes[self.device] if dtype is None else dtypes.get(dtype)
        self._enabled = bool(enabled)
        self._cache_enabled = STATE.cache_enabled if cache_enabled is None else cache_enabled
        if self._enabled and self.fast_dtype not in LEGAL:
            warnings.warn(
                f"autocast is for bfloat16 and float16, not {self.fast_dtype}: it is disabled here.", stacklevel=2
            )
            self._enabled = False
        if self._enabled and self.device == "cuda" and not devices.is_available():
            warnings.warn("autocast: there is no usable GPU, so device_type='cuda' does nothing here.", stacklevel=2)
            self._enabled = False
        self._before: list[tuple[Any, ...]] = []

    def __enter__(self) -> Self:
        self._before.append((STATE.cache_enabled, STATE.enabled[self.device], STATE.dtypes[self.device]))
        STATE.enable(self.device, self._enabled)
        STATE.dtypes[self.device] = self.fast_dtype
        STATE.cache_enabled = self._cache_enabled
        STATE.nesting += 1
        return self

    def __exit__(self, *_exc: object) -> None:
        STATE.nesting -= 1
        if STATE.nesting == 0:
            STATE.cache.clear()
        STATE.cache_enabled, enabled, STATE.dtypes[self.device] = self._before.pop()
        STATE.enable(self.device, enabled)

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def inside(*args: Any, **kw: Any) -> Any:
            with self:
                return fn(*args, **kw)

        return inside
