"""What NVIDIA's management library (libnvidia-ml, part of the driver) says of each GPU, by its C interface."""

import ctypes
from functools import cache

LIBRARY = "libnvidia-ml.so.1"


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


@cache
def _library() -> ctypes.CDLL | None:
    """The library, ready to be asked; None on a machine without it or without a GPU."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None


def gpu_metrics() -> dict[str, float]:
    """MLflow's metrics of every GPU, as gpu_0_utilization_percentage; empty where there is none.

    What a GPU cannot tell (power, say) is left out.
    """
    library = _library()
    count = ctypes.c_uint()
    if library is None or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return {}
    found: dict[str, float] = {}
    for index in range(count.value):
        device = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0:
            found.update({f"gpu_{index}_{name}": value for name, value in _device(library, device).items()})
    return found


def _device(library: ctypes.CDLL, device: ctypes.c_void_p) -> dict[str, float]:
    found: dict[str, float] = {}
    memory, use = _Memory(), _Utilization()
    power, limit = ctypes.c_uint(), ctypes.c_uint()  # milliwatts
    if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0:
        found["memory_usage_percentage"] = 100.0 * memory.used / memory.total
        found["memory_usage_megabytes"] = memory.used / 1e6
    if library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(use)) == 0:
        found["utilization_percentage"] = float(use.gpu)
    if library.nvmlDeviceGetPowerUsage(device, ctypes.byref(power)) == 0:
        found["power_usage_watts"] = power.value / 1000
        if library.nvmlDeviceGetEnforcedPowerLimit(device, ctypes.byref(limit)) == 0 and limit.value:
            found["power_usage_percentage"] = 100.0 * power.value / limit.value
    return found
