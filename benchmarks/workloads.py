"""The workloads, written once: expkit has PyTorch's names, so the same lines run in either library."""

import importlib
import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks.timing import Run


class Workloads:
    """Builders of the cases in one library; each builder returns a function that does one iteration."""

    def __init__(self, library: str) -> None:
        self.lib: ModuleType = importlib.import_module(library)
        self.nn: Any = importlib.import_module(f"{library}.nn")
        self.functional: Any = importlib.import_module(f"{library}.nn.functional")
        self.optim: Any = importlib.import_module(f"{library}.optim")
        self.lib.manual_seed(0)

    def multiply(self) -> Run:
        a, b = self.lib.randn(8, 8, requires_grad=True), self.lib.randn(8, 8)
        return lambda: a * b

    def mlp_small(self) -> Run:
        model = self._mlp(64, 256, 256, 10)
        return self._step(model, self.optim.Adam(model.parameters(), lr=1e-3), batch=64, features=64)

    def mlp_mnist(self) -> Run:
        model = self._mlp(784, 1024, 1024, 10)
        optimizer = self.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
        return self._step(model, optimizer, batch=128, features=784)

    def _mlp(self, *sizes: int) -> Any:
        layers: list[Any] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [self.nn.Linear(fan_in, fan_out), self.nn.ReLU()]
        return self.nn.Sequential(*layers[:-1])

    def _step(self, model: Any, optimizer: Any, batch: int, features: int) -> Run:
        """One training step: forward, cross entropy, backward, update."""
        x, y = self.lib.randn(batch, features), self.lib.randint(10, (batch,))
        cross_entropy = self.functional.cross_entropy

        def run() -> object:
            optimizer.zero_grad()
            loss = cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return run


class Row(NamedTuple):
    """A line of a table; `limit`: the most that expkit's time may be as a multiple of PyTorch's, None: no promise."""

    what: str
    build: Callable[[Workloads], Run]
    limit: float | None = None


STEPS: dict[str, Row] = {
    "multiply": Row("8x8 multiply that records a gradient", Workloads.multiply, 1.5),
    "mlp_small": Row("mlp_small step: 64-256-256-10, batch 64, Adam", Workloads.mlp_small, 2.5),
    "mlp_mnist": Row("mlp_mnist step: 784-1024-1024-10, batch 128, SGD momentum", Workloads.mlp_mnist),
}
