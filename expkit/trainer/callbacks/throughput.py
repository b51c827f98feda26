"""ThroughputMonitor: batches, samples, tokens and floating-point operations per second."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

from expkit.compiler.cost import flops
from expkit.errors import ConfigError
from expkit.registry import register
from expkit.tensor import Tensor
from expkit.trainer import feed
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.triggers import Every


class Point(NamedTuple):
    """How far a stage was: seconds, and what was done until then."""

    time: float
    batches: int
    samples: int
    items: int


@dataclass
class Course:
    """The newest points of a stage."""

    points: deque[Point]
    began: float
    paused: float = 0.0  # seconds that were another stage's

    def add(self, samples: int, items: int) -> None:
        """One more batch."""
        last = self.points[-1]
        now = monotonic() - self.began - self.paused
        self.points.append(Point(now, last.batches + 1, last.samples + samples, last.items + items))

    def rates(self) -> dict[str, float]:
        """Per second, over the window."""
        first, last = self.points[0], self.points[-1]
        seconds = last.time - first.time
        names = ("batches", "samples", "items") if last.items else ("batches", "samples")
        return {name: (getattr(last, name) - getattr(first, name)) / seconds for name in names} if seconds > 0 else {}


@register("callback", "throughput_monitor")
class ThroughputMonitor(Callback):
    """Logs, each log_every_n_steps, over the last `window_size` batches:

    train/device/batches_per_sec, samples_per_sec, items_per_sec (tokens), flops_per_sec; and so far: train/time
    (seconds, without validations), train/batches, train/samples. The same for validate/, test/ as they end.
    batch_size_fn: batch -> samples; default: the length of its first tensor. length_fn: batch -> items of a sample;
    default: the second dimension of whole-numbered inputs. Operations are those of the task's `flops_per_batch` (of a
    training batch), or else are counted in the compiled training step; where there is neither they are left out.
    """

    def __init__(
        self,
        window_size: int = 100,
        batch_size_fn: Callable[[Any], int] | None = None,
        length_fn: Callable[[Any], int] | None = None,
    ) -> None:
        if window_size < 2:
            raise ConfigError(f"ThroughputMonitor: window_size={window_size}: expected at least 2 batches.")
        self.window_size = window_size
        self.batch_size_fn, self.length_fn = batch_size_fn or feed.batch_size, length_fn or tokens
        self._courses: dict[str, Course] = {}
        self._programs: list[Any] = []  # that were looked at
        self._largest = (0, 1)  # operations and samples of the largest one

    def _begin(self, stage: str) -> None:
        first = Point(0.0, 0, 0, 0)
        self._courses[stage] = Course(deque([first], maxlen=self.window_size + 1), monotonic())

    def _add(self, stage: str, batch: Any) -> None:
        samples = self.batch_size_fn(batch)
        self._courses[stage].add(samples, samples * self.length_fn(batch))

    def values(self, trainer: Any, stage: str) -> dict[str, float]:
        """What there is to log of a stage now."""
        course = self._courses[stage]
        rates, last = course.rates(), course.points[-1]
        found = {f"{stage}/device/{name}_per_sec": value for name, value in rates.items()}
        each = self._flops_of_a_sample(trainer) if stage == "train" and "samples" in rates else None
        if each is not None:
            found[f"{stage}/device/flops_per_sec"] = each * rates["samples"]
        return {
            **found,
            f"{stage}/time": last.time,
            f"{stage}/batches": float(last.batches),
            f"{stage}/samples": float(last.samples),
        }

    def _flops_of_a_sample(self, trainer: Any) -> float | None:
        given = getattr(trainer.task, "flops_per_batch", None)
        found, samples = self._largest if given is None else (given, self.batch_size_fn(trainer.batch))
        return found / samples if found else None

    def _count(self, trainer: Any, batch: Any) -> None:
        """Looks at the programs that were made for this batch."""
        programs = whole_steps(trainer)
        fresh = [program for program in programs if program not in self._programs]
        if fresh:
            self._programs = programs
            self._largest = max(self._largest, (max(map(operations, fresh)), self.batch_size_fn(batch)))

    # ---- training

    def on_train_start(self, trainer: Any, task: Any) -> None:
        self._programs, self._largest = [], (0, 1)
        self._begin("train")

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._add("train", batch)
        self._count(trainer, batch)
        if not trainer.gathering() and Every(trainer.log_every_n_steps or 0)(trainer.global_step):
            trainer.log_metrics(self.values(trainer, "train"))

    # ---- evaluation

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        self._begin("validate")

    def on_validation_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._add("validate", batch)

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        if "train" in self._courses:
            self._courses["train"].paused += monotonic() - self._courses["validate"].began
        if not trainer.sanity_checking:
            trainer.log_metrics(self.values(trainer, "validate"))

    def on_test_start(self, trainer: Any, task: Any) -> None:
        self._begin("test")

    def on_test_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._add("test", batch)

    def on_test_end(self, trainer: Any, task: Any) -> None:
        trainer.log_metrics(self.values(trainer, "test"))


def tokens(batch: Any) -> int:
    """Items of a sample: the second dimension of the inputs where they are whole numbers; 0 = there are none."""
    inputs = batch[0] if isinstance(batch, list | tuple) and batch else batch
    counted = isinstance(inputs, Tensor) and inputs.ndim > 1 and not inputs.is_floating_point()
    return int(inputs.shape[1]) if counted else 0


def whole_steps(trainer: Any) -> list[Any]:
    """The programs that are a training step with forward, backward and update."""
    joined = getattr(trainer.training_step, "joined", None)
    return [] if joined is None else [r for entry in joined.compiled.entries.values() for r in entry.replays]


def operations(replay: Any) -> int:
    """Floating-point operations of a program."""
    return sum(map(flops, replay.program.equations))
