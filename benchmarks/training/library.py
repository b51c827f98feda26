"""The library that this process trains with: expkit, or PyTorch where EXPKIT_BENCH_LIBRARY says `torch`.

A process measures one library, so the models can be plain classes that import `F`, `lib` and `nn` from here.
"""

import importlib
import os

NAME = os.environ.get("EXPKIT_BENCH_LIBRARY", "expkit")
lib = importlib.import_module(NAME)
nn = importlib.import_module(f"{NAME}.nn")
F = importlib.import_module(f"{NAME}.nn.functional")
optim = importlib.import_module(f"{NAME}.optim")
