"""Tuner: Lightning's, for a learning rate and a batch size."""

from collections.abc import Callable
from typing import Any

from expkit.errors import ConfigError
from expkit.nn.module import Module
from expkit.trainer import feed
from expkit.trainer.console import say
from expkit.trainer.trainer import Trainer
from expkit.trainer.tuning import batch_size, learning_rate
from expkit.trainer.tuning.learning_rate import LRFinder

RATES = ("lr", "learning_rate")


class Tuner:
    """Short trials with the settings of `trainer`; task, generators and data are afterwards as if there were none."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def lr_find(
        self, model: Module, train_dataloaders: Any = None, val_dataloaders: Any = None, datamodule: Any = None,
        min_lr: float = 1e-8, max_lr: float = 1.0, num_training: int = 100, mode: learning_rate.Mode = "exponential",
        early_stop_threshold: float | None = 4.0, update_attr: bool = True, attr_name: str = "",
    ) -> LRFinder:  # fmt: skip
        """Trains with a learning rate that grows from min_lr to max_lr in num_training steps; see LRFinder.

        early_stop_threshold: it ends where the loss is so many times the lowest one; None: it does not.
        update_attr: sets the task's attribute `attr_name` (default: `lr` or `learning_rate`, where it has one), from
        which configure_optimizers will take it. Validation data is not needed.
        """
        found = LRFinder(mode, min_lr, max_lr, num_training)
        loader = _loader(model, train_dataloaders, datamodule)
        task = self._trainer._as_task(model, loader)
        name = attribute(task, attr_name) if update_attr else None
        learning_rate.find(self._trainer, task, loader, found, early_stop_threshold)
        rate = found.suggestion()
        if rate is None:
            say("lr_find: no suggestion: too few losses. Take more steps, or a lower max_lr.")
        elif name is not None:
            setattr(task, name, rate)
        return found

    def scale_batch_size(
        self, model: Module, train_dataloaders: Any = None, val_dataloaders: Any = None, datamodule: Any = None,
        mode: batch_size.Mode = "power", steps_per_trial: int = 3, init_val: int = 2, max_trials: int = 25,
        batch_arg_name: str = "batch_size", max_val: int | None = None,
    ) -> int:  # fmt: skip
        """The largest batch size with which steps_per_trial steps work; set as datamodule.<batch_arg_name>.

        mode: "power" doubles from init_val on, "binsearch" looks further between what worked and what did not. No more
        than the memory that is planned, than all samples, than max_val. Of a loader that was given, copies are tried.
        """
        loader = _loader(model, train_dataloaders, datamodule)
        task = self._trainer._as_task(model, loader)
        make: Callable[[int], Any] = lambda size: batch_size.with_batch_size(loader, size)  # noqa: E731
        before = None
        if datamodule is not None:
            if not hasattr(datamodule, batch_arg_name):
                raise ConfigError(
                    f"scale_batch_size: {type(datamodule).__name__} has no {batch_arg_name!r}: say with batch_arg_name "
                    "which attribute its train_dataloader() takes the batch size from."
                )
            before = getattr(datamodule, batch_arg_name)

            def make(size: int) -> Any:
                setattr(datamodule, batch_arg_name, size)
                return datamodule.train_dataloader()

        try:
            before = batch_size.find(
                self._trainer, task, make, mode=mode, steps_per_trial=steps_per_trial, init_val=init_val,
                max_trials=max_trials, max_val=max_val,
            )  # fmt: skip
        finally:
            if datamodule is not None:
                setattr(datamodule, batch_arg_name, before)
        return before


def attribute(task: Any, name: str) -> str | None:
    """The attribute of a task that is its learning rate; None where it has none. ConfigError for one that was named."""
    if name and not hasattr(task, name):
        raise ConfigError(f"lr_find: attr_name={name!r}: {type(task).__name__} has no such attribute.")
    return name or next((one for one in RATES if hasattr(task, one)), None)


def _loader(model: Any, train: Any, datamodule: Any) -> Any:
    own = model if hasattr(model, "train_dataloader") else None
    source: Any = next((given for given in (datamodule, train, own) if given is not None), None)
    loaders = feed.as_loaders(source.train_dataloader() if hasattr(source, "train_dataloader") else source, "train")
    if len(loaders) != 1:
        raise ConfigError(f"tuning needs one training loader, got {len(loaders) or 'none'}.")
    return loaders[0]
