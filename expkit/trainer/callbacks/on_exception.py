"""OnExceptionCheckpoint: the state is kept when training fails."""

from pathlib import Path
from typing import Any

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks import filenames
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.callbacks.model_checkpoint import at_boundary
from expkit.trainer.console import say, warn


@register("callback", "on_exception_checkpoint")
class OnExceptionCheckpoint(Callback):
    """Saves the state after the last whole step as `dirpath`/`filename` when an exception ends training.

    dirpath: folder (default: checkpoints/ in the run directory). Where gradients of half a step exist, or no step was
    made, there is nothing to go on from, and nothing is saved.
    """

    def __init__(self, dirpath: str | Path | None = None, filename: str = "on_exception") -> None:
        if not filename or "/" in filename or filename.startswith("."):
            raise ConfigError(f"OnExceptionCheckpoint: filename={filename!r} is no name of a file.")
        self.dirpath, self.filename = None if dirpath is None else Path(dirpath).absolute(), filename

    def path(self, trainer: Any) -> Path:
        """Where the checkpoint goes."""
        return (self.dirpath or trainer.run_dir / "checkpoints") / self.filename

    def setup(self, trainer: Any, task: Any, stage: str) -> None:
        if stage == "fit":
            filenames.check_folder("OnExceptionCheckpoint", self.path(trainer).parent)

    def on_exception(self, trainer: Any, task: Any, exception: BaseException) -> None:
        if not trainer.fitting:
            return
        if at_boundary(trainer):
            say(f"saved {trainer.save_checkpoint(self.path(trainer))}, to go on from.")
        else:
            warn("training failed inside of a step: there is no state to go on from.")
