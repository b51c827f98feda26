"""The Trainer's arguments: Lightning's names and defaults, their types, and what is legal beyond the type.

A field's annotation is what configs are checked against (trainer.max_epochs=ten is refused before anything is loaded);
RULES says the rest. `None` means the default in Lightning's documentation.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_type_hints

from expkit.errors import ConfigError
from expkit.registry import accept
from expkit.registry.types import Mismatch
from expkit.trainer.triggers import seconds

DEFAULTS = {
    "precision": "32-true",
    "limit_train_batches": 1.0,
    "limit_val_batches": 1.0,
    "limit_test_batches": 1.0,
    "limit_predict_batches": 1.0,
    "val_check_interval": 1.0,
    "num_sanity_val_steps": 2,
    "log_every_n_steps": 50,
    "enable_checkpointing": True,
    "enable_progress_bar": True,
    "enable_model_summary": True,
    "gradient_clip_algorithm": "norm",
    "deterministic": False,
}
MAX_EPOCHS = 1000  # where neither epochs, steps nor time are limited


@dataclass(kw_only=True)
class Arguments:
    """See the Trainer. ConfigError, naming the argument and what is legal, for a wrong value."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda"] = "auto"
    strategy: Literal["auto", "single_device"] = "auto"
    devices: int | str | list[int] = "auto"
    num_nodes: int = 1
    precision: (
        Literal["32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"]
        | Literal["32", "64", "16", "bf16", 32, 64, 16]
        | None
    ) = None
    logger: Any = None
    callbacks: Any = None
    fast_dev_run: bool | int = False
    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: str | timedelta | dict[str, int] | None = None
    limit_train_batches: int | float | None = None
    limit_val_batches: int | float | None = None
    limit_test_batches: int | float | None = None
    limit_predict_batches: int | float | None = None
    overfit_batches: int | float = 0.0
    val_check_interval: int | float | None = None
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: int | None = None
    log_every_n_steps: int | None = None
    enable_checkpointing: bool | None = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = None
    accumulate_grad_batches: int = 1
    gradient_clip_val: int | float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    deterministic: bool | Literal["warn"] | None = None
    detect_anomaly: bool = False
    profiler: None = None
    default_root_dir: str | Path | None = None
    compile: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        hints = get_type_hints(Arguments)
        for field in fields(Arguments):
            value = getattr(self, field.name)
            try:
                value = accept(value, hints[field.name])
            except Mismatch as problem:
                raise ArgumentError(field.name, f"{field.name!r} of the trainer: {problem}.") from None
            setattr(self, field.name, DEFAULTS.get(field.name) if value is None else value)
        for name, (legal, what) in RULES.items():
            if not legal(getattr(self, name)):
                raise ArgumentError(name, f"{name}={getattr(self, name)!r} of the trainer: expected {what}.")
        _check_together(self)


class ArgumentError(ConfigError):
    """A trainer argument is wrong; `key` says which."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


Rule = tuple[Callable[[Any], bool], str]


def _at_least(low: float, *others: Any) -> Rule:
    legal = " or ".join([f"at least {low:g}", *map(str, others)])
    return lambda value: value in others or value >= low, legal


def _is_share(value: int | float) -> bool:
    return value >= 0 if isinstance(value, int) else 0.0 <= value <= 1.0


def _is_time(value: Any) -> bool:
    try:
        seconds(value)
    except ConfigError:
        return False
    return True


_SHARE: Rule = (_is_share, "a share of the batches from 0.0 to 1.0, or a whole number of batches")

RULES: dict[str, Rule] = {
    "num_nodes": (lambda value: value == 1, "1 (training on several machines does not exist)"),
    "devices": (
        lambda value: value in ("auto", 1, "1", -1) or _is_one_index(value),
        "auto, 1, or the index of one GPU",
    ),
    "fast_dev_run": _at_least(0),
    "max_epochs": _at_least(0, -1, None),
    "min_epochs": _at_least(0, None),
    "max_steps": _at_least(0, -1),
    "min_steps": _at_least(0, None),
    "max_time": (_is_time, "'DD:HH:MM:SS', e.g. '00:01:30:00' for an hour and a half"),
    **dict.fromkeys([f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")], _SHARE),
    "overfit_batches": _SHARE,
    "val_check_interval": (
        lambda value: value >= 1 if isinstance(value, int) else 0.0 < value <= 1.0,
        "a share of the epoch above 0.0 and up to 1.0, or a whole number of batches",
    ),
    "check_val_every_n_epoch": _at_least(1, None),
    "num_sanity_val_steps": _at_least(0, -1),
    "log_every_n_steps": _at_least(0),
    "accumulate_grad_batches": _at_least(1),
    "gradient_clip_val": _at_least(0, None),
}


def _is_one_index(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1 and value[0] >= 0


def _check_together(given: Arguments) -> None:
    if given.check_val_every_n_epoch is None and not isinstance(given.val_check_interval, int):
        raise ArgumentError(
            "val_check_interval",
            f"val_check_interval={given.val_check_interval} of the trainer: with check_val_every_n_epoch=None it "
            "counts batches over all epochs, so give a whole number.",
        )
    if given.max_epochs is None and given.max_steps == -1 and given.max_time is None and not given.fast_dev_run:
        given.max_epochs = MAX_EPOCHS
