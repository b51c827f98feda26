"""Folders of Hugging Face models: config.json and model.safetensors, checked before anything in them is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import CheckpointError, ConfigError
from expkit.nn.module import Module
from expkit.serialization import load
from expkit.tensor import Tensor

WEIGHTS, INDEX, PICKLES = "model.safetensors", "model.safetensors.index.json", ("pytorch_model.bin", "model.bin")
SHOWN = 5  # names in a message

# Activations by Hugging Face's names, and by ours.
ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu", "silu": "silu", "swish": "silu", "tanh": "tanh",
}  # fmt: skip

Config = Mapping[str, Any]


def read_config(folder: str | Path, model_type: str) -> dict[str, Any]:
    """config.json of a folder. ConfigError: there is none, or it is of another kind of model."""
    path = Path(folder) / "config.json"
    config = _json(path)
    if not isinstance(config, dict) or config.get("model_type") != model_type:
        found = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise ConfigError(
            f"{path}: model_type is {found!r}, but this model reads {model_type!r}. Choose the model that fits "
            "(model=gpt2 or model=bert); other kinds are not supported."
        )
    return config


def require(config: Config, folder: str | Path, wanted: Mapping[str, Any]) -> None:
    """ConfigError for options that are set to something that is not supported; `wanted`: what each must be."""
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise ConfigError(
                f"{Path(folder) / 'config.json'}: {key}={config[key]!r} is not supported, only {key}={value!r}."
            )


def sizes_of(config: Config, folder: str | Path, keys: Mapping[str, str]) -> dict[str, int]:
    """{our name: whole number} for {our name: key of config.json}. ConfigError names a key that is missing or wrong."""
    found = {}
    for name, key in keys.items():
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(
                f"{Path(folder) / 'config.json'}: {key} must be a whole number of at least 1, got {value!r}."
            )
        found[name] = value
    return found


def number_of(config: Config, folder: str | Path, key: str, default: float, below: float) -> float:
    """A number from 0 to below `below`. ConfigError for anything else."""
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < below:
        raise ConfigError(f"{Path(folder) / 'config.json'}: {key} must lie in [0, {below}), got {value!r}.")
    return float(value)


def activation_of(config: Config, folder: str | Path, key: str, default: str) -> str:
    """Our name of an activation. ConfigError for one that is not known."""
    name = config.get(key, default)
    if name not in ACTIVATIONS:
        raise ConfigError(
            f"{Path(folder) / 'config.json'}: {key}={name!r} is not supported; supported are {', '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]


def read_weights(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors, or of all files that its index names. CheckpointError: there are none."""
    folder = Path(folder)
    if (folder / WEIGHTS).is_file():
        return load(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        index = _json(folder / INDEX)
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise CheckpointError(f"{folder / INDEX} has no weight_map of tensors to files.")
        if any(Path(name).name != name for name in names.values()):
            raise CheckpointError(f"{folder / INDEX} names files outside of its folder.")
        return {key: x for name in sorted(set(names.values())) for key, x in load(folder / name).items()}
    pickled = [name for name in PICKLES if (folder / name).is_file()]
    if pickled:
        raise CheckpointError(
            f"{folder} has {pickled[0]} alone, which is pickled: reading it would run whatever it says, so expkit "
            "never does. Convert it where it is trusted: AutoModel.from_pretrained(folder).save_pretrained(folder, "
            "safe_serialization=True)."
        )
    raise CheckpointError(
        f"{folder} has no {WEIGHTS}. For random weights in the sizes of its config.json: model.weights=false."
    )


def take_over(
    model: Module,
    given: Mapping[str, Tensor],
    folder: str | Path,
    renamed: Callable[[str], str | None],
    transposed: Callable[[str], bool] = lambda name: False,
    optional: Callable[[str], bool] = lambda name: False,
) -> list[str]:
    """Copies tensors into a model; the names of those that it has and the file has not, all of them `optional`.

    renamed: our name of a tensor, None for one that is not needed. transposed: which of ours are stored the other way
    round. CheckpointError, before anything is copied, for tensors that are missing, unknown or of another shape.
    """
    own = dict(model.named_parameters())
    found = {name: x for name, x in ((renamed(key), x) for key, x in given.items()) if name is not None}
    where = str(Path(folder))
    unknown = [name for name in found if name not in own]
    missing = [name for name in own if name not in found]
    needed = [name for name in missing if not optional(name)]
    if needed or unknown:
        parts = [f"missing: {_some(needed)}"] if needed else []
        parts += [f"not of this model: {_some(unknown)}"] if unknown else []
        raise CheckpointError(
            f"{where}: the weights do not fit a {type(model).__name__} of its config.json. {'; '.join(parts)}. "
            "The files belong to another model, or are not complete."
        )
    for name, x in found.items():
        shape = tuple(x.shape)[::-1] if transposed(name) else tuple(x.shape)
        if shape != tuple(own[name].shape):
            raise CheckpointError(
                f"{where}: {name} has shape {shape}, but by config.json it must have {tuple(own[name].shape)}: "
                "the files do not belong together."
            )
    with no_grad():
        for name, x in found.items():
            own[name].copy_((x.T if transposed(name) else x).to(T.float32))
    return missing


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}. model.path must be the folder of a Hugging Face model, with "
            "config.json, model.safetensors and the tokenizer's files."
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from None
