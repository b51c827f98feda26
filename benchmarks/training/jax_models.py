"""The same networks in JAX: functions of (parameters, buffers, x), images as (batch, height, width, channels).

A builder returns a `Network`; `apply` gives the output and the new buffers (batch norms' running statistics).
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

RANDOM = np.random.default_rng(0)


class Network(NamedTuple):
    parameters: Any
    buffers: Any
    apply: Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]]


def weight(*shape: int, fan_in: int | None = None) -> jax.Array:
    scale = 1 / math.sqrt(fan_in or shape[0])
    return jnp.asarray(scale * RANDOM.standard_normal(shape, dtype=np.float32))


def affine(fan_in: int, fan_out: int) -> dict[str, jax.Array]:
    return {"w": weight(fan_in, fan_out), "b": jnp.zeros(fan_out)}


def scales(width: int) -> dict[str, jax.Array]:
    return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}


def linear(p: Any, x: jax.Array) -> jax.Array:
    return x @ p["w"] + p["b"]


def stateless(apply: Callable[[Any, jax.Array], jax.Array]) -> Callable[[Any, Any, jax.Array], tuple[jax.Array, Any]]:
    return lambda p, buffers, x: (apply(p, x), buffers)


# ---- multilayer perceptron -------------------------------------------------------------------------------------------


def mlp(sizes: Sequence[int], activation: str = "ReLU", **others: Any) -> Network:
    if others:
        raise NotImplementedError(f"an mlp in JAX with {', '.join(others)}")
    act = {"ReLU": jax.nn.relu, "Tanh": jnp.tanh}[activation]

    def apply(layers: Any, x: jax.Array) -> jax.Array:
        for p in layers[:-1]:
            x = act(linear(p, x))
        return linear(layers[-1], x)

    return Network([affine(*pair) for pair in itertools.pairwise(sizes)], (), stateless(apply))


# ---- convolutional networks ------------------------------------------------------------------------------------------


def kernel(size: int, fan_in: int, fan_out: int) -> jax.Array:
    return weight(size, size, fan_in, fan_out, fan_in=fan_in * size * size)


def conv(k: jax.Array, x: jax.Array, stride: int = 1) -> jax.Array:
    padding = [(k.shape[0] // 2,) * 2] * 2
    return lax.conv_general_dilated(x, k, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def statistics(width: int) -> dict[str, jax.Array]:
    return {"mean": jnp.zeros(width), "var": jnp.ones(width)}


def batch_norm(p: Any, running: Any, x: jax.Array) -> tuple[jax.Array, Any]:
    """Normalised over batch and place, and the running statistics moved a tenth of the way (variance unbiased)."""
    mean = x.mean((0, 1, 2))
    var = jnp.maximum(jnp.square(x).mean((0, 1, 2)) - jnp.square(mean), 0)
    y = (x - mean) * (lax.rsqrt(var + 1e-5) * p["scale"]) + p["shift"]
    count = x.size // x.shape[-1]
    seen = {"mean": mean, "var": var * (count / (count - 1))}
    return y, jax.tree.map(lambda old, new: 0.9 * old + 0.1 * lax.stop_gradient(new), running, seen)


def conv_norm(p: Any, running: Any, x: jax.Array, stride: int = 1) -> tuple[jax.Array, Any]:
    return batch_norm(p["norm"], running, conv(p["kernel"], x, stride))


def conv_norm_init(size: int, fan_in: int, fan_out: int) -> tuple[Any, Any]:
    return {"kernel": kernel(size, fan_in, fan_out), "norm": scales(fan_out)}, statistics(fan_out)


def residual(p: Any, running: Any, x: jax.Array, stride: int) -> tuple[jax.Array, Any]:
    new = {}
    y, new["first"] = conv_norm(p["first"], running["first"], x, stride)
    y, new["second"] = conv_norm(p["second"], running["second"], jax.nn.relu(y))
    if "shortcut" in p:
        x, new["shortcut"] = conv_norm(p["shortcut"], running["shortcut"], x, stride)
    return jax.nn.relu(x + y), new


def residual_init(fan_in: int, width: int, stride: int) -> tuple[Any, Any]:
    parts = {"first": conv_norm_init(3, fan_in, width), "second": conv_norm_init(3, width, width)}
    if stride != 1 or fan_in != width:
        parts["shortcut"] = conv_norm_init(1, fan_in, width)
    return {name: p for name, (p, _) in parts.items()}, {name: b for name, (_, b) in parts.items()}


def resnet(blocks: int, widths: Sequence[int], classes: int = 10) -> Network:
    fans = [widths[0], *(width for width in widths for _ in range(blocks))]
    strides = [2 if number and number % blocks == 0 else 1 for number in range(len(fans) - 1)]
    stem = conv_norm_init(3, 3, widths[0])
    body = [residual_init(*pair, stride) for pair, stride in zip(itertools.pairwise(fans), strides, strict=True)]
    parameters = {"stem": stem[0], "body": [p for p, _ in body], "head": affine(widths[-1], classes)}

    def apply(p: Any, buffers: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        new: dict[str, Any] = {"body": []}
        x, new["stem"] = conv_norm(p["stem"], buffers["stem"], x)
        x = jax.nn.relu(x)
        for block, running, stride in zip(p["body"], buffers["body"], strides, strict=True):
            x, moved = residual(block, running, x, stride)
            new["body"].append(moved)
        return linear(p["head"], x.mean((1, 2))), new

    return Network(parameters, {"stem": stem[1], "body": [b for _, b in body]}, apply)


def vgg(widths: Sequence[int], side: int, classes: int = 10, hidden: int = 256) -> Network:
    fans = [3, *(width for width in widths for _ in range(2))]
    convs = [{"w": kernel(3, *pair), "b": jnp.zeros(pair[1])} for pair in itertools.pairwise(fans)]
    features = fans[-1] * (side >> len(widths)) ** 2
    parameters = {"convs": convs, "hidden": affine(features, hidden), "head": affine(hidden, classes)}

    def apply(p: Any, x: jax.Array) -> jax.Array:
        for number, layer in enumerate(p["convs"]):
            x = jax.nn.relu(conv(layer["w"], x) + layer["b"])
            if number % 2:
                x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return linear(p["head"], jax.nn.relu(linear(p["hidden"], x.reshape(len(x), -1))))

    return Network(parameters, (), stateless(apply))


# ---- transformers ----------------------------------------------------------------------------------------------------


def layer_norm(p: Any, x: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    var = jnp.square(x - mean).mean(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["shift"]


def block(p: Any, x: jax.Array, heads: int, causal: bool) -> jax.Array:
    batch, length, width = x.shape
    qkv = linear(p["qkv"], layer_norm(p["norm1"], x)).reshape(batch, length, 3, heads, width // heads)
    y = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], is_causal=causal)
    x = x + linear(p["out"], y.reshape(batch, length, width))
    hidden = jax.nn.gelu(linear(p["up"], layer_norm(p["norm2"], x)), approximate=causal)
    return x + linear(p["down"], hidden)


def transformer(vocabulary: int, length: int, width: int, heads: int, layers: int, classes: int | None) -> Network:
    """The next token's logits for each place, or with `classes` those of the whole text's mean."""

    def block_init() -> dict[str, Any]:
        return {
            "norm1": scales(width), "qkv": affine(width, 3 * width), "out": affine(width, width),
            "norm2": scales(width), "up": affine(width, 4 * width), "down": affine(4 * width, width),
        }  # fmt: skip

    parameters = {
        "token": weight(vocabulary, width, fan_in=1), "position": weight(length, width, fan_in=1),
        "blocks": [block_init() for _ in range(layers)], "norm": scales(width),
        "head": affine(width, classes) if classes else {"w": weight(width, vocabulary)},
    }  # fmt: skip

    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = p["token"][x] + p["position"]
        for layer in p["blocks"]:
            x = block(layer, x, heads, causal=classes is None)
        x = layer_norm(p["norm"], x)
        return x @ p["head"]["w"] if classes is None else linear(p["head"], x.mean(1))

    return Network(parameters, (), stateless(apply))


def gpt(vocabulary: int, length: int, width: int, heads: int, layers: int) -> Network:
    return transformer(vocabulary, length, width, heads, layers, classes=None)


# ---- recurrent networks ----------------------------------------------------------------------------------------------


def lstm_layer(p: Any, xs: jax.Array) -> jax.Array:
    """(steps, batch, features) -> (steps, batch, width); the inputs' products of all steps at once, then a scan."""

    def cell(carry: Any, gates: jax.Array) -> tuple[Any, jax.Array]:
        h, c = carry
        i, f, g, o = jnp.split(gates + h @ p["hidden"], 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    start = jnp.zeros((xs.shape[1], p["hidden"].shape[0]))
    return lax.scan(cell, (start, start), xs @ p["input"] + (p["bias"] + p["bias_hidden"]))[1]


def recurrent(kind: str, features: int, width: int, layers: int = 1, classes: int = 10) -> Network:
    if kind != "LSTM":
        raise NotImplementedError(f"{kind} in JAX")
    cells = [
        {
            "input": weight(fan_in, 4 * width, fan_in=width), "hidden": weight(width, 4 * width),
            "bias": jnp.zeros(4 * width), "bias_hidden": jnp.zeros(4 * width),
        }
        for fan_in in (features, *[width] * (layers - 1))
    ]  # fmt: skip

    def apply(p: Any, x: jax.Array) -> jax.Array:
        x = jnp.swapaxes(x, 0, 1)
        for layer in p["cells"]:
            x = lstm_layer(layer, x)
        return linear(p["head"], x[-1])

    return Network({"cells": cells, "head": affine(width, classes)}, (), stateless(apply))


MODELS: dict[str, Callable[..., Network]] = {
    "mlp": mlp,
    "resnet": resnet,
    "vgg": vgg,
    "gpt": gpt,
    "encoder": transformer,
    "recurrent": recurrent,
}


def build(model: str, sizes: Mapping[str, Any]) -> Network:
    """Raises NotImplementedError for a network that is not among these."""
    if model not in MODELS:
        raise NotImplementedError(f"{model} in JAX")
    return MODELS[model](**sizes)
