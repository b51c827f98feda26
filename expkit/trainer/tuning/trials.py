"""Trials: some steps of training after which everything is as it was before."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from expkit.data import DataLoader
from expkit.tensor import no_grad
from expkit.trainer.arguments import Arguments
from expkit.trainer.callbacks import Callback
from expkit.trainer.state import same_rng_after
from expkit.trainer.task import Task
from expkit.trainer.trainer import Trainer

#: What a trial takes over from the trainer that it is made for.
KEPT = (
    "accelerator", "strategy", "devices", "num_nodes", "precision", "accumulate_grad_batches", "gradient_clip_val",
    "gradient_clip_algorithm", "deterministic", "compile",
)  # fmt: skip
PLAIN = (bool, int, float, str, type(None))


def run(trainer: Trainer, task: Task, loader: Any, steps: int, *callbacks: Callback) -> None:
    """`steps` optimizer steps of `task`, by a trainer like this one that keeps and shows nothing.

    The task's own hooks are called as in any fit, the trainer's callbacks not. Weights, buffers, gradients, metrics,
    generators and plain attributes of the task are put back; a DataLoader stands where it stood.
    """
    own = {field.name: getattr(trainer, field.name) for field in fields(Arguments) if field.name in KEPT}
    own |= {f"enable_{what}": False for what in ("checkpointing", "progress_bar", "model_summary")}
    trial = Trainer(
        **own, logger=False, callbacks=list(callbacks), max_epochs=-1, max_steps=steps, num_sanity_val_steps=0,
        limit_train_batches=trainer.limit_train_batches,
    )  # fmt: skip
    if isinstance(loader, DataLoader):
        loader = copy.copy(loader)  # which pass comes next is for the loader itself to know
    with unchanged(task), same_rng_after():
        trial.fit(task, loader)


@contextmanager
def unchanged(task: Task) -> Iterator[None]:
    """A task that is trained within it is afterwards what it was."""
    tensors = [*task.parameters(), *task.buffers()]
    values = [(x, x.detach().clone(), x.grad, x.requires_grad) for x in tensors]
    metrics = [(metric, metric.state_dict()) for _, metric in task.named_metrics()]
    modes = [(module, module.training) for module in task.modules()]
    plain = {name: value for name, value in vars(task).items() if isinstance(value, PLAIN) or name == "_trainer"}
    try:
        yield
    finally:
        with no_grad():
            for x, value, grad, requires_grad in values:
                x.copy_(value.to(device=x.device, dtype=x.dtype))
                x.grad = grad
                if x.requires_grad != requires_grad:
                    x.requires_grad_(requires_grad)
        for metric, state in metrics:
            metric.load_state_dict(state)
        for module, training in modes:
            module.training = training
        vars(task).update(plain)
