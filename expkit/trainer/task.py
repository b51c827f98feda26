"""Task: a model together with its loss, its optimizer and what it logs, as Lightning's LightningModule.

class Mine(Task):
    def training_step(self, batch, batch_idx): ... return loss
    def configure_optimizers(self): return ek.optim.Adam(self.parameters())
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from expkit import tree
from expkit.errors import ConfigError, HookError
from expkit.nn.module import Module
from expkit.tensor import Tensor
from expkit.trainer.deferred import refuse_traced
from expkit.trainer.hooks import HOOKS, default, taking
from expkit.trainer.metrics import Metric


class Task(Module):
    """What a Trainer trains. Write training_step and configure_optimizers; the other steps as needed.

    training_step returns the loss, a dict with "loss", or None to skip the batch. Hooks (trainer/hooks.py) may be
    written as methods, without the arguments trainer and task.
    """

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["_trainer"] = None  # a Trainer is no part of the module tree

    @property
    def trainer(self) -> Any:
        """The Trainer that runs this task. ConfigError where there is none."""
        refuse_traced("self.trainer", "what is read there may be another at the next step: take it in a hook before")
        return self._attached()

    def _attached(self) -> Any:
        if self.__dict__.get("_trainer") is None:
            raise ConfigError(
                f"{type(self).__name__} is not attached to a Trainer: call Trainer(...).fit(task, ...) first."
            )
        return self.__dict__["_trainer"]

    @property
    def current_epoch(self) -> int:
        """The epoch that runs, from 0."""
        return self._attached().known_epoch()

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        refuse_traced("self.global_step", "it is another number at each step, so no program can stand for it")
        return self._attached().global_step

    @property
    def logger(self) -> Any:
        """The Trainer's (first) logger."""
        return self.trainer.logger

    @property
    def device(self) -> Any:
        """Where the parameters are."""
        first = next(iter(self.parameters()), None)
        return self._attached().device if first is None else first.device

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """The loss of a batch. Must be written for `fit`."""
        raise self._not_written("training_step")

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Logs what is known of a validation batch."""
        raise self._not_written("validation_step")

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """Logs what is known of a test batch."""
        raise self._not_written("test_step")

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """What `predict` collects: the model's output for the inputs of a batch."""
        return self(batch[0] if isinstance(batch, list | tuple) else batch)

    def configure_optimizers(self) -> Any:
        """An optimizer, ([optimizer], [schedulers]), or {"optimizer": ..., "lr_scheduler": ...}. Needed for `fit`."""
        raise self._not_written("configure_optimizers")

    def _not_written(self, method: str) -> HookError:
        return HookError(f"{type(self).__name__} has no {method}: write `def {method}(self, ...)`.")

    def log(self, name: str, value: Any, *, prog_bar: bool = False, logger: bool = True, on_step: bool | None = None,
            on_epoch: bool | None = None, reduce_fx: str = "mean", batch_size: int | None = None,
            sync_dist: bool = False, rank_zero_only: bool = False) -> None:  # fmt: skip
        """Logs a number, 0-d tensor or Metric; by default each step in training and each epoch elsewhere.

        Over an epoch values are reduced by `reduce_fx` (mean, sum, min, max), a mean weighted by the batch size.
        sync_dist and rank_zero_only make no difference: there is one process.
        """
        self._attached().take_log(name, value, prog_bar=prog_bar, logger=logger, on_step=on_step, on_epoch=on_epoch,
                              reduce_fx=reduce_fx, batch_size=batch_size)  # fmt: skip

    def log_dict(self, values: Mapping[str, Any], **how: Any) -> None:
        """`log` for each entry."""
        for name, value in values.items():
            self.log(name, value, **how)

    def named_metrics(self) -> Iterator[tuple[str, Metric]]:
        """(path, metric) of the Metrics among the attributes, also in lists and dicts: a checkpoint keeps them."""
        for name, value in list(vars(self).items()):
            if isinstance(value, Metric | dict | list | tuple) and not name.startswith("_"):
                for path, leaf in tree.items(value, name):
                    if isinstance(leaf, Metric):
                        yield path, leaf

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """What a checkpoint keeps as the weights (model.safetensors)."""
        return self.state_dict()

    def load_checkpoint_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over what `checkpoint_weights` gave. CheckpointError names what does not fit."""
        self.load_state_dict(weights)


for _name in HOOKS:
    setattr(Task, _name, default(_name, ()))


def flexible(method: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """`method` callable with all of `names`, of which it may take the first few. HookError when it takes others."""
    signature = inspect.signature(method)
    for count in range(len(names), 0, -1):
        try:
            signature.bind(*names[:count])
        except TypeError:
            continue
        return method if count == len(names) else taking(method, count)
    owner = type(getattr(method, "__self__", None)).__name__
    raise HookError(f"{owner}.{method.__name__}{signature} is called as {method.__name__}({', '.join(names)}).")


def loss_of(outputs: Any, task: Task) -> Tensor | None:
    """The loss in what training_step returned; None = skip the batch. HookError for anything else."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if loss is None and not isinstance(outputs, Mapping):
        return None
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{type(loss).__name__}"
        raise HookError(
            f"{type(task).__name__}.training_step returned {got} as its loss; expected a scalar tensor, a dict with "
            "'loss', or None to skip the batch."
        )
    return loss
