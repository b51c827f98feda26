"""What autocast does in this thread, read and set; most programs need only the context `autocast`."""

from expkit.errors import DeviceError, did_you_mean
from expkit.tensor import dtype as Dtype
from expkit.tensor import dtypes
from expkit.tensor.precision import DEVICES, STATE


def checked(device_type: str) -> str:
    """The device type, if autocast knows it. TypeError or DeviceError otherwise."""
    if not isinstance(device_type, str):
        raise TypeError(f"autocast: device_type is 'cpu' or 'cuda', not a {type(device_type).__name__}.")
    if device_type not in DEVICES:
        raise DeviceError(
            f"autocast: unknown device_type {device_type!r}: expected {' or '.join(DEVICES)}."
            f"{did_you_mean(device_type, DEVICES)}"
        )
    return device_type


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether autocast is on for a kind of device; without one: for CUDA, as in PyTorch."""
    return STATE.enabled["cuda" if device_type is None else checked(device_type)]


def set_autocast_enabled(device_type: str, enabled: bool) -> None:
    """Switches autocast on or off for a kind of device."""
    STATE.enable(checked(device_type), enabled)


def get_autocast_dtype(device_type: str) -> Dtype:
    """The lower precision of a kind of device."""
    return STATE.dtypes[checked(device_type)]


def set_autocast_dtype(device_type: str, dtype: Dtype) -> None:
    """Sets the lower precision of a kind of device."""
    STATE.dtypes[checked(device_type)] = dtypes.get(dtype)


def is_autocast_cache_enabled() -> bool:
    """Whether the casts of weights are kept until the outermost context ends."""
    return STATE.cache_enabled


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Whether the casts of weights are kept until the outermost context ends."""
    STATE.cache_enabled = bool(enabled)


def clear_autocast_cache() -> None:
    """Forgets the casts of weights."""
    STATE.cache.clear()
