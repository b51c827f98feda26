"""The same loop, compiled: forward, loss, backward and update are one program (docs/compiled.md).

    python examples/compiled_loop.py        # prints what a step takes, as it is written and compiled
"""

import argparse
from time import perf_counter

import expkit as ek
from expkit import nn
from expkit.nn import functional as F


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps

    ek.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = ek.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = ek.randn(16, 1, 8, 8), ek.randint(0, 10, (16,))

    def step(x: ek.Tensor, y: ek.Tensor) -> ek.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for name, function in (("as written", step), ("compiled", ek.compile(step))):
        for _ in range(3):  # the first calls make kernels
            function(x, y)
        start = perf_counter()
        for _ in range(steps):
            loss = function(x, y)
        print(f"{name:<11} {1000 * (perf_counter() - start) / steps:6.2f} ms a step, loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
