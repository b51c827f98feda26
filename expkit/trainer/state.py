"""Where training stands, and all state that a checkpoint holds: gathered and restored in one place."""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from expkit.autograd.outside import refill
from expkit.errors import CheckpointError
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor, get_rng_state, manual_seed, no_grad, set_rng_state
from expkit.trainer import hparams


@dataclass
class Progress:
    """How far training came; every count is of things that are over."""

    epoch: int = 0
    batch: int = 0  # batches of the epoch that runs
    global_step: int = 0  # optimizer steps
    batches: int = 0  # batches of all epochs
    #: A batch is done, and its validation or end of epoch is not: a resumed run does that first.
    unfinished: bool = False
    last: bool = False  # that batch was the last one of its epoch


def seed_everything(seed: int | None = None) -> int:
    """Seeds expkit's, NumPy's and Python's generators; a seed from the system's entropy for None. Returns the seed."""
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (user code may draw from the global one)
    random.seed(seed)
    return seed


def rng_state() -> dict[str, Any]:
    """The state of expkit's, NumPy's and Python's global generators."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    version, internal, normal = random.getstate()
    return {
        "expkit": list(get_rng_state()),
        "numpy": {"name": name, "keys": np.array(keys), "rest": [position, has_gauss, gauss]},
        "python": {"version": version, "internal": np.array(internal, np.uint64), "normal": normal},
    }


def set_rng(state: dict[str, Any]) -> None:
    """Continues from `rng_state()`."""
    set_rng_state(tuple(state["expkit"]))
    ours, pythons = state["numpy"], state["python"]
    np.random.set_state((ours["name"], ours["keys"], *ours["rest"]))  # noqa: NPY002
    random.setstate((pythons["version"], tuple(int(n) for n in pythons["internal"]), pythons["normal"]))


@contextmanager
def same_rng_after() -> Iterator[None]:
    """What draws random numbers within it leaves no trace in the generators."""
    before = rng_state()
    try:
        yield
    finally:
        set_rng(before)


@contextmanager
def same_module_after(module: Module) -> Iterator[None]:
    """What steps within it leave in a module does not stay: in buffers, and in attributes (counters, lists of outputs).

    Parameters and submodules that they make do (those of lazy modules), and what is inside of other objects.
    """
    before = [(one, type(one), _attributes(one)) for one in module.modules()]
    try:
        yield
    finally:
        for one, kind, (attributes, held) in before:
            if type(one) is not kind:  # a lazy one, which is made now
                continue
            refill(vars(one), attributes)
            with no_grad():
                for thing, content in held:
                    thing.copy_(content) if isinstance(thing, Tensor) else refill(thing, content)


GROWING = ("_parameters", "_modules")  # tables of a module whose new entries stay


def _attributes(module: Module) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
    """A module's attributes, and what in them may change, with its content now."""
    attributes, seen = dict(vars(module)), set[int]()
    return attributes, [pair for name, x in attributes.items() if name not in GROWING for pair in _held(x, seen)]


def _held(value: Any, seen: set[int]) -> Iterator[tuple[Any, Any]]:
    """The containers and tensors in a value, each with its content now."""
    if isinstance(value, Parameter) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value, value.detach().clone()
    elif isinstance(value, list | dict | set | deque):
        yield value, copy(value)
    if isinstance(value, list | tuple | dict | deque):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _held(child, seen)


@contextmanager
def same_training_after(t: Any) -> Iterator[None]:
    """Optimizer steps within it, and what schedules and the loss scaling made of them, are undone."""
    params = [(p, p.detach().clone(), p.grad, p.requires_grad) for p in t.task.parameters()]
    states = [(optimizer, deepcopy(optimizer.state_dict()), optimizer.stepped) for optimizer in t.optimizers]
    others = [*(schedule.scheduler for schedule in t.schedules), *([t.scaler] if t.scaler is not None else [])]
    kept = [(other, deepcopy(other.state_dict())) for other in others]
    steps = t.progress.global_step
    try:
        yield
    finally:
        with no_grad():
            for p, value, grad, wanted in params:
                p.copy_(value)
                p.grad = grad
                p.requires_grad_(wanted)
        for optimizer, state, stepped in states:
            optimizer.state.clear()
            optimizer.stepped = stepped
            optimizer.load_state_dict(state)
        for other, state in kept:
            other.load_state_dict(state)
        t.progress.global_step = steps


def gather(trainer: Any, weights_only: bool = False) -> dict[str, Any]:
    """The checkpoint dictionary of a trainer that fits, or has fitted, at a step boundary.

    weights_only: of the weights, and what hooks add to them.
    """
    task = trainer.task
    checkpoint = {
        "epoch": trainer.progress.epoch,
        "global_step": trainer.progress.global_step,
        "state_dict": dict(task.checkpoint_weights()),
        "task": type(task).__name__,
        hparams.KEY: dict(task.hparams),
        **({} if weights_only else _resumable(trainer)),
    }
    trainer.call("on_save_checkpoint", checkpoint)
    return checkpoint


