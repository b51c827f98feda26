"""Task: a model together with its loss, its optimizer and what it logs, as Lightning's LightningModule.

class Mine(Task):
    def training_step(self, batch, batch_idx): ... return loss
    def configure_optimizers(self): return ek.optim.Adam(self.parameters())

With `self.automatic_optimization = False` it makes its optimizer steps itself (trainer/manual.py).
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from expkit import tree
from expkit.errors import ConfigError, HookError
from expkit.nn.module import Module
from expkit.tensor import Tensor
from expkit.trainer.deferred import refuse_traced
from expkit.trainer.hooks import HOOKS, default, taking
from expkit.trainer.hparams import AttributeDict, load, save
from expkit.trainer.metrics import Metric


class Task(Module):
    """What a Trainer trains. Write training_step and configure_optimizers; the other steps as needed.

    training_step returns the loss, a dict with "loss", or None to skip the batch. Hooks (trainer/hooks.py) may be
    written as methods, without the arguments trainer and task.
    """

    #: Whether the trainer goes backward and makes the optimizer's steps. False: training_step does.
    automatic_optimization: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["_trainer"] = None  # a Trainer is no part of the module tree
        self.__dict__["_hparams"] = AttributeDict()

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
        """The Trainer's first logger; None where it has none."""
        return next(iter(self.loggers), None)

    @property
    def loggers(self) -> list[Any]:
        """The Trainer's loggers."""
        return self.trainer.loggers

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
        """An optimizer, ([optimizer], [schedulers]), or {"optimizer": ..., "lr_scheduler": ...}; several of them in a
        list where training_step makes the steps. Needed for `fit`."""
        raise self._not_written("configure_optimizers")

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """What becomes of a batch as it came from the loader; self.training tells in what stage."""
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """What becomes of a batch that is on the device, in the trainer's precision."""
        return batch

    # ---- making the steps oneself: trainer/manual.py

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimizer, or the list of them, whose step() is counted; use_pl_optimizer=False: the bare ones."""
        t = self._attached()
        found = t.manual_optimizers if use_pl_optimizer else t.optimizers
        return found[0] if len(found) == 1 else list(found)

    def lr_schedulers(self) -> Any:
        """The schedule, the list of them, or None: to be stepped where the trainer does not."""
        t = self._attached()
        plain = self.automatic_optimization
        found = [schedule.scheduler for schedule in t.schedules] if plain else t.training_step.schedulers()
        return found[0] if len(found) == 1 else found or None

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """loss.backward() of a task that makes its steps itself. NonFiniteError before, where the loss is."""
        self._manual("manual_backward").backward(loss, *args, **kwargs)

    def toggle_optimizer(self, optimizer: Any) -> None:
        """Until `untoggle_optimizer` only the parameters of this optimizer want gradients."""
        self._wrapped(optimizer).toggle()

    def untoggle_optimizer(self, optimizer: Any) -> None:
        """Undoes `toggle_optimizer`."""
        self._wrapped(optimizer).untoggle()

    def clip_gradients(self, optimizer: Any, gradient_clip_val: float | None = None,
                       gradient_clip_algorithm: str | None = None) -> None:  # fmt: skip
        """Clips the gradients of an optimizer's parameters: by their common "norm", or each "value"."""
        algorithm = gradient_clip_algorithm or "norm"
        if algorithm not in ("norm", "value"):
            raise ConfigError(f"clip_gradients: gradient_clip_algorithm={algorithm!r}: expected 'norm' or 'value'.")
        self._manual("clip_gradients")
        self._wrapped(optimizer).clip(gradient_clip_val, algorithm)

    def _manual(self, method: str) -> Any:
        if self.automatic_optimization:
            raise HookError(
                f"{type(self).__name__} calls self.{method}, but the trainer makes the steps: write "
                "`self.automatic_optimization = False` in __init__ to make them yourself."
            )
        return self._attached().training_step

    def _wrapped(self, optimizer: Any) -> Any:
        """The counted form of one of the task's optimizers, given in either form."""
        bare = getattr(optimizer, "optimizer", optimizer)
        for one in self._attached().manual_optimizers:
            if one.optimizer is bare:
                return one
        raise ConfigError(f"{type(bare).__name__} is none of the optimizers of {type(self).__name__}.")

    # ---- what it was made with: trainer/hparams.py

    @property
    def hparams(self) -> AttributeDict:
        """What `save_hyperparameters` has kept: hparams.lr or hparams["lr"]."""
        return self.__dict__["_hparams"]

    def save_hyperparameters(self, *args: Any, ignore: str | Sequence[str] | None = None) -> None:
        """Keeps the arguments of __init__, which calls this, for checkpoints and loggers: all, or those named.

        A mapping among `args` is kept entry by entry. ConfigError for what JSON cannot hold, unless it is ignored.
        """
        frame = inspect.currentframe()
        save(self, args, ignore, None if frame is None else frame.f_back)

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, strict: bool = True, **overrides: Any) -> Self:
        """A task made with the hyperparameters and the weights of a checkpoint or run directory.

        `overrides` are arguments of __init__ that take the place of those kept, or were not kept (modules, say).
        CheckpointError where weights do not fit; strict=False takes those that do.
        """
        return load(cls, checkpoint_path, strict, overrides)

    def has_step(self, name: str) -> bool:
        """Whether the task has written validation_step, test_step, ..."""
        return name in vars(self) or getattr(type(self), name) is not getattr(Task, name)

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

    def load_checkpoint_weights(self, weights: Mapping[str, Tensor], strict: bool = True) -> None:
        """Takes over what `checkpoint_weights` gave. CheckpointError names what does not fit; strict=False: names that
        are missing or unexpected are left."""
        self.load_state_dict(weights, strict)


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
