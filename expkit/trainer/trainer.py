"""Trainer: fit, validate, test, predict, with Lightning's arguments."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from expkit.errors import CheckpointError, ConfigError, ExpkitError
from expkit.nn.module import Module
from expkit.tensor import devices
from expkit.tracking import JournalLogger
from expkit.trainer import checkpoint, feed, hooks, loop, optimizers, state
from expkit.trainer.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichModelSummary, RichProgressBar, Timer
from expkit.trainer.console import console, say, warn
from expkit.trainer.precision import dtype_of, scaler_for
from expkit.trainer.rehearse import Shapes, rehearse
from expkit.trainer.report import results_table
from expkit.trainer.runtime import STAGES, Runtime
from expkit.trainer.signals import signals
from expkit.trainer.task import Task
from expkit.trainer.tasks.supervised import SupervisedTask, wrap


class Trainer(Runtime):
    """Trains and evaluates a Task, or any module whose batches are (inputs, targets).

        Trainer(max_epochs=3).fit(model, train_loader, val_loader)

    The arguments are Lightning's (trainer/arguments.py has types, defaults and ranges). callbacks: Callbacks, in a list
    or by name in a dict. logger: a logger, several, False for none; by default the journal of a new run directory.
    default_root_dir: the run directory. A wrong argument, monitor or hook is refused before the first step.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.shapes: Shapes = {}
        self.finalize_loggers = True  # whether the end of fit, test, ... ends the run as well
        self.device = devices.resolve(_device_name(self.accelerator, self.devices))
        devices.xp_for(self.device)  # DeviceError now and not after the data was loaded
        self.dtype = dtype_of(self.precision)
        self.scaler = scaler_for(self.precision, self.device)
        if self.fast_dev_run:
            self._shorten(int(self.fast_dev_run))
        self.loggers = self._make_loggers()
        self.callbacks = self._make_callbacks()

    @property
    def checkpoint_callback(self) -> ModelCheckpoint | None:
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def early_stopping_callback(self) -> EarlyStopping | None:
        return next((callback for callback in self.callbacks if isinstance(callback, EarlyStopping)), None)

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Optimizer steps that training will take; infinity where nothing limits it."""
        per_epoch = -(-(self.num_training_batches or 0) // self.accumulate_grad_batches)
        by_epochs = float("inf") if self.max_epochs in (None, -1) else per_epoch * (self.max_epochs or 0)
        return by_epochs if self.max_steps == -1 else min(self.max_steps, by_epochs)

    # ---- what users call

    def fit(self, model: Module, train_dataloaders: Any = None, val_dataloaders: Any = None, datamodule: Any = None,
            ckpt_path: str | Path | None = None) -> None:  # fmt: skip
        """Trains `model`. ckpt_path: a checkpoint or run directory to go on from exactly, or "last".

        NonFiniteError when the loss is; Interrupted (a KeyboardInterrupt) after SIGINT or SIGTERM, the state saved.
        """
        if datamodule is None and train_dataloaders is None and hasattr(model, "train_dataloader"):
            datamodule = model  # a task may bring its data
        train, val = _from_datamodule(datamodule or train_dataloaders, train_dataloaders, val_dataloaders)
        loaders = feed.as_loaders(train, "train_dataloaders")
        if len(loaders) != 1:
            raise ConfigError(f"fit needs one training loader, got {len(loaders) or 'none'}.")
        val_loaders = feed.as_loaders(val, "val_dataloaders")
        if val_loaders and isinstance(model, Task) and not model.has_step("validation_step"):
            say(f"{type(model).__name__} has no validation_step: there is no validation.")
            val_loaders = []
        self._connect_loaders(loaders[0], val_loaders)
        with self._session("fit", self._as_task(model, loaders[0])), signals.defer():
            self._prepare_fit(ckpt_path)
            self.call("on_fit_start")
            self._sanity_check(resumed=self.progress.batches > 0)
            loop.fit(self)
            self.call("on_fit_end")

    def validate(self, model: Module | None = None, dataloaders: Any = None, ckpt_path: str | Path | None = None,
                 verbose: bool = True, datamodule: Any = None) -> list[dict[str, float]]:  # fmt: skip
        """The metrics of one pass over the validation data, for each loader."""
        return self._evaluate("validate", "val", model, dataloaders, ckpt_path, verbose, datamodule)

    def test(self, model: Module | None = None, dataloaders: Any = None, ckpt_path: str | Path | None = None,
             verbose: bool = True, datamodule: Any = None) -> list[dict[str, float]]:  # fmt: skip
        """The metrics of one pass over the test data, for each loader. ckpt_path: "best", "last" or a path."""
        return self._evaluate("test", "test", model, dataloaders, ckpt_path, verbose, datamodule)

    def predict(self, model: Module | None = None, dataloaders: Any = None, datamodule: Any = None,
                return_predictions: bool = True, ckpt_path: str | Path | None = None) -> list[Any]:  # fmt: skip
        """What predict_step returns for each batch (by default the model's outputs).

        return_predictions: False collects none, where a callback writes them (PredictionWriter).
        """
        outputs: list[Any] = []
        collect = _Collector(outputs if return_predictions else None)
        self.callbacks.append(collect)
        try:
            self._evaluate("predict", "predict", model, dataloaders, ckpt_path, False, datamodule)
        finally:
            self.callbacks.remove(collect)
        return outputs

    # ---- setting up

    def _make_loggers(self) -> list[Any]:
        if self.fast_dev_run or self.logger is False:
            return []
        if self.logger in (None, True):
            return [JournalLogger(run_dir=None if self.default_root_dir is None else str(self.default_root_dir))]
        return list(self.logger) if isinstance(self.logger, list | tuple) else [self.logger]

    def _make_callbacks(self) -> list[Callback]:
        callbacks = list(self.callbacks.values()) if isinstance(self.callbacks, dict) else self.callbacks or []
        callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise ConfigError(f"callbacks: {type(callback).__name__} is no Callback (expkit.trainer.Callback).")
            hooks.written(callback, ("trainer", "task"))  # HookError when it is added, not when it would be called
        if self.fast_dev_run:
            callbacks = [c for c in callbacks if not isinstance(c, ModelCheckpoint | EarlyStopping)]
        defaults: list[tuple[bool, type[Any], dict[str, Any]]] = [
            (bool(self.enable_checkpointing) and not self.fast_dev_run, ModelCheckpoint, {"save_last": True}),
            (bool(self.enable_progress_bar), RichProgressBar, {}),
            (bool(self.enable_model_summary), RichModelSummary, {}),
            (self.max_time is not None, Timer, {"duration": self.max_time}),
        ]
        for wanted, kind, arguments in defaults:
            present = any(isinstance(callback, kind) for callback in callbacks)
            if wanted and (kind is Timer or not present):  # the time of another Timer counts as well
                callbacks.append(kind(**arguments))
            elif not wanted and kind is not Timer:
                callbacks = [callback for callback in callbacks if not isinstance(callback, kind)]
        _refuse_same_keys(callbacks)
        # Checkpoints hold the state of all others, so they come last.
        return sorted(callbacks, key=lambda callback: isinstance(callback, ModelCheckpoint))

    def _shorten(self, count: int) -> None:
        """fast_dev_run: `count` batches of everything, and nothing is kept."""
        self.max_epochs, self.max_steps, self.num_sanity_val_steps = 1, count, 0
        self.val_check_interval, self.check_val_every_n_epoch = 1.0, 1
        for stage in ("train", "val", "test", "predict"):
            setattr(self, f"limit_{stage}_batches", count)

    def _connect_loaders(self, train: Any, val: list[Any]) -> None:
        if self.overfit_batches:
            [count] = feed.limits([train], self.overfit_batches, "overfit_batches")
            train = feed.FirstBatches(train, count)
            val = [train] if val else []
        self.train_loader, self.val_loaders = train, val
        self._connect_limits("train", [train])
        self._connect_limits("val", val)
        [self.num_training_batches] = self.limits["train"]
        if self.num_training_batches == 0:
            raise ConfigError("there are no training batches: the data is empty, or trainer.limit_train_batches is 0.")
        interval, total = self.val_check_interval, self.num_training_batches
        if isinstance(interval, int) and self.check_val_every_n_epoch and total and interval > total:
            raise ConfigError(
                f"{self.where('trainer.val_check_interval')}val_check_interval={interval} batches is more than an "
                f"epoch has ({total}). Give at most {total}, or set check_val_every_n_epoch to null."
            )

    def _connect_limits(self, stage: str, loaders: list[Any]) -> None:
        limit = getattr(self, f"limit_{stage}_batches")
        self.limits[stage] = feed.limits(loaders, limit, f"limit_{stage}_batches")

    def _as_task(self, model: Module, loader: Any) -> Task:
        if isinstance(model, Task):
            return model
        if not isinstance(model, Module):
            raise ConfigError(f"a Trainer trains a Task or an expkit Module, got {type(model).__name__}.")
        if isinstance(self.task, SupervisedTask) and self.task.model is model:
            return self.task
        return wrap(model, feed.first_batch(loader, "the loader"))

    def _prepare_fit(self, ckpt_path: str | Path | None) -> None:
        self.progress, self.should_stop, self.elapsed_before = state.Progress(), False, 0.0
        self.logged = {stage: type(self.logged[stage])() for stage in STAGES}
        self.epoch_metrics.clear()
        self.metric_stamps.clear()
        self.use_optimizers(*optimizers.of_task(self.task))
        self.shapes = rehearse(self)
        path = self._checkpoint_path(ckpt_path)
        if path is not None:
            with _naming(path):
                state.restore(self, checkpoint.load(path), path)
            for logger in self.loggers:
                if hasattr(logger, "rewind"):
                    logger.rewind(self.progress.global_step)
            say(f"going on from {path}: epoch {self.progress.epoch}, step {self.progress.global_step}")
        self._log_hyperparameters()
        self._started = monotonic()

    def _log_hyperparameters(self) -> None:
        """Those that the task has saved; a run of a config logs all of its config instead."""
        for logger in self.loggers if self.config is None and self.task.hparams else ():
            if hasattr(logger, "log_hyperparams"):
                logger.log_hyperparams(dict(self.task.hparams))

    def _sanity_check(self, resumed: bool) -> None:
        count = self.num_sanity_val_steps
        if not count or resumed or not self.val_loaders or not any(self.limits["val"]):
            return
        wanted = [
            limit if count == -1 or (limit is not None and limit < count) else count for limit in self.limits["val"]
        ]
        self.call("on_sanity_check_start")
        with state.same_rng_after():
            if loop.evaluate(self, "validate", self.val_loaders, wanted, sanity=True) is None:
                loop.interrupt(self)
        self.call("on_sanity_check_end")

    # ---- evaluation

    def _evaluate(self, stage: str, limit: str, model: Module | None, dataloaders: Any, ckpt_path: str | Path | None,
                  verbose: bool, datamodule: Any) -> list[dict[str, float]]:  # fmt: skip
        given, own = datamodule or dataloaders, f"{limit}_dataloader"
        if given is None:  # a task may bring its data
            given = next((task for task in (model, self.task) if hasattr(task, own)), None)
        if hasattr(given, own):
            given = getattr(given, own)()
        loaders = feed.as_loaders(
            given if given is not None or stage != "validate" else self.val_loaders, "dataloaders"
        )
        if not loaders:
            raise ConfigError(f"{stage} needs data: {stage}(model, loader).")
        if model is None and self.task is None:
            raise ConfigError(f"{stage} needs a model, as this Trainer has not fitted one: {stage}(model, loader).")
        task = self.task if model is None else self._as_task(model, loaders[0])
        path = self._checkpoint_path(ckpt_path)
        if path is not None:
            with _naming(path):
                task.load_checkpoint_weights(checkpoint.load_weights(path))
        self._connect_limits(limit, loaders)
        with self._session(stage, task):
            values = loop.evaluate(self, stage, loaders, self.limits[limit])
        assert values is not None
        if verbose and values:
            console.print(results_table(values, stage))
        return _by_loader(values, len(loaders))

    def _checkpoint_path(self, ckpt_path: str | Path | None) -> Path | None:
        """The checkpoint that a ckpt_path argument means; "best" and "last" are those of this trainer."""
        if ckpt_path not in ("best", "last"):
            return None if ckpt_path is None else checkpoint.resolve(ckpt_path)
        callback = self.checkpoint_callback
        if callback is None:
            raise CheckpointError(f'ckpt_path="{ckpt_path}": this Trainer keeps no checkpoints (no ModelCheckpoint).')
        if ckpt_path == "best":
            if not callback.best_model_path:
                raise CheckpointError('ckpt_path="best": no checkpoint has been saved yet. Give a path, or fit first.')
            return Path(callback.best_model_path)
        found = checkpoint.last(callback.dirpath or self.run_dir / "checkpoints")
        if found is None:
            warn('ckpt_path="last": there is no checkpoint yet, so training starts anew.')
        return found

    # ---- one call of fit, validate, test or predict

    @contextmanager
    def _session(self, stage: str, task: Task) -> Iterator[None]:
        """Attaches the task, and tells everybody how it ended."""
        self.task, self.fitting = task, stage == "fit"
        task.__dict__["_trainer"] = self
        task.to(device=self.device, dtype=self.dtype)
        self.collect_hooks()
        self.connect_steps()
        status = "FAILED"
        try:
            self.call("setup", stage)
            yield
            status = "FINISHED"
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            self.tell(error)
            raise
        finally:
            if self._started is not None:
                self.elapsed_before, self._started = self.elapsed(), None
            self.fitting, self.stage = False, None
            try:
                self.call("teardown", stage)
            finally:
                for logger in self.loggers if self.finalize_loggers else ():
                    logger.finalize(status)


class _Collector(Callback):
    """Keeps the outputs of predict_step, where somebody wants them."""

    def __init__(self, outputs: list[Any] | None) -> None:
        self.outputs = outputs

    def on_predict_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.outputs is not None:
            self.outputs.append(outputs)


def _device_name(accelerator: str, which: Any) -> str:
    kind = {"gpu": "cuda"}.get(accelerator, accelerator)
    return f"cuda:{which[0]}" if isinstance(which, list) and kind != "cpu" else kind


def _from_datamodule(source: Any, train: Any, val: Any) -> tuple[Any, Any]:
    if not hasattr(source, "train_dataloader"):
        return train, val
    return source.train_dataloader(), source.val_dataloader() if hasattr(source, "val_dataloader") else None


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What goes wrong with a checkpoint within it is a CheckpointError that names it."""
    try:
        yield
    except CheckpointError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path} does not fit: {error}") from error
    except (KeyError, TypeError) as error:  # whole and undamaged, but not written by this code
        raise CheckpointError(f"{path} has an unknown structure ({error!r}). Use another checkpoint.") from error


def _refuse_same_keys(callbacks: list[Callback]) -> None:
    keys = [callback.state_key for callback in callbacks]
    for callback in callbacks:
        if keys.count(callback.state_key) > 1 and (callback.state_dict() or isinstance(callback, ModelCheckpoint)):
            raise ExpkitError(
                f"two callbacks keep their state under the name {callback.state_key!r}: set config_key of one."
            )


def _by_loader(values: dict[str, float], count: int) -> list[dict[str, float]]:
    if count == 1:
        return [values]
    suffixes = [f"/dataloader_idx_{number}" for number in range(count)]
    return [{name: value for name, value in values.items() if name.endswith(suffix)} for suffix in suffixes]
