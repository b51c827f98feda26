"""Whole experiments: from overrides or a composed config to a trained, tested and recorded run.

result = expkit.train(["model=mlp", "optim.lr=0.01"])
result.metrics["test/acc"], result.run_dir
"""

import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from omegaconf import open_dict

from expkit.config import Composed, compose, load, make_run_dir, validate
from expkit.data import DataModule
from expkit.errors import CheckpointError, ConfigError, ExpkitError, ShapeError
from expkit.nn.functional.reduction import TargetError
from expkit.tensor import devices
from expkit.tracking import JournalLogger
from expkit.trainer import assemble, checkpoint, package, record
from expkit.trainer.assemble_task import make_task
from expkit.trainer.callbacks import Callback
from expkit.trainer.console import close_log_file, log, log_file, say, show, warn
from expkit.trainer.report import results_table
from expkit.trainer.signals import Interrupted, signals
from expkit.trainer.state import seed_everything
from expkit.trainer.task import Task
from expkit.trainer.trainer import Trainer


@dataclass
class Result:
    """What came of a run.

    metrics: train/... of the end, val/... of the best checkpoint, test/...; status: FINISHED or KILLED (then `signal`
    says by what); run_id: MLflow's, once it knows the run; optimized_metric: the value that runs are ranked by.
    """

    metrics: dict[str, float]
    run_dir: Path
    run_id: str | None = None
    status: str = "FINISHED"
    optimized_metric: float | None = None
    signal: int | None = None
    checkpoint: str | None = None


def train(overrides: Sequence[str] = (), config_name: str = "config", config_dir: str | Path | None = None) -> Result:
    """Composes an experiment from `overrides` and runs it, as `expkit train` does.

    Errors are raised, after the run was recorded as FAILED; Ctrl-C raises Interrupted, after a checkpoint.
    """
    composed = compose(overrides, config_name, config_dir)
    if composed.multirun:
        raise ConfigError("train() runs one experiment; for several values use `expkit train -m` or call it in a loop.")
    validate(composed)
    result = run(composed, make_run_dir(composed))
    if result.signal is not None:
        raise Interrupted(result.signal, saved=result.checkpoint)
    return result


def resume(run_dir: str | Path) -> Result:
    """Goes on with the run in `run_dir` from its last checkpoint, exactly; from the start where none was saved yet."""
    run_dir = Path(run_dir).absolute()
    composed = load(record.config_of(run_dir))
    composed.set_run_dir(run_dir)
    return run(composed, run_dir, again=True)


def run(composed: Composed, run_dir: str | Path, *, parent: Path | None = None, again: bool = False) -> Result:
    """Runs a composed experiment in `run_dir`. parent: the directory of the sweep that it belongs to.

    The run ends as FINISHED, FAILED (the error is raised) or KILLED (by a signal: in the result); never as RUNNING.
    """
    run_dir = Path(run_dir).absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    handler = log_file(run_dir / record.LOG)
    try:
        with signals:
            return _Experiment(composed, run_dir, parent, again).run()
    finally:
        close_log_file(handler)


def open_parent(composed: Composed, sweep_dir: Path, params: Mapping[str, Any]) -> JournalLogger | None:
    """The logger of a sweep, under which its runs are shown; None where runs are not tracked."""
    config = composed.resolved()
    logger = assemble.make_logger(composed, config, sweep_dir)
    if type(logger) is JournalLogger:
        return None
    logger.system_metrics = None  # they belong to its runs
    logger.log_params(params)
    return logger


def record_failure(
    composed: Composed, run_dir: Path, params: Mapping[str, Any], message: str, parent: Path | None = None
) -> None:
    """A run that failed before it began (its data and model do not fit, say) as a FAILED run of its own."""
    logger = assemble.make_logger(composed, composed.resolved(), run_dir, parent)
    logger.log_params(params)
    logger.set_tags({"error": message})
    logger.finalize("FAILED")


def close_logger(logger: JournalLogger, status: str) -> None:
    """Ends a run; waits (bounded) until its tracking has caught up, and otherwise says how it will."""
    logger.finalize(status)
    wait_for(logger)


def wait_for(logger: JournalLogger) -> None:
    """Waits (bounded) until what was logged has arrived; otherwise says how it will."""
    if not logger.wait():
        warn(logger.problem() or f"tracking has not caught up: `expkit sync {logger.run_dir}` sends the rest.")


