"""StochasticWeightAveraging: the mean of the weights of the last epochs, at a high constant learning rate."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Literal

from expkit.averaging import SWALR, update_bn
from expkit.errors import ConfigError
from expkit.nn.module import Module
from expkit.registry import register
from expkit.trainer import feed
from expkit.trainer.callbacks.weight_averaging import AvgFn, WeightAveraging
from expkit.trainer.console import say
from expkit.trainer.optimizers import Schedule
from expkit.trainer.state import same_rng_after


@register("callback", "stochastic_weight_averaging")
class StochasticWeightAveraging(WeightAveraging):
    """SWA: from `swa_epoch_start` on, the learning rate goes to `swa_lrs`, and the weights with which epochs end are
    averaged, equally weighted.   Izmailov et al., arXiv:1803.05407.

    After the last batch of the last epoch the task gets the averaged weights, and the statistics of batch norms are
    computed anew over the training data: the last validation and the last checkpoint are of these. Where training ends
    otherwise (max_steps, early stopping), the same happens after it.
    swa_lrs: a number, or one for each parameter group. swa_epoch_start: a share of max_epochs, or an epoch, from 1.
    annealing_epochs, annealing_strategy ("cos" or "linear"): how the learning rate gets there. avg_fn: another mean.
    """

    def __init__(
        self,
        swa_lrs: float | list[float],
        swa_epoch_start: int | float = 0.8,
        annealing_epochs: int = 10,
        annealing_strategy: Literal["cos", "linear"] = "cos",
        avg_fn: AvgFn | None = None,
        device: str | None = None,
    ) -> None:
        super().__init__(device, use_buffers=False, avg_fn=avg_fn)
        rates = swa_lrs if isinstance(swa_lrs, list) else [swa_lrs]
        start, kind = swa_epoch_start, annealing_strategy
        checks = (
            (bool(rates) and all(rate > 0 for rate in rates), f"swa_lrs={swa_lrs}", "numbers above 0"),
            (_is_start(start), f"swa_epoch_start={start}", "a share from 0.0 to 1.0, or an epoch from 1"),
            (annealing_epochs >= 0, f"annealing_epochs={annealing_epochs}", "0 or above"),
            (kind in ("cos", "linear"), f"annealing_strategy={kind!r}", "'cos' or 'linear'"),
        )
        for legal, given, wanted in checks:
            if not legal:
                raise ConfigError(f"StochasticWeightAveraging: {given}: expected {wanted}.")
        self.swa_lrs, self.swa_epoch_start = swa_lrs, swa_epoch_start
        self.annealing: dict[str, Any] = {"anneal_epochs": annealing_epochs, "anneal_strategy": annealing_strategy}
        self.started = self._complete = False

    def first_epoch(self, trainer: Any) -> int:
        """The first epoch (from 0) that is averaged. ConfigError for a share of unknown epochs."""
        start = self.swa_epoch_start
        if isinstance(start, float):
            if trainer.max_epochs in (None, -1):
                raise ConfigError(
                    f"StochasticWeightAveraging: swa_epoch_start={start} is a share of max_epochs, which is not set: "
                    "give trainer.max_epochs, or an epoch."
                )
            start = int(trainer.max_epochs * start)
        return max(start - 1, 0)

    # ---- the learning rate

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        super().setup(trainer, task, stage)
        if stage == "fit":
            self.started = self._complete = False

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        if not task.automatic_optimization:
            raise ConfigError(
                f"StochasticWeightAveraging does not go with {type(task).__name__}, which makes its steps itself "
                "(automatic_optimization = False). Average by hand: ek.optim.swa_utils.AveragedModel, SWALR, update_bn."
            )
        if len(trainer.optimizers) != 1:
            raise ConfigError("StochasticWeightAveraging goes with one optimizer, whose learning rate it sets.")
        groups = len(trainer.optimizer.param_groups)
        if isinstance(self.swa_lrs, list) and len(self.swa_lrs) != groups:
            raise ConfigError(
                f"StochasticWeightAveraging: swa_lrs={self.swa_lrs} has {len(self.swa_lrs)} numbers for {groups} "
                "parameter groups: give one number, or one for each."
            )
        if not feed.restartable(trainer.train_loader):
            raise ConfigError(
                "StochasticWeightAveraging goes through the training data once more at the end, which a "
                f"{type(trainer.train_loader).__name__} does not allow: give a loader that can begin anew."
            )
        self.first_epoch(trainer)

    def on_train_start(self, trainer: Any, task: Any) -> None:
        if self._complete and trainer.progress.unfinished:  # resumed in the last validation, which saw the average
            self.swap()

    def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
        if self.swapped:  # there are more epochs now
            self.swap()
        if not self.started and trainer.current_epoch >= self.first_epoch(trainer):
            self._start(trainer)

    def _start(self, trainer: Any) -> None:
        before = ", ".join(type(schedule.scheduler).__name__ for schedule in trainer.schedules)
        if before:
            say(f"SWALR takes the place of {before}.")
        trainer.schedules = [Schedule(SWALR(trainer.optimizer, self.swa_lrs, **self.annealing))]
        self.started = True

    # ---- the weights

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return self.started and epoch_idx is not None

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.progress.last:
            self._complete = False
            self.on_train_epoch_end(trainer, task)  # before the epoch's validation
            if trainer.current_epoch + 1 == trainer.max_epochs:
                self._put_in(trainer, task)

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        """Statistics of batch norms do not fit averages before the end: validations see the weights of training."""

    on_validation_end = on_validation_start

    def on_train_end(self, trainer: Any, task: Any) -> None:
        if self.begun and not self.swapped:
            self._put_in(trainer, task)
            for callback in trainer.checkpoint_callbacks:
                callback.weights_changed()

    def _put_in(self, trainer: Any, task: Any) -> None:
        if not self.begun:
            return
        self.swap()
        if not self._complete:  # otherwise they were restored with their statistics
            _estimate_statistics(trainer, task)
            self._complete = True
        say(f"the model has the average of the weights of {int(self.average.n_averaged.item())} epochs.")

    # ---- checkpoints

    def on_save_checkpoint(self, trainer: Any, task: Any, checkpoint: dict[str, Any]) -> None:
        """Before the end, a checkpoint's weights are those of training, as validations are."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "started": self.started, "complete": self._complete}

    def on_load_checkpoint(self, trainer: Any, task: Any, checkpoint: dict[str, Any]) -> None:
        if checkpoint["callbacks"].get(self.state_key, {}).get("started"):
            self._start(trainer)  # the schedule whose state follows

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.started, self._complete = state_dict["started"], state_dict["complete"]
        super().load_state_dict({name: x for name, x in state_dict.items() if name not in ("started", "complete")})


class _Step(Module):
    """A task as update_bn wants it: called with a batch."""

    def __init__(self, task: Module, step: Callable[[Any, int], Any]) -> None:
        super().__init__()
        self.task, self.step = task, step

    def forward(self, batch: Any) -> None:
        self.step(batch, 0)


def _estimate_statistics(trainer: Any, task: Module) -> None:
    """The running statistics of batch norms anew, from training steps without gradients; nothing else changes."""

    def batches() -> Iterator[list[Any]]:
        for batch in islice(trainer.train_loader, trainer.num_training_batches):
            trainer.batch = trainer.prepare(batch)
            yield [trainer.batch]

    modes, batch = [(module, module.training) for module in task.modules()], trainer.batch
    with same_rng_after(), trainer.muted():
        update_bn(batches(), _Step(task, trainer.steps["train"]))
    trainer.batch = batch
    for module, training in modes:
        module.training = training


def _is_start(value: int | float) -> bool:
    return 0.0 <= value <= 1.0 if isinstance(value, float) else value >= 1
