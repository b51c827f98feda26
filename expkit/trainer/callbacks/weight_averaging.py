"""WeightAveraging and EMAWeightAveraging: the mean of the weights is what is validated, tested and kept."""

from collections.abc import Callable, Mapping
from typing import Any

from expkit.averaging import AveragedModel, get_ema_multi_avg_fn
from expkit.errors import CheckpointError, ConfigError
from expkit.nn.module import Module
from expkit.registry import register
from expkit.tensor import Tensor, no_grad
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.console import say

AvgFn = Callable[[Tensor, Tensor, Any], Tensor]
MultiAvgFn = Callable[[list[Tensor], list[Tensor], Any], None]


class Weights(Module):
    """The parameters and buffers of a model, each once, under numbers: what is averaged, and what is exchanged."""

    def __init__(self, model: Module) -> None:
        super().__init__()
        for number, parameter in enumerate(model.parameters()):
            self.register_parameter(f"parameter{number}", parameter)
        for number, buffer in enumerate(model.buffers()):
            self.register_buffer(f"buffer{number}", buffer)

    def take(self, values: Mapping[str, Tensor]) -> None:
        """Takes values over, by name. CheckpointError where they are those of another model."""
        mine, given = ({name: tuple(x.shape) for name, x in xs.items()} for xs in (self.state_dict(), values))
        if mine != given:
            raise CheckpointError("the averaged weights are another model's. Choose the model that they were made of.")
        self.load_state_dict(values)


@register("callback", "weight_averaging")
class WeightAveraging(Callback):
    """Averages the weights during training, as torch.optim.swa_utils.AveragedModel does.

    Validations within `fit` see the averaged weights, checkpoints hold them as the weights (and the others in this
    callback's state, so that resuming is exact), and after training the task has them. Until the first average there is
    nothing to exchange. device: where the average is kept (default: where the model is). use_buffers: average the
    buffers as well, else they are copied. avg_fn, multi_avg_fn: how to average; by default equally weighted.
    Write `should_update` to average more seldom.
    """

    def __init__(
        self,
        device: str | None = None,
        use_buffers: bool = True,
        avg_fn: AvgFn | None = None,
        multi_avg_fn: MultiAvgFn | None = None,
    ) -> None:
        self.how: dict[str, Any] = {"device": device, "use_buffers": use_buffers}
        self.how |= {"avg_fn": avg_fn, "multi_avg_fn": multi_avg_fn}
        self.swapped = False  # whether the task has the averaged weights, and `average` those of training
        self._latest_update_step, self._latest_update_epoch = 0, -1
        self._weights: Weights | None = None
        self._average: AveragedModel | None = None

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to average after optimizer step `step_idx`, or after epoch `epoch_idx` (the other is None)."""
        return step_idx is not None

    @property
    def weights(self) -> Weights:
        """Those of the task."""
        assert self._weights is not None
        return self._weights

    @property
    def average(self) -> AveragedModel:
        """The averaged ones; those of training while they are exchanged."""
        assert self._average is not None
        return self._average

    @property
    def begun(self) -> bool:
        """Whether anything was averaged."""
        return self._average is not None and bool(self._average.n_averaged.item())

    # ---- averaging

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        if stage == "fit":
            self._weights = Weights(task)
            self._average = AveragedModel(self._weights, **self.how)
            self.swapped, self._latest_update_step, self._latest_update_epoch = False, 0, -1

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step > self._latest_update_step and self.should_update(step_idx=step - 1):
            self.average.update_parameters(self.weights)
            self._latest_update_step = step

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        epoch = trainer.current_epoch
        if epoch > self._latest_update_epoch and self.should_update(epoch_idx=epoch):
            self.average.update_parameters(self.weights)
            self._latest_update_epoch = epoch

    # ---- exchanging

    def swap(self) -> None:
        """Exchanges the averaged weights and those of training."""
        with no_grad():
            theirs = [*self.average.module.parameters(), *self.average.module.buffers()]
            for mine, other in zip((*self.weights.parameters(), *self.weights.buffers()), theirs, strict=True):
                kept = mine.detach().clone()
                mine.copy_(other.detach().to(mine.device))
                other.copy_(kept.to(other.device))
        self.swapped = not self.swapped

    def on_validation_start(self, trainer: Any, task: Any) -> None:
        if trainer.fitting and self.begun:
            self.swap()

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        if trainer.fitting and self.swapped:
            self.swap()

    def on_train_end(self, trainer: Any, task: Any) -> None:
        if self.begun and not self.swapped:
            self.swap()
            say(f"the model has the average of the weights of {int(self.average.n_averaged.item())} updates.")

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        if trainer.fitting and self.swapped:  # it was raised in a validation
            self.swap()

    # ---- checkpoints

    def on_save_checkpoint(self, trainer: Any, task: Any, checkpoint: dict[str, Any]) -> None:
        if not self.begun or self.swapped:
            return
        self.swap()
        checkpoint["state_dict"] = {name: x.detach().clone() for name, x in task.checkpoint_weights().items()}
        self.swap()

    def state_dict(self) -> dict[str, Any]:
        if not self.begun:
            return {}
        both = dict(self.weights.state_dict()), dict(self.average.module.state_dict())
        return {
            "current": both[self.swapped],
            "average": both[not self.swapped],
            "n_averaged": int(self.average.n_averaged.item()),
            "latest_update_step": self._latest_update_step,
            "latest_update_epoch": self._latest_update_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not state_dict:
            return
        self.weights.take(state_dict["current"])
        self.average.module.take(state_dict["average"])
        with no_grad():
            self.average.n_averaged.fill_(state_dict["n_averaged"])
        self._latest_update_step = state_dict["latest_update_step"]
        self._latest_update_epoch = state_dict["latest_update_epoch"]


@register("callback", "ema_weight_averaging")
class EMAWeightAveraging(WeightAveraging):
    """An exponential moving average: average = decay * average + (1 - decay) * weights.

    update_every_n_steps: after each so many optimizer steps; update_starting_at_step: from this one on (from 0);
    update_starting_at_epoch: also at the end of each epoch from this one on. The rest as WeightAveraging.
    """

    def __init__(
        self,
        device: str | None = None,
        use_buffers: bool = True,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        update_starting_at_epoch: int | None = None,
    ) -> None:
        if not 0.0 <= decay <= 1.0:
            raise ConfigError(f"EMAWeightAveraging: decay={decay}: expected a number from 0 to 1.")
        if update_every_n_steps < 1:
            raise ConfigError(f"EMAWeightAveraging: update_every_n_steps={update_every_n_steps}: expected 1 or above.")
        super().__init__(device, use_buffers, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.decay, self.update_every_n_steps = decay, update_every_n_steps
        self.update_starting_at_step = update_starting_at_step
        self.update_starting_at_epoch = update_starting_at_epoch

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is not None:
            return step_idx >= (self.update_starting_at_step or 0) and step_idx % self.update_every_n_steps == 0
        first = self.update_starting_at_epoch
        return epoch_idx is not None and first is not None and epoch_idx >= first