@dataclass
class _Experiment:
    """One run, step by step."""

    composed: Composed
    run_dir: Path
    parent: Path | None
    again: bool
    started: float = field(default_factory=monotonic)
    logger: JournalLogger | None = None
    trainer: Trainer | None = None

    def run(self) -> Result:
        status, result = "FAILED", Result({}, self.run_dir)
        try:
            result.metrics = self._train_and_test()
            status = "FINISHED"
        except KeyboardInterrupt as interrupt:
            status = "KILLED"
            result.signal = getattr(interrupt, "signum", int(signal.SIGINT))
            result.checkpoint = getattr(interrupt, "saved", None)
            result.metrics = _final(self.trainer.epoch_metrics) if self.trainer else {}
        except Exception as error:
            _note(error)
            raise
        finally:
            result.status = status
            if self.logger is not None:
                self._close(self.logger, status)
                if status == "FAILED" and self.parent is None:
                    wait_for(self.logger)
        self._complete(result)
        self._show(result)
        return result

    def _train_and_test(self) -> dict[str, float]:
        config = self._seeded(validate(self.composed))
        record.write_config(self.composed, config, self.run_dir)
        devices.xp_for(devices.resolve(config["device"]["name"]))  # DeviceError now, not after the data was loaded
        data = assemble.make_data(self.composed, config)
        derived = assemble.derive(data, config["trainer"])
        config = self.composed.resolved(derived)
        task = make_task(self.composed, config, data, derived)
        self.logger = assemble.make_logger(self.composed, config, self.run_dir, self.parent)
        self.trainer = trainer = self._make_trainer(config, task, data)
        try:
            if config["train"]:
                trainer.fit(task, data, ckpt_path=self._start_from(config))
        except (ShapeError, TargetError) as error:
            raise assemble.explain(error, self.composed, derived) from error
        metrics = self._metrics(trainer)
        test = data.test_dataloader() if config["test"] and task.has_step("test_step") else None
        if test is not None:
            metrics |= self._test(trainer, task, test, None if config["train"] else config["ckpt_path"])
        if config["train"]:
            primary = record.primary_metric(config, trainer.checkpoint_callback)
            package.publish(self.logger, config, trainer, data, metrics, primary)
        return metrics

    def _seeded(self, config: dict[str, Any]) -> dict[str, Any]:
        """Seeds everything; a seed that was drawn becomes part of the config, so that the run can be repeated."""
        config["seed"] = seed_everything(config["seed"])
        with open_dict(self.composed.config):
            self.composed.config.seed = config["seed"]
        return config

    def _make_trainer(self, config: dict[str, Any], task: Task, data: DataModule) -> Trainer:
        callbacks = assemble.make_callbacks(self.composed, config)
        assert self.logger is not None
        begin = _Begin(self.logger, config, self.run_dir, data)
        arguments = {key: value for key, value in config["trainer"].items() if key not in ("callbacks", "logger")}
        trainer = Trainer(
            **arguments, callbacks=[begin, *callbacks], logger=self.logger, default_root_dir=str(self.run_dir)
        )
        trainer.loggers = [self.logger]  # also in a fast_dev_run: the journal is the record of every run
        trainer.origin = self.composed.origins.of
        trainer.config = config
        trainer.finalize_loggers = False
        return trainer

    def _start_from(self, config: Mapping[str, Any]) -> Path | None:
        """The checkpoint to go on from: this run's last one if it is resumed, else ckpt_path."""
        if self.again:
            found = checkpoint.last(self.run_dir / "checkpoints")
            if found is None and self.logger is not None:
                say("no checkpoint was saved yet: the run starts from its beginning.")
                self.logger.rewind(0)
            return found
        try:
            return checkpoint.resolve(config["ckpt_path"]) if config["ckpt_path"] else None
        except CheckpointError as error:
            raise CheckpointError(f"{self.composed.origins.of('ckpt_path')}: {error}") from None

    def _metrics(self, trainer: Trainer) -> dict[str, float]:
        """What is known after training, val/... as it was at the best checkpoint, which is the one that is tested."""
        metrics = _final(trainer.epoch_metrics)
        callback = trainer.checkpoint_callback
        if callback is not None and callback.best_model_path:
            best = checkpoint.read_manifest(callback.best_model_path).get("metrics") or {}
            metrics |= {
                name: value for name, value in best.items() if name.startswith("val/") and isinstance(value, float)
            }
        return metrics

    def _test(self, trainer: Trainer, task: Task, loader: Any, ckpt_path: str | None) -> dict[str, float]:
        callback = trainer.checkpoint_callback
        if ckpt_path is None and callback is not None and callback.best_model_path:
            ckpt_path = callback.best_model_path
            if self.logger is not None:
                self.logger.log_checkpoint(ckpt_path)
        return trainer.test(task, loader, ckpt_path=ckpt_path, verbose=False)[0]

    def _close(self, logger: JournalLogger, status: str) -> None:
        if (self.run_dir / record.LOG).is_file() and logger.journal.is_open:
            logger.log_artifact(self.run_dir / record.LOG)
        logger.finalize(status)

    def _complete(self, result: Result) -> None:
        trainer = self.trainer
        if trainer is None:
            return
        primary = record.primary_metric(trainer.config, trainer.checkpoint_callback)
        result.optimized_metric = result.metrics.get(primary[0]) if primary else None
        if trainer.checkpoint_callback is not None:
            result.checkpoint = result.checkpoint or trainer.checkpoint_callback.best_model_path or None

    def _show(self, result: Result) -> None:
        facts = {"run directory": str(self.run_dir), "time": f"{monotonic() - self.started:.1f} s"}
        if result.checkpoint:
            path = Path(result.checkpoint)
            facts["checkpoint"] = str(path.relative_to(self.run_dir) if path.is_relative_to(self.run_dir) else path)
        if result.signal is not None:
            facts["go on"] = f"expkit resume {self.run_dir}"
        show(results_table(result.metrics, f"\n{result.status}", facts))
        if self.logger is not None:
            if self.parent is None:  # a sweep goes on at once and waits for all its runs at the end
                wait_for(self.logger)
            result.run_id = getattr(self.logger, "run_id", None)


