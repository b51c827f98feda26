"""expkit: declarative experiments on an autograd engine of its own.

    import expkit as ek
    x = ek.randn(3, requires_grad=True)
    (x * x).sum().backward()

The engine has PyTorch's names. `ek.train(["model=mlp", "optim=adam"])` runs an experiment as the command line does.
"""

import importlib
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expkit import autograd, tensor
    from expkit.autograd.vmap import vmap
    from expkit.tensor import *  # noqa: F403
    from expkit.tensor import bool_ as bool
    from expkit.tensor import complex64 as cfloat
    from expkit.tensor import complex128 as cdouble
    from expkit.tensor import float16 as half
    from expkit.tensor import float32 as float
    from expkit.tensor import float64 as double
    from expkit.tensor import int16 as short
    from expkit.tensor import int32 as int
    from expkit.tensor import int64 as long

__version__ = "0.1.0"

_LAZY = {  # loaded at first use, so that `import expkit` stays light
    "autograd": "expkit.autograd", "vmap": "expkit.autograd.vmap:vmap",
    "nn": "expkit.nn", "optim": "expkit.optim", "data": "expkit.data", "registry": "expkit.registry",
    "func": "expkit.func", "linalg": "expkit.linalg", "cuda": "expkit.cuda",
    "use_deterministic_algorithms": "expkit.tensor.determinism:use_deterministic_algorithms",
    "are_deterministic_algorithms_enabled": "expkit.tensor.determinism:are_deterministic_algorithms_enabled",
    "is_deterministic_algorithms_warn_only_enabled":
        "expkit.tensor.determinism:is_deterministic_algorithms_warn_only_enabled",
    "is_anomaly_enabled": "expkit.autograd:is_anomaly_enabled",
    "is_anomaly_check_nan_enabled": "expkit.autograd:is_anomaly_check_nan_enabled",
    "set_anomaly_enabled": "expkit.autograd.anomaly:set_anomaly_enabled",
    "random": "expkit.random", "seed": "expkit.random:seed",
    "utils": "expkit.utils", "distributed": "expkit.distributed",
    "special": "expkit.special", "fft": "expkit.fft", "tracking": "expkit.tracking",
    "config": "expkit.config", "compiler": "expkit.compiler", "compile": "expkit.compiler:compile",
    "mark_dynamic": "expkit.compiler:mark_dynamic",
    "amp": "expkit.amp", "autocast": "expkit.amp:autocast", "is_autocast_enabled": "expkit.amp:is_autocast_enabled",
    "get_autocast_dtype": "expkit.amp:get_autocast_dtype", "set_autocast_dtype": "expkit.amp:set_autocast_dtype",
    "set_autocast_enabled": "expkit.amp:set_autocast_enabled",
    "is_autocast_cache_enabled": "expkit.amp:is_autocast_cache_enabled",
    "set_autocast_cache_enabled": "expkit.amp:set_autocast_cache_enabled",
    "clear_autocast_cache": "expkit.amp:clear_autocast_cache",
    "save": "expkit.serialization:save", "load": "expkit.serialization:load", "serialization": "expkit.serialization",
    "trainer": "expkit.trainer", "Trainer": "expkit.trainer:Trainer", "Task": "expkit.trainer:Task",
    "train": "expkit.trainer.experiment:train", "register": "expkit.registry:register",
}  # fmt: skip


# The engine's names that are not those of expkit.tensor.
_RENAMED = {
    "bool": "bool_", "cfloat": "complex64", "cdouble": "complex128", "half": "float16", "float": "float32",
    "double": "float64", "short": "int16", "int": "int32", "long": "int64",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    target = _LAZY.get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        found = importlib.import_module(module)
        value = getattr(found, attribute) if attribute else found
        globals()[name] = value
        return value
    if not name.startswith("__"):
        if PathFinder.find_spec(f"{__name__}.{name}", __path__) is not None:  # noqa: F405
            return importlib.import_module(f"{__name__}.{name}")
        _load_engine()
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module 'expkit' has no attribute {name!r}")


def _load_engine() -> None:
    """Brings in the engine's functions, all at once; the command line often does without them."""
    tensor = importlib.import_module("expkit.tensor")
    names = {name: name for name in tensor.__all__} | _RENAMED
    for name, its_name in names.items():
        globals().setdefault(name, getattr(tensor, its_name))


def __dir__() -> list[str]:
    _load_engine()
    return sorted({*globals(), *_LAZY})
