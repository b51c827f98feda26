"""The training loop. Everything optional is a callback; these functions say only what happens, and in which order.

A checkpoint is written in `boundary` alone: there every callback has seen the step, and no gradient is half gathered.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from expkit.errors import CheckpointError, DataError
from expkit.tensor import no_grad
from expkit.trainer.logged import Logged
from expkit.trainer.rehearse import check_schedules
from expkit.trainer.signals import Interrupted, signals
from expkit.trainer.state import rng_state, set_rng

if TYPE_CHECKING:
    from expkit.trainer.trainer import Trainer

HOOK_STAGE = {"validate": "validation", "test": "test", "predict": "predict"}


def fit(t: "Trainer") -> None:
    """Epochs until one of the limits is reached or a callback stops it."""
    t.call("on_train_start")
    while not t.done():
        epoch(t)
    t.call("on_train_end")
    boundary(t, final=True)


def epoch(t: "Trainer") -> None:
    """What is left of the epoch that progress points at: all of it, or after a resume the rest."""
    progress = t.progress
    t.task.train()
    t.programs.begin_epoch()
    if progress.batch == 0:
        t.call("on_train_epoch_start")
    if progress.unfinished:
        finish_batch(t, progress.last)
        if progress.batch == 0 or t.done():
            return
    batches, total = t.train_batches(), t.num_training_batches
    if total is not None and progress.batch >= total:
        raise CheckpointError(
            f"the checkpoint was written after {progress.batch} batches of an epoch, which now has {total}. Go on with "
            "the same data, batch size and trainer.limit_train_batches, or begin a new run with its weights."
        )
    for batch, last in with_last(batches, progress.batch, total):
        last = train_batch(t, batch, last)
        finish_batch(t, last)
        if last or t.done():
            return
    raise DataError(
        f"the training loader gave no batch in epoch {progress.epoch}. A generator can be read only once: give "
        "something that starts anew with each epoch, such as a DataLoader, or set max_epochs=1."
    )


def train_batch(t: "Trainer", batch: Any, last: bool) -> bool:
    """Forward, backward and, when enough batches are gathered, an optimizer step. Whether the epoch ends with it."""
    progress, index, gather = t.progress, t.progress.batch, t.accumulate_grad_batches
    steps_before = progress.global_step
    t.batch = batch = t.prepare(batch)
    if t.asked("on_train_batch_start", batch, index):
        progress.unfinished = progress.last = True
        return True
    complete = last or (index + 1) % gather == 0
    outputs = t.training_step(batch, index, first=index % gather == 0, complete=complete)
    if complete and t.task.automatic_optimization:
        progress.global_step += 1
        t.step_schedules("step", progress.global_step)
    progress.batch += 1
    progress.batches += 1
    progress.unfinished, progress.last = True, last
    t.call("on_train_batch_end", outputs, batch, index)
    if complete:
        t.log_step(steps_before)
    return last


def finish_batch(t: "Trainer", last: bool) -> None:
    """What follows a batch: validation and the end of the epoch where they are due, then the boundary."""
    if t.validation_due(last) and evaluate(t, "validate", t.val_loaders, t.limits["val"]) is None:
        interrupt(t)
    if last:
        end_epoch(t)
    t.progress.unfinished = False
    boundary(t)


def end_epoch(t: "Trainer") -> None:
    """Hooks, the epoch's metrics, schedules; progress then points at the next epoch."""
    note_epoch(t, t.logged["train"])
    t.call("on_train_epoch_end", late=False)
    t.publish(t.logged["train"])
    check_schedules(t)
    t.call("on_train_epoch_end", late=True)
    t.step_schedules("epoch", t.progress.epoch + 1)
    t.progress.epoch += 1
    t.progress.batch = 0


def note_epoch(t: "Trainer", logged: Logged) -> None:
    """Makes the epoch's values known to the hooks at its end, which may still log more."""
    values = logged.epoch_values(forget=False)
    t.note_metrics({**values, **{f"{name}_epoch": values[name] for name in logged.names_of_both() & values.keys()}})


def boundary(t: "Trainer", final: bool = False) -> None:
    """Between two steps: due checkpoints are written, signals are obeyed."""
    if t.gathering():
        return  # half a step's gradients exist: a checkpoint here could not be resumed exactly
    t.commit_checkpoints(final)
    if signals.pending is not None:
        interrupt(t)


def interrupt(t: "Trainer") -> None:
    """Saves, and leaves the loop because of a signal."""
    assert signals.pending is not None
    signals.announce()
    raise Interrupted(signals.pending, saved=t.save_interrupted())


def evaluate(
    t: "Trainer", stage: str, loaders: list[Any], limit: list[int | None], *, sanity: bool = False
) -> dict[str, float] | None:
    """The metrics of one pass over `loaders`; None when a signal cut a validation short (it is run again on resume)."""
    name, logged, step = HOOK_STAGE[stage], t.logged[stage], t.evaluation[stage]
    training, generator = t.task.training, rng_state()
    known = dict(t.epoch_metrics), dict(t.metric_stamps)
    may_stop = t.fitting and not t.gathering()
    logged.forget()
    t.task.eval()
    with t.evaluating(stage, sanity), no_grad():
        t.call(f"on_{name}_start")
        t.call(f"on_{name}_epoch_start")
        for number, (loader, count) in enumerate(zip(loaders, limit, strict=True)):
            t.loader_index = number
            for index, batch in enumerate(islice(loader, count)):
                t.batch = batch = t.prepare(batch)
                t.call(f"on_{name}_batch_start", batch, index, number)
                outputs = step(batch, index, number)
                t.call(f"on_{name}_batch_end", outputs, batch, index, number)
                if may_stop and signals.pending is not None:
                    logged.forget()
                    set_rng(generator)
                    return None
        note_epoch(t, logged)
        t.call(f"on_{name}_epoch_end")
        values = t.publish(logged, log=not sanity)
        t.call(f"on_{name}_end")
        if sanity:  # its values were for the hooks only
            t.epoch_metrics, t.metric_stamps = known
    t.task.train(training)
    return values


def with_last(batches: Iterable[Any], start: int, total: int | None) -> Iterator[tuple[Any, bool]]:
    """(batch, whether it is the last one) of batches that are numbered from `start`.

    Only where their `total` is unknown is one batch read ahead: a data set that draws random numbers would otherwise
    have drawn those of the next batch before the step is over.
    """
    if total is None:
        iterator = iter(batches)
        for batch in iterator:
            for following in iterator:
                yield batch, False
                batch = following
            yield batch, True
        return
    number = start
    for number, batch in enumerate(islice(batches, total - start), start + 1):
        yield batch, number == total
    if number < total:
        raise DataError(f"the training loader promised {total} batches by its len(), but gave {number}.")
