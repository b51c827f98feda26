"""Encoders and decoders of autoencoder and vae: samples to a short vector, and back to the size that they had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from expkit.nn.activation import by_name
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv2d, ConvTranspose2d
from expkit.nn.linear import Flatten, Unflatten
from expkit.nn.models.parts import dense, image_shape, sizes
from expkit.nn.module import Module

WINDOW: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1}  # halves the size, rounded up


def encoder(
    model: str,
    input_shape: Sequence[int],
    channels: Sequence[int],
    hidden: Sequence[int],
    outputs: int,
    activation: str,
) -> Sequential:
    """Convolutions of stride 2 to each of `channels`, dense layers of the sizes `hidden`, and one to `outputs`."""
    layers: list[Module] = []
    make_activation = by_name(activation, "model.activation")
    shapes = _stages(model, input_shape, channels)
    for before, after in pairwise(shapes):
        layers += [Conv2d(before[0], after[0], **WINDOW), make_activation()]
    return Sequential(
        *layers, Flatten(), *dense(math.prod(shapes[-1]), hidden, outputs, activation=activation, dropout=0.0)
    )


def decoder(
    model: str, input_shape: Sequence[int], channels: Sequence[int], hidden: Sequence[int], inputs: int, activation: str
) -> Sequential:
    """The encoder's way back: dense layers, then transposed convolutions to the exact sizes that it went through."""
    make_activation = by_name(activation, "model.activation")
    shapes = _stages(model, input_shape, channels)[::-1]
    layers = dense(inputs, list(hidden)[::-1], math.prod(shapes[0]), activation=activation, dropout=0.0)
    layers.append(Unflatten(1, shapes[0]))
    for before, after in pairwise(shapes):
        odd = tuple(length - (2 * half - 1) for length, half in zip(after[1:], before[1:], strict=True))
        layers += [make_activation(), ConvTranspose2d(before[0], after[0], output_padding=odd, **WINDOW)]
    return Sequential(*layers)


def _stages(model: str, input_shape: Sequence[int], channels: Sequence[int]) -> list[tuple[int, ...]]:
    """The shapes of a sample: as it comes, and after each convolution."""
    widths = sizes("model.channels", channels)
    shapes = [image_shape(model, input_shape) if widths else sizes("input_shape", input_shape)]
    for width in widths:
        shapes.append((width, *((length + 1) // 2 for length in shapes[-1][1:])))
    return shapes
