"""What the architectures share: checks that name the config key, dense layers, and how convolutions start."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from expkit.errors import ConfigError, ShapeError, did_you_mean
from expkit.nn import init
from expkit.nn.activation import by_name
from expkit.nn.conv import Conv2d
from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.module import Module
from expkit.nn.norm import BatchNorm1d, LayerNorm

NORMS = {"none": None, "batch": BatchNorm1d, "layer": LayerNorm}


def sizes(key: str, values: Iterable[int]) -> tuple[int, ...]:
    """`values` as positive ints; ConfigError names the config key."""
    found = tuple(values)
    bad = [value for value in found if isinstance(value, bool) or not isinstance(value, int) or value < 1]
    if bad:
        raise ConfigError(f"{key}: every entry must be an int of at least 1, got {bad[0]!r} in {list(found)}")
    return found


def size(key: str, value: int, least: int = 1) -> int:
    """`value` as an int of at least `least`; ConfigError names the config key."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}: must be an int of at least {least}, got {value!r}")
    return value


def probability(key: str, value: float) -> float:
    """`value` as a dropout probability; ConfigError names the config key."""
    if not 0 <= value < 1:
        raise ConfigError(f"{key}: a dropout probability lies in [0, 1), got {value!r}")
    return value


def choice(key: str, value: str, legal: Collection[str]) -> str:
    """`value`, if it is one of `legal`; ConfigError names the config key."""
    if value not in legal:
        raise ConfigError(f"{key}: must be one of {', '.join(legal)}, got {value!r}.{did_you_mean(value, legal)}")
    return value


def image_shape(model: str, input_shape: Iterable[int], layer: str = "Conv2d") -> tuple[int, int, int]:
    """(channels, height, width). ShapeError for data that are no images; `layer` is the one that needs them."""
    shape = sizes("input_shape", input_shape)
    if len(shape) != 3:
        raise ShapeError(
            f"model {model}: its first layer, {layer}, needs images: samples of shape (channels, height, width), "
            f"but the data's are {shape}. Choose another model (model=mlp) or data of images."
        )
    channels, height, width = shape
    return channels, height, width


def heads(width_key: str, width: int, heads_key: str, count: int) -> int:
    """`count` attention heads, into which `width` can be divided; ConfigError names both config keys."""
    if size(width_key, width) % size(heads_key, count):
        raise ConfigError(f"{width_key}={width} cannot be divided into {heads_key}={count} heads of one size")
    return count


def initialise_convolutions(model: Module) -> None:
    """Weights normal by He et al. (2015), for relu and by the outputs' count; biases zero, as torchvision starts."""
    for layer in model.modules():
        if isinstance(layer, Conv2d):
            init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                init.zeros_(layer.bias)


def dense(
    in_features: int,
    hidden: Sequence[int],
    output_size: int,
    *,
    activation: str,
    dropout: float,
    norm: str = "none",
    bias: bool = True,
) -> list[Module]:
    """Linear, norm, activation, dropout for each hidden size, then a Linear to `output_size`."""
    probability("model.dropout", dropout)
    make_norm = NORMS[choice("model.norm", norm, NORMS)]
    make_activation = by_name(activation, "model.activation")
    layers: list[Module] = []
    for features in sizes("model.hidden", hidden):
        layers.append(Linear(in_features, features, bias=bias))
        if make_norm is not None:
            layers.append(make_norm(features))
        layers.append(make_activation())
        if dropout > 0:
            layers.append(Dropout(dropout))
        in_features = features
    return [*layers, Linear(in_features, size("output_size", output_size), bias=bias)]