class _Begin(Callback):
    """Begins the record of a run when everything was found to fit, and checks the metric that runs are ranked by."""

    config_key = ""

    def __init__(self, logger: JournalLogger, config: Mapping[str, Any], run_dir: Path, data: DataModule) -> None:
        self.logger, self.config, self.run_dir, self.data = logger, config, run_dir, data

    def monitors(self) -> dict[str, str]:
        name = self.config.get("optimized_metric")
        return {"optimized_metric": name} if name else {}

    def metric_names(self, trainer: Any) -> list[str]:
        if not self.config["test"] or self.data.test is None or not trainer.task.has_step("test_step"):
            return []
        metrics = _metrics_of(trainer.task, "test")
        return ["test/loss", *(f"test/{name}{end}" for name, metric in metrics.items() for end in metric.suffixes())]

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        self._begin(trainer, task)

    def on_test_start(self, trainer: Any, task: Any) -> None:
        self._begin(trainer, task)

    def _begin(self, trainer: Any, task: Any) -> None:
        if not self.logger.journal.is_open:
            primary = record.primary_metric(self.config, trainer.checkpoint_callback)
            record.begin(self.logger, self.config, task, self.data, self.run_dir, primary)


def _metrics_of(task: Task, stage: str) -> Mapping[str, Any]:
    """The metrics of a stage, of tasks that keep them as SupervisedTask does."""
    kept = getattr(task, "metrics", None)
    return kept.get(stage, {}) if isinstance(kept, Mapping) else {}


def _final(metrics: Mapping[str, float]) -> dict[str, float]:
    """The values of epochs under their plain names alone."""
    return {name: value for name, value in metrics.items() if not name.endswith(("_epoch", "_step"))}


def _note(error: Exception) -> None:
    """Writes why a run failed to its log; only a failure that nobody foresaw with its traceback."""
    files = [handler for handler in log.handlers if isinstance(handler, logging.FileHandler)]
    foreseen = isinstance(error, ExpkitError)
    details = None if foreseen else (type(error), error, error.__traceback__)
    for handler in files:
        text = f"{type(error).__name__}: {error}" if foreseen else "the run failed"
        handler.handle(log.makeRecord(log.name, logging.ERROR, __file__, 0, text, (), details))
