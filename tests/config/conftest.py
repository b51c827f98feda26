"""A working directory with a conf folder of its own, and a registry of few names."""

import pytest

from expkit.registry import names, register, store


@pytest.fixture
def conf(workdir):
    """Writes files into ./conf, which is marked as expkit's: conf("model/mine.yaml", "name: mlp")."""
    folder = workdir / "conf"
    folder.mkdir()
    (folder / ".expkit").touch()

    def write(name, text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def small_registry(monkeypatch):
    """A registry with one or two names per group in place of the real one."""
    for group in store.GROUPS:  # whatever registers itself does so before the tables are exchanged
        names(group)
    monkeypatch.setattr(store, "_factories", {group: {} for group in store.GROUPS})
    monkeypatch.setattr(store, "_plugins", {})
    monkeypatch.setattr(store, "_loaded", {*store.GROUPS, store.ENTRY_POINTS})
    register("model", "mlp")(_mlp)
    register("data", "digits")(_digits)
    register("optim", "adam")(_adam)
    register("scheduler", "cosine")(_cosine)
    register("loss", "cross_entropy")(_cross_entropy)
    register("callback", "stop")(_stop)
    register("logger", "none")(_logger)


def _mlp(input_shape: tuple[int, ...], output_size: int, hidden: list[int], dropout: float = 0.0): ...
def _digits(batch_size: int = 64): ...
def _adam(params, lr: float = 1e-3): ...
def _cosine(optimizer, T_max: int = 3): ...
def _cross_entropy(label_smoothing: float = 0.0): ...
def _stop(monitor: str = "val/loss", patience: int = 3): ...
def _logger(run_dir: str | None = None): ...


PRIMARY = """
task_name: t
tags: []
data: {name: digits, batch_size: 8}
model: {name: mlp, hidden: [4]}
optim: {name: adam, lr: 0.1}
scheduler: {name: none}
loss: {name: auto}
callbacks:
  stop: {name: stop, monitor: val/loss}
logger: {name: none}
trainer: {accelerator: auto, devices: auto, strategy: auto, num_nodes: 1, max_epochs: 2}
device: {name: auto}
distributed: {name: none}
hydra: {run: {dir: "out/x"}}
"""


@pytest.fixture
def primary(conf, small_registry):
    """A config.yaml without defaults, for the small registry: validate() has nothing to say about it."""
    return conf("config.yaml", PRIMARY)
