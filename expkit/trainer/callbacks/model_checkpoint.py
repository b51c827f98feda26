"""ModelCheckpoint: which checkpoints are written, under which names, and which are kept."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer import checkpoint
from expkit.trainer.callbacks import filenames
from expkit.trainer.callbacks.monitor import Mode, Monitor
from expkit.trainer.console import say, warn
from expkit.trainer.signals import Interrupted
from expkit.trainer.triggers import Every, seconds

STATE = (
    "best_k_models", "best_model_path", "best_model_score", "last_model_path", "_owned", "_seen", "_due", "_saved_at",
)  # fmt: skip


@register("callback", "model_checkpoint")
class ModelCheckpoint(Monitor):
    """Keeps the `save_top_k` best checkpoints by `monitor`, and with `save_last` also the newest one.

    dirpath: folder (default: checkpoints/ in the run directory). filename: name with {epoch}, {step} and metrics, e.g.
    "{epoch:03d}-{val/acc:.3f}". monitor: metric; without one the newest counts as best. mode: min, max or auto.
    save_top_k: how many; -1 = all, 0 = none. save_last: whether each check also saves the newest state ("link" means
    the same, as last.json always points to a checkpoint that has a name of its own). verbose: say what is saved.
    save_weights_only: without what resuming needs.

    When to check: every_n_epochs, every_n_train_steps (default: each epoch, and each validation that gave a new value),
    or train_time_interval ("DD:HH:MM:SS" or {"minutes": 10}). save_on_train_epoch_end: of those by epochs, True checks
    at the end of the training epoch only, False after validations only. save_on_exception: also when training fails.

    auto_insert_metric_name: `epoch=003-val_acc=0.912` instead of `003-0.912`, for a filename that was given.
    enable_version_counter: a name that is taken gets -v1, -v2, ...; else the older checkpoint is replaced.
    `last.json` beside the checkpoints always points to the newest one.
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | Literal["link"] | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: Mode = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: str | timedelta | dict[str, int] | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
    ) -> None:
        super().__init__(monitor, mode)
        if monitor is None:
            self.sign = -1  # the score is the number of batches: the newest is the best
        self.dirpath = None if dirpath is None else Path(dirpath).absolute()
        self.filename, self.verbose = filename or filenames.DEFAULT, verbose
        self.auto_insert_metric_name = auto_insert_metric_name and filename is not None
        self.save_last, self.save_top_k, self.save_weights_only = save_last, save_top_k, save_weights_only
        self.save_on_exception, self.save_on_train_epoch_end = save_on_exception, save_on_train_epoch_end
        self.enable_version_counter = enable_version_counter
        self.train_time_interval = seconds(train_time_interval, "ModelCheckpoint: train_time_interval")
        self._check_arguments(every_n_train_steps, every_n_epochs)
        self.every_n_train_steps = every_n_train_steps or 0
        otherwise = every_n_epochs is None and (self.every_n_train_steps or self.train_time_interval is not None)
        self.every_n_epochs = 0 if otherwise else 1 if every_n_epochs is None else every_n_epochs
        self.best_k_models: dict[str, float] = {}
        self.best_model_path = self.last_model_path = ""
        self.best_model_score: float | None = None
        self._owned: list[str] = []
        self._due = False
        self._repeating = False  # resumed: what lies in the folder may be of steps that are made again
        self._saved_at: tuple[int, bool] | None = None  # (batches, unfinished) of the newest checkpoint
        self._looked = 0.0  # when train_time_interval was over last

    def _check_arguments(self, steps: int | None, epochs: int | None) -> None:
        if self.save_top_k < -1:
            raise ConfigError(
                f"ModelCheckpoint: save_top_k={self.save_top_k}: expected -1 (all), 0 (none) or a number."
            )
        if min(steps or 0, epochs or 0) < 0:
            raise ConfigError("ModelCheckpoint: every_n_train_steps and every_n_epochs are 0 (never) or above.")
        if self.train_time_interval is not None and (steps or epochs):
            raise ConfigError(
                "ModelCheckpoint: train_time_interval excludes every_n_train_steps and every_n_epochs: use two "
                "callbacks, each with a key of its own."
            )
        filenames.check(self.filename)

    def monitors(self) -> Mapping[str, str | Sequence[str]]:
        fields = [name for name in filenames.fields(self.filename) if name not in ("epoch", "step")]
        return {**super().monitors(), "filename": fields}

    # ---- when

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        if stage == "fit":
            self.dirpath, self._looked = self.dirpath or trainer.run_dir / "checkpoints", monotonic()
            filenames.check_folder("ModelCheckpoint", self.dirpath)
            if self.dirpath.is_dir():
                checkpoint.clean(self.dirpath)

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.gathering():
            return
        if Every(self.every_n_train_steps)(trainer.global_step):
            self._due = True
        if self.train_time_interval is not None and monotonic() - self._looked >= self.train_time_interval:
            self._due, self._looked = True, monotonic()

    def on_validation_end(self, trainer: Any, task: Any) -> None:
        wanted = not self.save_on_train_epoch_end and (self.monitor or self.save_on_train_epoch_end is False)
        if trainer.fitting and not trainer.sanity_checking and wanted:
            self._due_on_epoch(trainer)

    def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
        if self.save_on_train_epoch_end is not False:
            self._due_on_epoch(trainer)

    def _due_on_epoch(self, trainer: Any) -> None:
        if Every(self.every_n_epochs)(trainer.current_epoch + 1):
            self._due |= self.monitor is None or self.fresh_value(trainer) is not None

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        if self.save_on_exception and at_boundary(trainer) and not isinstance(exception, Interrupted):
            self.save_last_now(trainer)

    # ---- what: decided for all checkpoints before any is written, so that each holds the decisions of all

    def decide(self, trainer: Any, final: bool = False) -> bool:
        """Whether a checkpoint is to be written now; the books then say what will be kept."""
        now = (trainer.progress.batches, trainer.progress.unfinished)
        wanted = self._due or (final and self.save_last is not False)
        if not wanted or (final and self._saved_at == now):
            return False
        due, self._due = self._due, False
        score = self._score(trainer)
        top = due and score is not None and self._enters_top(score)
        if not top and not self.save_last and not final:
            return False
        self._enter(self._path(trainer), score if top else None, now)
        return True

    def _score(self, trainer: Any) -> float | None:
        return float(trainer.progress.batches) if self.monitor is None else trainer.callback_metrics.get(self.monitor)

    def _enters_top(self, score: float) -> bool:
        if self.save_top_k == 0:
            return False
        return (
            len(self.best_k_models) < self.save_top_k
            or self.save_top_k == -1
            or self.is_better(score, self._worst()[1])
        )

    def _worst(self) -> tuple[str, float]:
        ranked = sorted(self.best_k_models.items(), key=lambda item: (item[1] == item[1], -self.sign * item[1]))
        return ranked[0]

    def _enter(self, path: Path, score: float | None, now: tuple[int, bool]) -> None:
        self.last_model_path, self._saved_at = str(path), now
        if str(path) not in self._owned:
            self._owned.append(str(path))
        self.best_k_models.pop(str(path), None)  # it is replaced
        if score is None:
            return
        self.best_k_models[str(path)] = score
        if self.save_top_k != -1 and len(self.best_k_models) > self.save_top_k:
            del self.best_k_models[self._worst()[0]]
        best = self.best_model_score
        if best is None or self.is_better(score, best):
            self.best_model_path, self.best_model_score = str(path), score

    def _path(self, trainer: Any) -> Path:
        """Where the checkpoint goes; `-v1`, ... where the name belongs to one that stays."""
        assert self.dirpath is not None
        progress = trainer.progress
        values = {**trainer.callback_metrics, "step": progress.global_step}
        values["epoch"] = progress.epoch if progress.batch else max(0, progress.epoch - 1)  # the one that is over
        name = filenames.fill(self.filename, values, insert_names=self.auto_insert_metric_name)
        if not self.enable_version_counter:
            return self.dirpath / name
        for version in range(10_000):
            path = self.dirpath / (f"{name}-v{version}" if version else name)
            mine = str(path) in self._owned or self._repeating
            if not path.exists() or (mine and str(path) not in self.best_k_models):
                return path
        raise ConfigError(
            f"{self.dirpath}: ten thousand checkpoints are called {name}. Put {{step}} into the filename."
        )

    # ---- doing it

    def commit(self, trainer: Any, whole: bool = False) -> None:
        """Writes what was decided; older ones go only when the new one is on the disk and `last` points to it."""
        path = trainer.save_checkpoint(self.last_model_path, self.save_weights_only and not whole)
        checkpoint.point_last(path)
        if self.verbose:
            say(f"saved {path}")
        for old in [old for old in self._owned if old not in (self.last_model_path, *self.best_k_models)]:
            checkpoint.remove(Path(old))
            self._owned.remove(old)

    def weights_changed(self) -> None:
        """What was saved after the last batch is not what the task holds now: the end of training saves again."""
        self._saved_at = None

    def save_last_now(self, trainer: Any) -> Path:
        """Saves the present state, all of it, as the newest checkpoint, unless it is the newest already."""
        now = (trainer.progress.batches, trainer.progress.unfinished)
        if self._saved_at != now or self.save_weights_only or not Path(self.last_model_path).is_dir():
            self._enter(self._path(trainer), None, now)
            self.commit(trainer, whole=True)
        return Path(self.last_model_path)

    # ---- resuming

    def state_dict(self) -> dict[str, Any]:
        return {"dirpath": str(self.dirpath), **{name: getattr(self, name) for name in STATE}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues the books; of another folder's (a new run starts from it) only the best one is remembered."""
        state = dict(state_dict)
        self._repeating = state.pop("dirpath") == str(self.dirpath)
        if not self._repeating:
            state = {key: state[key] for key in ("best_model_path", "best_model_score", "_seen")}
        vars(self).update(state)
        gone = [path for path in self._owned if not Path(path).is_dir()]
        if self.best_model_path and not Path(self.best_model_path).is_dir():
            warn(f"the best checkpoint so far, {self.best_model_path}, is gone: the best of what follows is kept.")
            self.best_model_path, self.best_model_score = "", None
        self._owned = [path for path in self._owned if path not in gone]
        self.best_k_models = {path: score for path, score in self.best_k_models.items() if path not in gone}


def at_boundary(trainer: Any) -> bool:
    """Whether a trainer that fits stands where a checkpoint could go on from: some batches, and no half step."""
    return trainer.fitting and trainer.progress.batches > 0 and not trainer.gathering()
