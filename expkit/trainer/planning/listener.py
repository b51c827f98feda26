"""Who listens to a task where no Trainer is: notes which names are logged, and when."""

from __future__ import annotations

from typing import Any

from expkit.tensor import Tensor
from expkit.trainer.logged import Entry, Logged, occasions
from expkit.trainer.metrics import Metric, Stats

STAGES = ("train", "val", "test")


class Listener:
    """Stands where the Trainer stands. `stage`: which one's steps run."""

    current_epoch = global_step = 0
    logger = None

    def __init__(self, device: Any) -> None:
        self.device, self.stage = device, "train"
        self.logged = {stage: Logged() for stage in STAGES}

    def known_epoch(self) -> int:
        """The epoch that runs."""
        return self.current_epoch

    def take_log(
        self, name: str, value: Any, *, on_step: bool | None = None, on_epoch: bool | None = None,
        prog_bar: bool = False, logger: bool = True, reduce_fx: str = "mean", batch_size: int | None = None,
    ) -> None:  # fmt: skip
        """`Task.log`, of which the value is not looked at."""
        step, epoch = occasions(self.stage == "train", on_step, on_epoch)
        metric = value if isinstance(value, Metric) else None
        self.logged[self.stage].entries.setdefault(name, Entry(step, epoch, prog_bar, logger, reduce_fx, metric))

    def names(self) -> list[str]:
        """Every name that will be logged, in order."""
        return list(dict.fromkeys(name for stage in STAGES for name in self.logged[stage].names()))


class Unmeasured(Metric):
    """In a metric's place where predictions have no values."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self._metric = metric

    def suffixes(self) -> list[str]:
        return self._metric.suffixes()

    def update(self, preds: Tensor, target: Tensor) -> Stats:
        return {}
