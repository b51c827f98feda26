"""Runtime: what the loop and the callbacks ask of a Trainer. Its users' side is trainer.py."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from expkit.data import DataLoader
from expkit.optim.traced import live_trace
from expkit.tensor import Tensor
from expkit.tracking import new_run_dir
from expkit.trainer import checkpoint, feed, hooks
from expkit.trainer.arguments import Arguments
from expkit.trainer.callbacks.model_checkpoint import ModelCheckpoint
from expkit.trainer.console import warn
from expkit.trainer.deferred import later, refuse_traced
from expkit.trainer.logged import Logged, occasions
from expkit.trainer.manual import ManualOptimizer, ManualStep
from expkit.trainer.metrics import Metric
from expkit.trainer.optimizers import Schedule
from expkit.trainer.precision import in_precision
from expkit.trainer.programs import Programs
from expkit.trainer.state import Progress, gather
from expkit.trainer.step import EvaluationStep, TrainingStep
from expkit.trainer.task import Task, flexible
from expkit.trainer.triggers import Every

STAGES = ("train", "validate", "test", "predict")
STEP_ARGUMENTS = {
    "train": ("training_step", ("batch", "batch_idx")),
    "validate": ("validation_step", ("batch", "batch_idx", "dataloader_idx")),
    "test": ("test_step", ("batch", "batch_idx", "dataloader_idx")),
    "predict": ("predict_step", ("batch", "batch_idx", "dataloader_idx")),
}


class Runtime(Arguments):
    """The state of a run and the small decisions of the loop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.device: Any = None
        self.dtype: Any = None
        self.scaler: Any = None  # amp's GradScaler, where the precision needs one
        self.config: Any = None  # what checkpoints say about how they were made
        self.progress = Progress()
        self.logged = {stage: Logged() for stage in STAGES}
        self.epoch_metrics: dict[str, float] = {}
        self.metric_stamps: dict[str, int] = {}  # after how many batches a metric was published last
        self.loggers: list[Any] = []
        self.task: Any = None
        self.optimizers: list[Any] = []
        self.manual_optimizers: list[ManualOptimizer] = []  # the same ones, as tasks get them
        self.schedules: list[Schedule] = []
        self.steps: dict[str, Callable[..., Any]] = {}  # the task's, as they are written
        self.programs: Any = None
        self.training_step: Any = None
        self.evaluation: dict[str, Any] = {}
        self.train_loader: Any = None
        self.val_loaders: list[Any] = []
        self.limits: dict[str, list[int | None]] = {}
        self.num_training_batches: int | None = None
        self.batch: Any = None
        self.stage: str | None = None
        self.loader_index = 0
        self.should_stop = self.fitting = self.sanity_checking = False
        self.elapsed_before = 0.0
        self.origin: Callable[[str], str] | None = None  # config key -> where it was set, for messages
        self._started: float | None = None
        self._hooks: dict[str, list[tuple[bool, Callable[..., Any]]]] = {}
        self._run_dir: Path | None = None

    # ---- what callbacks read (Lightning's names)

    @property
    def current_epoch(self) -> int:
        return self.progress.epoch

    @property
    def global_step(self) -> int:
        return self.progress.global_step

    @property
    def optimizer(self) -> Any:
        """The (first) optimizer; None before training and where there is none."""
        return self.optimizers[0] if self.optimizers else None

    @property
    def callback_metrics(self) -> dict[str, float]:
        """Every metric known: of the last epoch or evaluation, and the newest values of steps."""
        return {**self.epoch_metrics, **(self.logged["train"].step_values() if self.fitting else {})}

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What `log(prog_bar=True)` was given."""
        shown = {name for logged in self.logged.values() for name in logged.names_shown()}
        epochs = {name: value for name, value in self.epoch_metrics.items() if name in shown}
        return {**epochs, **(self.logged["train"].step_values(prog_bar=True) if self.fitting else {})}

    @property
    def run_dir(self) -> Path:
        """Where this run keeps its files; made when it is first asked for."""
        if self._run_dir is None:
            found = next((logger.run_dir for logger in self.loggers if hasattr(logger, "run_dir")), None)
            self._run_dir = Path(self.default_root_dir or found or new_run_dir()).absolute()
        return self._run_dir

    @property
    def checkpoint_callbacks(self) -> list[ModelCheckpoint]:
        return [callback for callback in self.callbacks if isinstance(callback, ModelCheckpoint)]

    def elapsed(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self.elapsed_before + (monotonic() - self._started if self._started is not None else 0.0)

    def where(self, key: str | None) -> str:
        """`conf/callbacks/default.yaml: `, the beginning of a message about a config key; empty outside of configs."""
        return f"{self.origin(key)}: " if self.origin and key else ""

    # ---- hooks

    def collect_hooks(self) -> None:
        """Reads the hooks of callbacks and task once, checked; those of `late` callbacks come after the task's."""
        self._hooks = {name: [] for name in hooks.HOOKS}
        early, late = ([c for c in self.callbacks if c.late is when] for when in (False, True))
        for owner in (*early, self.task, *late):
            leading = () if owner is self.task else ("trainer", "task")
            for name, hook in hooks.written(owner, leading).items():
                bound = hook if owner is self.task else partial(hook, self, self.task)
                self._hooks[name].append((getattr(owner, "late", False), bound))

    def call(self, hook: str, *args: Any, late: bool | None = None) -> None:
        """Calls a hook of callbacks and task (late: only of those that are, or are not)."""
        for is_late, function in self._hooks[hook]:
            if late is None or is_late is late:
                function(*args)

    def tell(self, error: BaseException) -> None:
        """Calls on_exception of all. What goes wrong there is said: it must not take the place of `error`."""
        for _, function in self._hooks["on_exception"]:
            try:
                function(error)
            except Exception as failed:  # noqa: BLE001  (whatever it is)
                warn(f"on_exception failed as well: {type(failed).__name__}: {failed}")

    def asked(self, hook: str, *args: Any) -> bool:
        """Calls a hook of callbacks and task, all of them; whether one returned -1."""
        answers = [function(*args) for _, function in self._hooks[hook]]
        return any(isinstance(answer, int) and answer == -1 for answer in answers)

    def hooked(self, *names: str) -> bool:
        """Whether anybody has written one of these hooks."""
        return any(self._hooks[name] for name in names)

    # ---- logging

    def take_log(self, name: str, value: Any, *, batch_size: int | None, on_step: bool | None, on_epoch: bool | None,
                 **how: Any) -> None:  # fmt: skip
        """`Task.log`, in whichever stage runs; put off while a step is traced."""
        if not isinstance(value, Tensor | Metric):
            refuse_traced(
                f"log({name!r}, {value!r:.40})", "a Python number may be another at the next step: log a tensor"
            )
        if later(self.take_log, name, value, batch_size=batch_size, on_step=on_step, on_epoch=on_epoch, **how):
            return
        stage = self.stage or "train"
        training = stage == "train"
        if len(self.val_loaders) > 1 and stage == "validate":
            name = f"{name}/dataloader_idx_{self.loader_index}"
        on_step, on_epoch = occasions(training, on_step, on_epoch)
        weight = feed.batch_size(self.batch) if batch_size is None else batch_size
        self.logged[stage].log(name, value, weight=weight, on_step=on_step, on_epoch=on_epoch, **how)

    def publish(self, logged: Logged, log: bool = True) -> dict[str, float]:
        """The epoch's values of a stage: for callbacks, and for the loggers those that they are meant to get."""
        for_loggers = logged.logged_names()
        both = logged.names_of_both()
        steps, values = logged.step_values(), logged.epoch_values()
        if log:
            self.note_metrics({**steps, **values, **{f"{name}_epoch": values[name] for name in both & values.keys()}})
            self.log_metrics({name: value for name, value in values.items() if name in for_loggers})
        return values

    def note_metrics(self, values: Mapping[str, float]) -> None:
        """Makes values known to callbacks, as those of now."""
        self.epoch_metrics.update(values)
        self.metric_stamps.update(dict.fromkeys(values, self.progress.batches))

    def log_step(self, before: int) -> None:
        """The newest values, each log_every_n_steps; `before`: the optimizer steps before this batch."""
        every = self.log_every_n_steps or 0
        if every and self.progress.global_step // every > before // every:
            self.log_metrics(self.logged["train"].step_values())

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Hands values to the loggers, at the present step and epoch."""
        if not values:
            return
        progress = self.progress
        epoch = progress.epoch if self.fitting or progress.batch else max(0, progress.epoch - 1)
        for logger in self.loggers:
            logger.log_metrics(values, step=progress.global_step, epoch=epoch)

    @contextmanager
    def muted(self) -> Iterator[dict[str, Logged]]:
        """What is logged within it, and what metrics take in, goes nowhere; yields the entries."""
        before, self.logged = self.logged, {stage: Logged() for stage in STAGES}
        metrics = [(metric, metric.state_dict()) for _, metric in self.task.named_metrics()]
        try:
            yield self.logged
        finally:
            self.logged = before
            for metric, state in metrics:
                metric.load_state_dict(state)

    def forget_logged(self) -> None:
        """Drops what the running epoch has logged."""
        self.logged["train"].forget()

    @contextmanager
    def evaluating(self, stage: str, sanity: bool) -> Iterator[None]:
        """Within it what is logged belongs to `stage`."""
        before = self.stage, self.batch, self.sanity_checking
        self.stage, self.sanity_checking = stage, sanity
        try:
            yield
        finally:
            self.stage, self.batch, self.sanity_checking = before

    # ---- the loop's questions

    def connect_steps(self) -> None:
        """Looks up the task's step methods, which may leave out arguments that they do not need; their programs."""
        assert isinstance(self.task, Task)
        for stage, (name, args) in STEP_ARGUMENTS.items():
            step = flexible(getattr(self.task, name), args)
            self.steps[stage] = in_precision(self.precision, self.device, step)
        self.programs = Programs(self)
        kind = TrainingStep if self.task.automatic_optimization else ManualStep
        self.training_step = kind(self, self.programs)
        for stage, (name, _) in STEP_ARGUMENTS.items():
            if stage != "train":
                self.evaluation[stage] = EvaluationStep(self, self.programs, stage, getattr(self.task, name))

    def use_optimizers(self, optimizers: list[Any], schedules: list[Schedule]) -> None:
        """These are trained with from now on."""
        self.optimizers, self.schedules = optimizers, schedules
        self.manual_optimizers = [ManualOptimizer(self, optimizer) for optimizer in optimizers]

    def train_batches(self) -> Iterable[Any]:
        """What is left of the epoch's batches."""
        progress, loader = self.progress, self.train_loader
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(progress.epoch)
        if progress.batch and isinstance(loader, DataLoader):
            loader.load_state_dict({"epoch": progress.epoch, "position": progress.batch})
            return iter(loader)
        return islice(loader, progress.batch, None)

    def prepare(self, batch: Any) -> Any:
        """A batch on the trainer's device, its floating-point tensors in the trainer's precision; the task's hooks
        around that may change it."""
        number = self.loader_index if self.stage else 0
        batch = self.task.on_before_batch_transfer(batch, number)
        return self.task.on_after_batch_transfer(feed.move(batch, self.device, self.dtype), number)

    def gathering(self) -> bool:
        """Whether gradients of an unfinished optimizer step exist. The last batch of an epoch completes its step."""
        progress = self.progress
        return progress.batch % self.accumulate_grad_batches != 0 and not (progress.unfinished and progress.last)

    def known_epoch(self) -> int:
        """The epoch that runs; a program whose trace asks for it holds for this epoch alone."""
        trace = live_trace()
        if trace is not None:
            self.programs.by_epoch = True
            trace.guard(lambda: self.progress.epoch)
        return self.progress.epoch

    def done(self) -> bool:
        """Whether training ends here."""
        progress = self.progress
        if self.gathering():
            return False
        if self.max_steps != -1 and progress.global_step >= self.max_steps:
            return True
        if self.max_epochs not in (None, -1) and progress.epoch >= self.max_epochs:
            return True
        reached = progress.epoch >= (self.min_epochs or 0) and progress.global_step >= (self.min_steps or 0)
        return self.should_stop and reached

    def validation_due(self, last: bool) -> bool:
        """Whether a validation follows the batch that was just done."""
        if not self.val_loaders or not any(limit != 0 for limit in self.limits["val"]):
            return False
        progress, interval = self.progress, self.val_check_interval
        if self.check_val_every_n_epoch is None:
            return Every(int(interval or 1))(progress.batches)
        if (progress.epoch + 1) % self.check_val_every_n_epoch:
            return False
        if interval == 1.0 and isinstance(interval, float):
            return last
        share = (self.num_training_batches or 1) * float(interval or 1.0)
        every = interval if isinstance(interval, int) else max(1, int(share))
        return Every(every)(progress.batch)

    def step_schedules(self, interval: str, count: int) -> None:
        """Steps the schedules of "step" or "epoch"; `count` is how many of those are over. Tasks that make their own
        optimizer steps step their schedules too."""
        if not self.task.automatic_optimization:
            return
        for schedule in self.schedules:
            if schedule.interval == interval:
                schedule.step(count, self.callback_metrics)

    # ---- checkpoints

    def save_checkpoint(self, path: str | Path, weights_only: bool = False) -> Path:
        """Writes the state at this step boundary to directory `path`, atomically; weights alone cannot be resumed."""
        state = gather(self, weights_only)
        return checkpoint.save(path, state, config=self.config, metrics=self.callback_metrics)

    def commit_checkpoints(self, final: bool = False) -> None:
        """Writes the checkpoints that have become due, once every callback has decided."""
        pending = [callback for callback in self.checkpoint_callbacks if callback.decide(self, final)]
        for callback in pending:
            callback.commit(self)

    def save_interrupted(self) -> str | None:
        """Saves the present state as the last checkpoint, where checkpoints are kept; its path."""
        for callback in self.checkpoint_callbacks:
            return str(callback.save_last_now(self))
        return None

    def newest_checkpoint(self) -> str | None:
        """The checkpoint that was saved last by this run."""
        saved = [callback.last_model_path for callback in self.checkpoint_callbacks if callback.last_model_path]
        return saved[0] if saved else None
