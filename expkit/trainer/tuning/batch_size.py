"""The largest batch size that works: bounded by the plan of memory, verified by real steps."""

import copy
import gc
from collections.abc import Callable
from typing import Any, Literal

from expkit.autograd.handle import aval_of
from expkit.autograd.mode import open_trace
from expkit.data import DataLoader
from expkit.errors import ConfigError, TraceError
from expkit.tensor.devices import xp_for
from expkit.trainer.console import say
from expkit.trainer.planning.compiled import CompiledStage
from expkit.trainer.planning.memory import TrainingMemory
from expkit.trainer.planning.plan import compiles, free_memory, largest_batch, settings_of
from expkit.trainer.planning.stage import Stage
from expkit.trainer.task import Task
from expkit.trainer.trainer import Trainer
from expkit.trainer.tuning import trials

Mode = Literal["power", "binsearch"]
SHARE = 0.85  # of the free memory: plans are right within 15 percent
TWO = 2  # samples: of one, batch norms have no statistics


def search(works: Callable[[int], bool], mode: Mode, init_val: int, max_trials: int, most: int) -> int | None:
    """The largest size up to `most` that works; None where not even `init_val` does.

    power: doubles until one does not work, or `most` does. binsearch: then halves the distance between what works and
    what does not. At most max_trials sizes are tried.
    """
    low, high, size = 0, most + 1, min(init_val, most)
    for _ in range(max_trials):
        if works(size):
            low = size
        else:
            high = size
            if mode == "power":
                break
        if high - low <= 1:
            break
        size = min(2 * low, most) if high > most else (low + high) // 2
    return low or None


def checked(mode: Mode, steps_per_trial: int, init_val: int, max_trials: int, max_val: int | None) -> None:
    """ConfigError for arguments that cannot be."""
    checks = (
        (mode in ("power", "binsearch"), f"mode={mode!r}", "'power' or 'binsearch'"),
        (steps_per_trial >= 1, f"steps_per_trial={steps_per_trial}", "at least 1"),
        (init_val >= 1, f"init_val={init_val}", "at least 1"),
        (max_trials >= 1, f"max_trials={max_trials}", "at least 1"),
        (max_val is None or max_val >= init_val, f"max_val={max_val}", f"at least init_val={init_val}"),
    )
    for legal, given, wanted in checks:
        if not legal:
            raise ConfigError(f"scale_batch_size: {given}: expected {wanted}.")


def find(
    trainer: Trainer, task: Task, make_loader: Callable[[int], Any], *, mode: Mode, steps_per_trial: int, init_val: int,
    max_trials: int, max_val: int | None,
) -> int:  # fmt: skip
    """The largest batch size; task and generators are afterwards as before. MemoryError where init_val is too much."""
    checked(mode, steps_per_trial, init_val, max_trials, max_val)
    dataset = make_loader(init_val).dataset
    most = len(dataset) if max_val is None else min(max_val, len(dataset))
    planned = planned_most(trainer, task, dataset, most)
    if planned is not None and planned < most:
        say(f"batch size: the memory that is free suffices for {planned} samples, as planned.")
        most = max(planned, min(init_val, most))

    def works(size: int) -> bool:
        try:
            trials.run(trainer, task, make_loader(size), steps_per_trial)
        except MemoryError:
            _give_back(trainer.device)
            say(f"batch size {size}: out of memory.")
            return False
        say(f"batch size {size} works.")
        return True

    found = search(works, mode, init_val, max_trials, most)
    if found is None:
        raise MemoryError(f"not even a batch of {init_val} samples fits into memory: lower init_val, or the model.")
    return found


def _give_back(device: Any) -> None:
    """Frees what a failed trial has left."""
    gc.collect()
    if device.type == "cuda":
        xp_for(device).get_default_memory_pool().free_all_blocks()


def with_batch_size(loader: Any, size: int) -> DataLoader:
    """A DataLoader like this one, with another batch size. ConfigError for other loaders."""
    if not isinstance(loader, DataLoader) or loader.batch_size is None:
        raise ConfigError(
            f"the batch size of {type(loader).__name__} cannot be changed: give a DataLoader without a batch_sampler, "
            "or a datamodule with a batch_size."
        )
    return DataLoader(loader.dataset, size, sampler=loader.sampler, collate_fn=loader.collate_fn,
                      drop_last=loader.drop_last, generator=loader.generator)  # fmt: skip


def planned_most(trainer: Trainer, task: Task, dataset: Any, most: int) -> int | None:
    """The largest batch, up to `most`, that fits into free memory by the plan; None where there can be no plan."""
    settings, sample = settings_of(trainer), dataset[0]

    def build() -> Task:
        return _without_memory(task)

    try:
        stage = Stage(build, settings)
        memory = TrainingMemory(stage, lambda: CompiledStage(build, settings), sample, compiles(trainer))
        peak = memory.largest(memory.steps(TWO)).peak
        found = largest_batch(memory, sample, TWO, peak, int(SHARE * _free(trainer.device)), most)
    except (TraceError, ConfigError, MemoryError) as error:
        say(f"batch size: the memory of {type(task).__name__} cannot be planned ({error!r:.200}).")
        return None
    return 1 if found is None else found


def _free(device: Any) -> int:
    """Bytes that are free where training runs."""
    if device.type != "cuda":
        return free_memory()
    xp = xp_for(device)
    return int(xp.cuda.runtime.memGetInfo()[0] + xp.get_default_memory_pool().free_bytes())


def _without_memory(task: Task) -> Task:
    """A copy of a task, made in an abstract trace, whose tensors have a shape and nothing behind it."""
    trainer, trace = task.__dict__["_trainer"], open_trace()
    made: Task = copy.deepcopy(task, {} if trainer is None else {id(trainer): None})
    for x in (*made.parameters(), *made.buffers()):
        x.raw, x.grad = trace.make(aval_of(x.raw)), None
    return made
