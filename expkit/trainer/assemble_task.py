"""From a composed config to its task: model, loss, optimizer, schedule and metrics, in the training style chosen."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from expkit.config import Composed, split_schedule
from expkit.config.filled import TASK_PARTS
from expkit.config.initial import frozen_of, weights_of
from expkit.config.param_groups import split_groups
from expkit.config.tasks import AUTO
from expkit.data import DataModule
from expkit.errors import CheckpointError, ConfigError
from expkit.nn.module import Module
from expkit.optim import Optimizer
from expkit.registry import lookup, signature_of
from expkit.tensor import Tensor
from expkit.trainer.assemble import make
from expkit.trainer.console import say
from expkit.trainer.groups import choose
from expkit.trainer.initial import begin_with
from expkit.trainer.metrics import Metric, make_metrics
from expkit.trainer.optimizers import Schedule
from expkit.trainer.task import Task
from expkit.trainer.tasks.supervised import AUTO_LOSS

# The task for a kind of data, where neither the config nor the model says another.
AUTO_TASK = {
    "classification": "supervised",
    "regression": "supervised",
    "segmentation": "supervised",
    "language_modeling": "language_model",
    "reconstruction": "reconstruction",
}

# Losses that make sense for some kinds of task only; those of the user may be used for any.
_CLASSES = ("classification", "segmentation", "language_modeling")
_NUMBERS = ("regression", "reconstruction")
LOSS_TASK = {
    **dict.fromkeys(("cross_entropy", "nll"), _CLASSES),
    **dict.fromkeys(("bce", "bce_with_logits"), ("classification", "reconstruction")),
    **dict.fromkeys(("mse", "l1", "smooth_l1", "huber"), _NUMBERS),
}


def make_task(composed: Composed, config: Mapping[str, Any], data: DataModule, derived: Mapping[str, Any]) -> Task:
    """The task of a config, given those parts that its signature names."""
    entry = {**(config.get("task") or {}), "name": task_name(composed, config, data)}
    factory = lookup("task", entry["name"])
    kind = getattr(factory, "kind", None) or data.task
    parts = _Parts(composed, config, data, derived, kind)
    wanted = [name for name in signature_of(factory).named() if name in TASK_PARTS]
    given = {name: getattr(parts, name)() for name in TASK_PARTS if name in wanted}
    task = make(composed, "task", entry, given={**derived, **given})
    if not isinstance(task, Task):
        raise ConfigError(
            f"{composed.origins.of('task.name')}: task {entry['name']!r} is {type(task).__name__}, no Task "
            "(expkit.trainer.Task)."
        )
    if "model" not in wanted:
        parts.begin(task)
    return task


def task_name(composed: Composed, config: Mapping[str, Any], data: DataModule) -> str:
    """The registered name of the task; `auto` is what the model is made for, else what fits the data."""
    name = (config.get("task") or {}).get("name", AUTO)
    if name != AUTO:
        return str(name)
    own = getattr(lookup("model", config["model"]["name"]), "default_task", None)
    if own is None and data.task not in AUTO_TASK:
        raise ConfigError(
            f"{composed.origins.of('data.name')}: no task is known for data of the kind {data.task!r}: choose one "
            "(`expkit ls task`)."
        )
    return str(own or AUTO_TASK[data.task])


class _Parts:
    """What a task may ask for, made when it does: a method for each name in TASK_PARTS."""

    def __init__(
        self, composed: Composed, config: Mapping[str, Any], data: DataModule, derived: Mapping[str, Any], kind: str
    ) -> None:
        self.composed, self.config, self.derived = composed, config, derived
        self._data, self._kind = data, kind
        self._model: Module | None = None

    def data(self) -> DataModule:
        return self._data

    def task(self) -> str:
        return self._kind

    def model(self) -> Module:
        outputs = _outputs(self.config.get("loss"), self._data)
        made = make(self.composed, "model", self.config["model"], given={**self.derived, **outputs})
        if not isinstance(made, Module):
            raise ConfigError(
                f"{self.composed.origins.of('model.name')}: model {self.config['model']['name']!r} is "
                f"{type(made).__name__}, no Module (expkit.nn.Module)."
            )
        self.begin(made)
        self._model = made
        return made

    def begin(self, module: Module) -> None:
        """Gives a model, or a task that has built its own, the weights to begin with, and freezes what is to be."""
        origin = self.composed.origins.of
        try:
            begin_with(module, weights_of(self.config, origin), frozen_of(self.config, origin), origin("freeze"))
        except CheckpointError as error:
            raise CheckpointError(f"{origin('weights')}: {error}") from None

    def loss(self) -> Any:
        return _make_loss(self.composed, self.config.get("loss"), self._kind, self.derived)

    def metrics(self) -> Callable[[], dict[str, Metric]]:
        def build(entry: Mapping[str, Any], key: str, given: Mapping[str, Any]) -> Metric:
            return make(self.composed, "metric", entry, key=key, given=given)

        loss = (self.config.get("loss") or {}).get("name")
        entries = self.config.get("metrics")
        return make_metrics(
            {AUTO: {"name": AUTO}} if entries is None else entries,
            self._kind,
            self._data.num_classes,
            logits=loss != "bce",
            make=build,
        )

    def optimizer(self) -> Callable[[Iterable[Tensor]], Optimizer]:
        entry, rows = split_groups(self.config["optim"])
        where = self.composed.origins.of("optim.groups")
        chosen = choose(self._model, rows, where) if rows and self._model is not None else None
        for line in chosen.summary() if chosen else ():
            say(line)

        def optimizer(params: Iterable[Tensor]) -> Optimizer:
            mine = list(params) if chosen is None else chosen.of(params)
            return make(self.composed, "optim", entry, mine, given=self.derived)

        return optimizer

    def scheduler(self) -> Callable[[Optimizer], Schedule] | None:
        entry = self.config.get("scheduler")
        if entry is None or entry.get("name") == "none":
            return None
        arguments, timing = split_schedule(entry)
        timing = {name: value for name, value in timing.items() if value is not None}

        def scheduler(optimizer: Optimizer) -> Schedule:
            made = make(self.composed, "scheduler", arguments, optimizer, given=self.derived)
            return Schedule(made, **{"interval": made.interval, "monitor": made.monitor, **timing})

        return scheduler


def _outputs(loss: Mapping[str, Any] | None, data: DataModule) -> dict[str, int]:
    """Binary losses take one score for two classes."""
    binary = loss is not None and loss.get("name") in ("bce", "bce_with_logits") and data.num_classes == 2
    return {"output_size": 1} if binary else {}


def _make_loss(composed: Composed, entry: Mapping[str, Any] | None, kind: str, derived: Mapping[str, Any]) -> Any:
    name = "auto" if entry is None else entry["name"]
    if name == "auto" or entry is None:
        if kind not in AUTO_LOSS:
            raise ConfigError(
                f"{composed.origins.of('loss.name')}: no loss is known for {kind!r}: choose one (`expkit ls loss`)."
            )
        return AUTO_LOSS[kind]()
    wanted = LOSS_TASK.get(name)
    if wanted is not None and kind not in wanted:
        fitting = [other for other, its_kinds in LOSS_TASK.items() if kind in its_kinds]
        raise ConfigError(
            f"{composed.origins.of('loss.name')}: loss {name!r} is for {' and '.join(wanted)}, but the data "
            f"({composed.origins.of('data.name')}) is for {kind}. Losses for {kind}: auto, {', '.join(fitting)}."
        )
    return make(composed, "loss", entry, given=derived)
