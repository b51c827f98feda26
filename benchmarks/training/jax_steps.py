"""A workload set up in JAX, as `steps.py` does for the others: the whole step is one jitted function, state donated."""

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.training.jax_models import build
from benchmarks.training.workloads import Workload

VERSION = jax.__version__
zeros = partial(jax.tree.map, jnp.zeros_like)


def set_threads(threads: int) -> None:
    """XLA takes as many threads as there are cores to run on; it looks when the first array is made."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


# ---- optimizers: (initial state, update) -----------------------------------------------------------------------------


def momentum(parameters: Any, gradients: Any, state: Any, lr: float = 1e-2) -> tuple[Any, Any]:
    state = jax.tree.map(lambda m, g: 0.9 * m + g, state, gradients)
    return jax.tree.map(lambda p, m: p - lr * m, parameters, state), state


def adam_state(parameters: Any) -> Any:
    return zeros(parameters), zeros(parameters), jnp.zeros((), jnp.int32)


def adam(parameters: Any, gradients: Any, state: Any, lr: float = 1e-3, decay: float = 0.0) -> tuple[Any, Any]:
    first, second, count = state
    count = count + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
    size, scale = lr / (1 - 0.9**count), 1 / jnp.sqrt(1 - 0.999**count)

    def move(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return p * (1 - lr * decay) - size * m / (jnp.sqrt(v) * scale + 1e-8)

    return jax.tree.map(move, parameters, first, second), (first, second, count)


def rmsprop(parameters: Any, gradients: Any, state: Any, lr: float = 1e-3) -> tuple[Any, Any]:
    state = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, state, gradients)
    return jax.tree.map(lambda p, g, v: p - lr * g / (jnp.sqrt(v) + 1e-8), parameters, gradients, state), state


OPTIMIZERS = {
    "sgd": (zeros, momentum),
    "adam": (adam_state, adam),
    "adamw": (adam_state, partial(adam, decay=1e-2)),
    "rmsprop": (zeros, rmsprop),
}


# ---- the step --------------------------------------------------------------------------------------------------------


def cross_entropy(logits: jax.Array, y: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1)
    return -chosen.mean()


class Training:
    """Network, batch and optimizer, set up from a fixed seed; NotImplementedError where the network is not written."""

    def __init__(self, workload: Workload, compiled: bool = True, channels_last: bool = True) -> None:
        if not (compiled and channels_last):
            raise ValueError("JAX is measured compiled and with images as (batch, height, width, channels) only")
        network = build(workload.model, workload.sizes)
        x, y = (array.astype(np.int32) if array.dtype == np.int64 else array for array in workload.batch())
        self.x, self.y = jnp.asarray(np.moveaxis(x, 1, 3) if workload.images else x), jnp.asarray(y)
        initial, update = OPTIMIZERS[workload.optimizer]
        self.state = (network.parameters, network.buffers, initial(network.parameters))

        def loss(parameters: Any, buffers: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
            out, buffers = network.apply(parameters, buffers, x)
            return cross_entropy(out, y), buffers

        @partial(jax.jit, donate_argnums=0)
        def run(state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
            parameters, buffers, slots = state
            (value, buffers), gradients = jax.value_and_grad(loss, has_aux=True)(parameters, buffers, x, y)
            parameters, slots = update(parameters, gradients, slots)
            return (parameters, buffers, slots), value

        self._run = run

    def step(self) -> jax.Array:
        """One step, waited for; the loss before it."""
        self.state, loss = self._run(self.state, self.x, self.y)
        jax.block_until_ready(self.state)
        return loss

    @staticmethod
    def value(loss: jax.Array) -> float:
        return float(loss)

    def parameters(self) -> int:
        return sum(p.size for p in jax.tree.leaves(self.state[0]))
