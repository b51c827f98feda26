"""The workloads in PyTorch: name -> a builder whose result does one iteration."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

VERSION = torch.__version__
THREADS = torch.set_num_threads


def add() -> Callable[[], object]:
    a, b = torch.randn(8, 8), torch.randn(8, 8)
    return lambda: a + b


def multiply() -> Callable[[], object]:
    a, b = torch.randn(8, 8, requires_grad=True), torch.randn(8, 8)
    return lambda: a * b


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: int, features: int) -> Callable[[], object]:
    """One training step: forward, cross entropy, backward, update."""
    x, y = torch.randn(batch, features), torch.randint(10, (batch,))

    def run() -> object:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return run


def mlp_small() -> Callable[[], object]:
    model = mlp(64, 256, 256, 10)
    return step(model, torch.optim.Adam(model.parameters(), lr=1e-3), 64, 64)


def mlp_mnist() -> Callable[[], object]:
    model = mlp(784, 1024, 1024, 10)
    return step(model, torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9), 128, 784)


CASES = {"add": add, "multiply": multiply, "mlp_small": mlp_small, "mlp_mnist": mlp_mnist}
