"""The rehearsal: one batch through each step before training starts, leaving no trace.

It finds shapes that do not fit and the names of all metrics, so that a wrong monitor is an error before the first step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from expkit.errors import ConfigError, did_you_mean
from expkit.nn.module import Module
from expkit.tensor import Tensor, no_grad
from expkit.trainer import feed
from expkit.trainer.callbacks.monitor import Monitor
from expkit.trainer.state import same_module_after, same_rng_after, same_training_after
from expkit.trainer.task import loss_of

if TYPE_CHECKING:
    from expkit.trainer.trainer import Trainer

Shapes = dict[str, tuple[Any, Any]]  # module path -> shapes of its input and output


def rehearse(t: "Trainer") -> Shapes:
    """Runs a training and a validation step on first batches; then checks the monitors. The layers' shapes.

    Parameters, buffers, attributes, metrics and generators are as before. Loaders that cannot be started anew are left
    alone.
    """
    shapes: Shapes = {}
    known: list[str] = []
    plan = [("train", t.train_loader, "the training loader")]
    plan += [("validate", loader, "the validation loader") for loader in t.val_loaders[:1] if any(t.limits["val"])]
    complete = all(feed.restartable(loader) for _, loader, _ in plan)
    training = t.task.training
    with same_rng_after(), same_module_after(t.task), t.muted() as logged:
        for stage, loader, what in plan:
            if feed.restartable(loader):
                with _watched(t.task, shapes if stage == "train" else {}):
                    _step(t, stage, feed.first_batch(loader, what))
                known += logged[stage].names()
    t.task.train(training)
    for callback in t.callbacks:
        known += callback.metric_names(t)
    if complete and not _logs_in_hooks(t):
        check_monitors(t, known)
    return shapes


def _step(t: "Trainer", stage: str, batch: Any) -> None:
    with t.evaluating(stage, sanity=True):
        t.task.train(stage == "train")
        t.batch = batch = t.prepare(batch)
        if stage == "train":
            if t.task.automatic_optimization:
                loss_of(t.steps[stage](batch, 0), t.task)
            else:
                with same_training_after(t):
                    t.training_step(batch, 0)
        else:
            with no_grad():
                t.steps[stage](batch, 0, 0)
    t.task.train()


def _logs_in_hooks(t: "Trainer") -> bool:
    """Whether the task may log more than its steps do: then names are checked when a monitor first asks."""
    return any(getattr(t.task, f"on_{stage}_epoch_end", None) is not None and not _is_default(t.task, stage)
               for stage in ("train", "validation"))  # fmt: skip


def _is_default(task: Any, stage: str) -> bool:
    return getattr(getattr(task, f"on_{stage}_epoch_end"), "is_default", False)


def check_monitors(t: "Trainer", known: list[str]) -> None:
    """ConfigError for a callback or schedule that waits for a metric which nobody will log."""
    wanted = [
        (type(callback).__name__ if callback.config_key is None else callback.config_key, argument, name)
        for callback in t.callbacks
        for argument, names in callback.monitors().items()
        for name in ([names] if isinstance(names, str) else names)
    ]
    stepped = t.schedules if t.task.automatic_optimization else []  # other tasks step theirs with what they like
    wanted += [("scheduler", "monitor", schedule.monitor) for schedule in stepped if schedule.monitor]
    for owner, argument, name in wanted:
        if name not in known:
            raise ConfigError(_unknown(t, ".".join(filter(None, (owner, argument))), name, known))
    for callback in t.callbacks:
        if isinstance(callback, Monitor):
            callback.check_mode()


def check_schedules(t: "Trainer") -> None:
    """ConfigError for a schedule stepped by epochs whose monitor nobody has logged, now that everything was heard once.

    Before training this cannot be said of a task whose hooks log too.
    """
    if not t.task.automatic_optimization:
        return
    if t.val_loaders and any(t.limits["val"]) and not t.logged["validate"].entries:
        return
    known = [*t.callback_metrics, *(name for logged in t.logged.values() for name in logged.names())]
    for schedule in t.schedules:
        if schedule.monitor and schedule.strict and schedule.interval == "epoch" and schedule.monitor not in known:
            raise ConfigError(_unknown(t, "scheduler.monitor", schedule.monitor, known))


def _unknown(t: "Trainer", key: str, name: str, known: list[str]) -> str:
    names = f"Metrics: {', '.join(sorted(set(known))) or 'none'}."
    if name.startswith("val/") and not any(other.startswith("val/") for other in known):
        why = (
            f"there is no validation, so {name!r} will never be known. Give validation data, or monitor something else."
        )
        return f"{t.where(key)}{key}={name}: {why}\n  {names}"
    return f"{t.where(key)}{key}={name}: no such metric will be logged.{did_you_mean(name, known)}\n  {names}"


@contextmanager
def _watched(model: Module, shapes: Shapes) -> Iterator[None]:
    """Notes the shapes that go into and come out of each module."""
    handles = []
    for name, module in model.named_modules():

        def note(_: Module, inputs: Any, output: Any, name: str = name) -> None:
            shapes.setdefault(name, (shape_of(inputs), shape_of(output)))

        handles.append(module.register_forward_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def shape_of(value: Any) -> Any:
    """The shape of a tensor, or those of the tensors in a list; None for anything else."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, list | tuple):
        found = [shape_of(part) for part in value]
        return found[0] if len(found) == 1 else found
    return None
