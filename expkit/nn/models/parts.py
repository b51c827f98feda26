"""What the architectures share: checks that name the config key, and the dense layers of mlp and of cnn's head."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from expkit.errors import ConfigError, did_you_mean
from expkit.nn.activation import by_name
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
