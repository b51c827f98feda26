"""What a model begins with: weights from a file or a run, and parameters that stay as they are."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from expkit.config.initial import WeightsEntry
from expkit.errors import CheckpointError, ConfigError
from expkit.nn.module import Module
from expkit.serialization import tensorfile
from expkit.tensor import Tensor, from_numpy
from expkit.trainer import checkpoint
from expkit.trainer.console import say
from expkit.trainer.groups import near

SHOWN = 4  # names in a message


def begin_with(module: Module, weights: WeightsEntry | None, frozen: Iterable[str], where: str) -> None:
    """Loads `weights` into a module, says what was left, and freezes the parameters whose names fit a pattern."""
    if weights is not None:
        say(take_weights(module, weights))
    freeze(module, frozen, where)


def freeze(module: Module, patterns: Iterable[str], where: str = "") -> list[str]:
    """Parameters whose names fit one of `patterns` (as of a shell) get no gradients any more; their names.

    ConfigError for a pattern that none fits, and where nothing is left to train.
    """
    named, found = dict(module.named_parameters()), []
    for pattern in patterns:
        fitting = [name for name in named if fnmatchcase(name, pattern)]
        if not fitting:
            raise ConfigError(f"{where}: freeze: no parameter is called {pattern!r}.{near(pattern, list(named))}")
        found += fitting
    for name in found:
        named[name].requires_grad_(False)
    if found and not any(p.requires_grad for p in named.values()):
        raise ConfigError(f"{where}: freeze covers every parameter of the model: there is nothing to train.")
    if found:
        say(f"frozen: {_some(list(dict.fromkeys(found)))}")
    return list(dict.fromkeys(found))


def take_weights(module: Module, entry: WeightsEntry) -> str:
    """Copies the weights at entry.path into `module`; a sentence about what was taken and what was left.

    CheckpointError where the file cannot be read, where nothing in it fits, and, if entry.strict, unless all of it fits
    all of the module.
    """
    given = read_weights(entry.path)
    if entry.strip:
        given = {name.removeprefix(entry.strip): value for name, value in given.items()}
    own = module.state_dict()
    fitting = {name: x for name, x in given.items() if name in own and tuple(x.shape) == tuple(own[name].shape)}
    lines = _left(own, given, fitting)
    if not fitting or (entry.strict and lines):
        hint = _hint(own, given, fitting)
        raise CheckpointError(
            f"{entry.path}: the weights do not fit {type(module).__name__}: {'; '.join(lines)}.{hint}"
        )
    module.load_state_dict({**own, **fitting})
    return "; ".join([f"weights from {entry.path}: {len(fitting)} of {len(own)} tensors", *lines])


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The weights in a safetensors file, a folder with a model.safetensors, a checkpoint, or the best one of a run."""
    path = Path(path).expanduser()
    file = path / "model.safetensors" if path.is_dir() else path
    if file.is_file() and not (file.parent / checkpoint.MANIFEST).is_file():
        if file.suffix != ".safetensors":
            raise CheckpointError(
                f"{file} is no safetensors file, checkpoint or run directory. Pickled files of other tools are not "
                "read."
            )
        return {name: from_numpy(array) for name, array in tensorfile.load(file.read_bytes(), file).items()}
    return checkpoint.load_weights(checkpoint.best_of(file.parent if file.is_file() else path))


def _left(own: Mapping[str, Any], given: Mapping[str, Any], fitting: Mapping[str, Any]) -> list[str]:
    """What a module lacks of the weights, and the other way round."""
    shapes = [f"{name} {tuple(x.shape)} for {tuple(own[name].shape)}"
              for name, x in given.items() if name in own and name not in fitting]  # fmt: skip
    kinds = (
        ("not in the file", [name for name in own if name not in given]),
        ("not in the model", [name for name in given if name not in own]),
        ("of another shape", shapes),
    )
    return [f"{what}: {_some(names)}" for what, names in kinds if names]


def _hint(own: Mapping[str, Any], given: Mapping[str, Any], fitting: Mapping[str, Any]) -> str:
    """What to write instead."""
    for name in given if not fitting else ():
        for wanted in own:
            if name.endswith(f".{wanted}"):
                return f" All but a prefix fits: weights.strip={name.removesuffix(wanted)}"
    return " weights.strict=false takes what fits." if fitting else ""


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
