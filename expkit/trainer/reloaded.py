"""A run, or one of its checkpoints, as objects again: config, data, task with the weights in it.

run = reload("outputs/train/runs/...")       # its best checkpoint
run.evaluate("test")                         # {"test/loss": ..., "test/acc": ...}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expkit.config import Composed, load, validate
from expkit.config.changes import change
from expkit.data import ConcatDataset, DataLoader, DataModule
from expkit.errors import CheckpointError, ConfigError, DataError, did_you_mean
from expkit.trainer import assemble, checkpoint, facts
from expkit.trainer.alike import alike
from expkit.trainer.assemble_task import make_task
from expkit.trainer.task import Task
from expkit.trainer.trainer import Trainer

SPLITS = ("test", "val", "train", "all")
# What of the trainer's arguments matters to a model that is only evaluated.
TRAINER_KEYS = ("accelerator", "devices", "precision", "deterministic", "compile")
QUIET = ("enable_checkpointing", "enable_progress_bar", "enable_model_summary")
CHANGEABLE = ("data", "metrics", "device", "trainer", "vars", "seed")
WHY = "the weights belong to the rest of the run's config"


@dataclass
class Reloaded:
    """What `reload` gives. `data` is what overrides ask for, in the units and class numbers of the run's own."""

    composed: Composed
    config: dict[str, Any]
    data: DataModule
    task: Task
    checkpoint: Path
    split: str  # the part that is meant where none is named: test, or all of data from elsewhere

    def trainer(self) -> Trainer:
        """A Trainer as the run had it, that records nothing."""
        arguments = {key: self.config["trainer"][key] for key in TRAINER_KEYS if key in self.config["trainer"]}
        quiet: dict[str, Any] = {
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        return Trainer(**arguments, **quiet, logger=False)

    def loader(self, split: str | None = None) -> DataLoader:
        """Batches of a part, in its own order. ConfigError for a part that the data does not have."""
        return DataLoader(part_of(self.data, split or self.split), self.data.batch_size)

    def evaluate(self, split: str | None = None) -> dict[str, float]:
        """The metrics of a part of the data, under its name: test/loss, test/acc, ..."""
        split = split or self.split
        trainer, loader = self.trainer(), self.loader(split)
        stage = "val" if split == "val" else "test"
        run = trainer.validate if stage == "val" else trainer.test
        values = run(self.task, loader, verbose=False)[0]
        return {_renamed(name, stage, split): value for name, value in values.items()}


def reload(path: str | Path, which: str = "best", overrides: Sequence[str] = (), *, samples: bool = True) -> Reloaded:
    """The run at `path`: a run directory (then `which` is "best", "last" or a checkpoint's name), or a checkpoint.

    overrides: of data, device and trainer. samples: whether the run's data are needed, not only what is known of them.
    ConfigError, CheckpointError or DataError for what does not fit.
    """
    run_dir, saved = locate(Path(path), which)
    own = validate(load(run_dir / "config.yaml"))["data"]
    composed = load(run_dir / "config.yaml")
    composed.set_run_dir(run_dir)
    change(composed, overrides, CHANGEABLE, WHY)
    config = validate(composed)
    foreign = _samples(config["data"]) != _samples(own)
    known = None if samples or foreign else facts.load(run_dir)
    data = trained = assemble.make_data(composed, config) if known is None else known
    if foreign:
        first = load(run_dir / "config.yaml")
        trained = assemble.make_data(first, validate(first))
        data = alike(data, trained)
    derived = assemble.derive(trained, config["trainer"])
    config = composed.resolved(derived)
    task = make_task(composed, config, trained, derived)
    try:
        task.load_checkpoint_weights(checkpoint.load_weights(saved))
    except CheckpointError as error:
        raise CheckpointError(f"{saved}: {error}") from None
    task.eval()
    elsewhere = any(config["data"].get(key) != own.get(key) for key in ("name", "path"))
    return Reloaded(composed, config, data, task, saved, "all" if elsewhere else "test")


def locate(path: Path, which: str = "best") -> tuple[Path, Path]:
    """(run directory, checkpoint) that `path` means. ConfigError or CheckpointError where there is none."""
    path = path.absolute()
    if (path / checkpoint.MANIFEST).is_file():
        return _run_of(path), path
    folder = path / "checkpoints"
    named = folder / which
    if which not in ("best", "last"):
        if not (named / checkpoint.MANIFEST).is_file():
            found = sorted(file.parent.name for file in folder.glob(f"*/{checkpoint.MANIFEST}"))
            known = ["best", "last", *found]
            listed = f" Checkpoints: {', '.join(known)}." if found else " It has no checkpoints."
            raise CheckpointError(f"{path} has no checkpoint {which!r}.{did_you_mean(which, known)}{listed}")
        return path, named
    newest = checkpoint.last(folder)
    if newest is None:
        raise CheckpointError(
            f"{path} has no checkpoint: the run ended before one was saved, or kept none "
            "(callbacks.model_checkpoint, trainer.enable_checkpointing, trainer.fast_dev_run)."
        )
    return path, newest if which == "last" else checkpoint.best(newest)


def _run_of(saved: Path) -> Path:
    """The run directory that a checkpoint lies in."""
    for folder in saved.parents:
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"{saved}: this checkpoint lies in no run directory: no folder above it has a config.yaml.")


def _samples(entry: dict[str, Any]) -> dict[str, Any]:
    """What of a data config says which samples there are, and not how they are dealt out."""
    return {key: value for key, value in entry.items() if key not in ("batch_size", "drop_last")}


def part_of(data: DataModule, split: str) -> Any:
    """The samples of a part. ConfigError for one that the data does not have."""
    if split not in SPLITS:
        raise ConfigError(f"split {split!r}: there is {', '.join(SPLITS)}.{did_you_mean(split, SPLITS)}")
    parts = {"train": data.train, "val": data.val, "test": data.test}
    if split == "all":
        return ConcatDataset([part for part in parts.values() if part is not None])
    if parts[split] is None:
        have = ", ".join(name for name, part in parts.items() if part is not None)
        raise DataError(f"the data has no {split} part; it has {have}. Choose one of them, or all.")
    return parts[split]


def _renamed(name: str, stage: str, split: str) -> str:
    return f"{split}/{name.removeprefix(f'{stage}/')}" if name.startswith(f"{stage}/") else name
