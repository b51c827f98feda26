"""LearningRateFinder and BatchSizeFinder: the Tuner's trials at the beginning of training."""

from typing import Any

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer import optimizers
from expkit.trainer.callbacks import Callback
from expkit.trainer.console import say
from expkit.trainer.tuning import batch_size, learning_rate
from expkit.trainer.tuning.learning_rate import LRFinder
from expkit.trainer.tuning.tuner import attribute


@register("callback", "learning_rate_finder")
class LearningRateFinder(Callback):
    """Tests learning rates before training (see Tuner.lr_find) and trains with the one that is suggested.

    It takes the place of the optimizer's: that of the first parameter group, the others in proportion; schedules start
    from it. A task with an attribute `lr` or `learning_rate` (or `attr_name`) gets it there instead, and configures its
    optimizers anew. update_attr: False only says it. `optimal_lr` has the results, which are logged as artifacts
    lr_find.png and lr_find.json. A resumed run looks for none.
    """

    def __init__(
        self,
        min_lr: float = 1e-8,
        max_lr: float = 1.0,
        num_training_steps: int = 100,
        mode: learning_rate.Mode = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> None:
        LRFinder(mode, min_lr, max_lr, num_training_steps)  # refuses wrong arguments
        self.range = (mode, min_lr, max_lr, num_training_steps)
        self.early_stop_threshold, self.update_attr, self.attr_name = early_stop_threshold, update_attr, attr_name
        self.optimal_lr: LRFinder | None = None

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        if trainer.fast_dev_run or trainer.progress.batches:
            return
        self.optimal_lr = learning_rate.find(
            trainer, task, trainer.train_loader, LRFinder(*self.range), self.early_stop_threshold
        )
        rate = self.optimal_lr.suggestion()
        self._log(trainer, self.optimal_lr)
        if rate is None:
            say("learning rate: no suggestion, the optimizer's is kept. Take more steps, or a lower max_lr.")
            return
        say(f"learning rate {rate:.3g} is suggested{' and taken' if self.update_attr else ''}.")
        if not self.update_attr:
            return
        name = attribute(task, self.attr_name)
        if name is None:
            learning_rate.set_rate(trainer, rate)
        else:
            setattr(task, name, rate)
            trainer.use_optimizers(*optimizers.of_task(task))

    def _log(self, trainer: Any, found: LRFinder) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "log_figure"):
                logger.log_figure(found.plot(), "lr_find.png")
                logger.log_dict({**found.results, "suggestion": found.suggestion()}, "lr_find.json")


@register("callback", "batch_size_finder")
class BatchSizeFinder(Callback):
    """Trains with the largest batch size that works (see Tuner.scale_batch_size); a resumed run keeps it.

    Schedules that count steps were made for the steps of the earlier size: they are refused.
    """

    def __init__(
        self,
        mode: batch_size.Mode = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        max_val: int | None = None,
    ) -> None:
        batch_size.checked(mode, steps_per_trial, init_val, max_trials, max_val)
        self.how: dict[str, Any] = {
            "mode": mode, "steps_per_trial": steps_per_trial, "init_val": init_val, "max_trials": max_trials,
            "max_val": max_val,
        }  # fmt: skip
        self.optimal_batch_size: int | None = None

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        if trainer.fast_dev_run:
            return
        if any(schedule.interval == "step" for schedule in trainer.schedules):
            raise ConfigError(
                "BatchSizeFinder: the schedule counts steps, whose number changes with the batch size: find the size "
                "first (Tuner.scale_batch_size), and set it."
            )
        loader = trainer.train_loader
        if self.optimal_batch_size is None:
            self.optimal_batch_size = batch_size.find(
                trainer, task, lambda size: batch_size.with_batch_size(loader, size), **self.how
            )
        trainer._connect_loaders(batch_size.with_batch_size(loader, self.optimal_batch_size), trainer.val_loaders)
        say(f"batch size {self.optimal_batch_size}: {trainer.num_training_batches} batches an epoch.")

    def state_dict(self) -> dict[str, Any]:
        return {"optimal_batch_size": self.optimal_batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.optimal_batch_size = state_dict["optimal_batch_size"]
