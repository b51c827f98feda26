"""A workload set up in this process's library, expkit or PyTorch: `Training(workload).step()` is one training step."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.training.library import NAME, F, lib, nn, optim
from benchmarks.training.models import MODELS
from benchmarks.training.workloads import Workload

# PyTorch's fused optimizers are its fastest on the CPU; expkit's need no switch.
FUSED = {"fused": True} if NAME == "torch" else {}
OPTIMIZERS: dict[str, tuple[type, dict[str, Any]]] = {
    "sgd": (optim.SGD, {"lr": 1e-2, "momentum": 0.9, **FUSED}),
    "adam": (optim.Adam, {"lr": 1e-3, **FUSED}),
    "adamw": (optim.AdamW, {"lr": 1e-3, **FUSED}),
    "rmsprop": (optim.RMSprop, {"lr": 1e-3}),
}
VERSION = lib.__version__


def set_threads(threads: int) -> None:
    """expkit's threads are set by OMP_NUM_THREADS, which the process is started with."""
    if NAME == "torch":
        lib.set_num_threads(threads)


class Training:
    """Model, batch and optimizer, set up from seed 0, and the step that trains them.

    With `compiled`, expkit compiles the whole step; PyTorch the loss and the optimizer's step (it cannot trace
    `backward()`). With `channels_last`, weights and images are laid out so.
    """

    def __init__(self, workload: Workload, compiled: bool = False, channels_last: bool = False) -> None:
        lib.manual_seed(0)
        self.model = MODELS[workload.model](**workload.sizes)
        self.x, self.y = (lib.from_numpy(array) for array in workload.batch())
        if channels_last:
            self.model = self.model.to(memory_format=lib.channels_last)
            self.x = self.x.contiguous(memory_format=lib.channels_last)
        kind, options = OPTIMIZERS[workload.optimizer]
        self.optimizer = kind(self.model.parameters(), **options)
        self.criterion = getattr(F, workload.loss)
        self._loss, self._update, self._run = self.loss, self.optimizer.step, self.train
        if compiled and NAME == "torch":
            self._loss, self._update = lib.compile(self.loss), lib.compile(self.optimizer.step)
        elif compiled:
            self._run = lib.compile(self.train)

    def loss(self, x: Any, y: Any) -> Any:
        """The loss; of tokens (batch, length, vocabulary) over all of them."""
        out = self.model(x)
        return self.criterion(out, y) if out.shape == y.shape else self.criterion(out.flatten(0, -2), y.flatten())

    def train(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        loss = self._loss(x, y)
        loss.backward()
        self._update()
        return loss

    def step(self) -> Any:
        """One step; the loss before it."""
        return self._run(self.x, self.y)

    @staticmethod
    def value(loss: Any) -> float:
        return float(loss.detach())

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def without_dropout(self) -> None:
        """Libraries draw different masks; where losses are compared there are none."""
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0

    def weights(self) -> dict[str, np.ndarray]:
        return {name: tensor.detach().numpy() for name, tensor in self.model.state_dict().items()}

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.model.load_state_dict({name: lib.from_numpy(array) for name, array in weights.items()})