def _resumable(trainer: Any) -> dict[str, Any]:
    """What a run needs, besides the weights, to go on exactly."""
    task = trainer.task
    checkpoint = {
        "progress": asdict(trainer.progress),
        "callbacks": {callback.state_key: callback.state_dict() for callback in trainer.callbacks},
        "logged": trainer.logged["train"].state_dict(),
        "logged_metrics": _logged_metrics(trainer),
        "metrics": {name: metric.state_dict() for name, metric in task.named_metrics()},
        "callback_metrics": dict(trainer.epoch_metrics),
        "rng": rng_state(),
        "elapsed": trainer.elapsed(),
    }
    if trainer.optimizers or trainer.fitting:
        checkpoint["optimizers"] = [optimizer.state_dict() for optimizer in trainer.optimizers]
        checkpoint["optimizer_names"] = _names(trainer.optimizers)
        checkpoint["schedulers"] = [schedule.scheduler.state_dict() for schedule in trainer.schedules]
        checkpoint["scheduler_names"] = _names(schedule.scheduler for schedule in trainer.schedules)
        checkpoint["scaler"] = None if trainer.scaler is None else trainer.scaler.state_dict()
    return checkpoint


def _names(things: Iterable[Any]) -> list[str]:
    return [type(thing).__name__ for thing in things]


def _logged_metrics(trainer: Any) -> dict[str, str]:
    """Logged name -> path of the Metric behind it."""
    paths = {id(metric): path for path, metric in trainer.task.named_metrics()}
    entries = trainer.logged["train"].entries
    return {name: paths[id(entry.metric)] for name, entry in entries.items() if id(entry.metric) in paths}


NEEDED = (
    "progress", "callbacks", "logged", "logged_metrics", "metrics", "callback_metrics", "rng", "optimizers",
    "schedulers",
)  # fmt: skip


def restore(trainer: Any, checkpoint: dict[str, Any], path: Any) -> None:
    """Puts a trainer that is about to fit where `checkpoint` was taken. CheckpointError when it does not fit.

    The generators come last: restoring must not use up random numbers.
    """
    missing = [key for key in NEEDED if key not in checkpoint]
    if missing:
        raise CheckpointError(f"{path} cannot be resumed: it lacks {', '.join(missing)}. It may still be tested.")
    trainer.call("on_load_checkpoint", checkpoint)
    trainer.task.load_checkpoint_weights(checkpoint["state_dict"])
    _restore_optimizer(trainer, checkpoint)
    for callback in trainer.callbacks:
        if callback.state_key in checkpoint["callbacks"]:
            callback.load_state_dict(checkpoint["callbacks"][callback.state_key])
    metrics = dict(trainer.task.named_metrics())
    for name, state in checkpoint["metrics"].items():
        if name in metrics:
            metrics[name].load_state_dict(state)
    trainer.logged["train"].load_state_dict(checkpoint["logged"])
    for name, path in checkpoint["logged_metrics"].items():
        trainer.logged["train"].entries[name].metric = metrics.get(path)
    trainer.epoch_metrics.update(checkpoint["callback_metrics"])
    trainer.progress = Progress(**checkpoint["progress"])
    trainer.elapsed_before = checkpoint.get("elapsed", 0.0)
    set_rng(checkpoint["rng"])


def _listing(names: list[str] | None) -> str:
    return ", ".join(names or ["none"])


def _restore_optimizer(trainer: Any, checkpoint: dict[str, Any]) -> None:
    schedulers = _names(schedule.scheduler for schedule in trainer.schedules)
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("optimizer", _listing(checkpoint.get("optimizer_names")), _listing(_names(trainer.optimizers))),
        ("scheduler", _listing(checkpoint.get("scheduler_names")), _listing(schedulers)),
        ("loss scaling", checkpoint.get("scaler") is not None, trainer.scaler is not None),
    )
    for what, then, now in pairs:
        if then != now:
            raise CheckpointError(
                f"the checkpoint was made with {what} {then}, this run has {now}: it cannot go on exactly. "
                f"Choose the same {what}, or start a new run."
            )
    for optimizer, state in zip(trainer.optimizers, checkpoint["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    if trainer.scaler is not None and checkpoint.get("scaler"):
        trainer.scaler.load_state_dict(checkpoint["scaler"])
    for schedule, state in zip(trainer.schedules, checkpoint["schedulers"], strict=True):
        schedule.scheduler.load_state_dict(state)
