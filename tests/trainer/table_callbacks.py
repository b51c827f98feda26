"""What each registered callback must bring about, and which of its arguments are refused."""

import json
from typing import Any

from expkit.trainer import WeightAveraging, checkpoint


def rows(trainer: Any, name: str) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (trainer.run_dir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["metrics"][name]) for line in lines if name in line.get("metrics", {})]


def kept(trainer: Any) -> set[str]:
    return {path.name for path in (trainer.run_dir / "checkpoints").iterdir() if path.is_dir()}


def averaged(trainer: Any) -> int:
    [callback] = [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]
    return int(callback.average.n_averaged.item())


# config of the callback -> what must be true after two epochs of six batches
EFFECTS: dict[str, list[tuple[dict[str, Any], Any]]] = {
    "model_checkpoint": [
        (
            {"monitor": "val/loss"},
            lambda t: len(kept(t)) in (1, 2) and checkpoint.last(t.run_dir / "checkpoints").is_dir(),
        ),
        ({"save_top_k": -1}, lambda t: kept(t) == {"epoch_000-step_000006", "epoch_001-step_000012"}),
        ({"every_n_train_steps": 5, "save_top_k": 2}, lambda t: "epoch_000-step_000005" in kept(t)),
        ({"every_n_epochs": 2}, lambda t: kept(t) == {"epoch_001-step_000012"}),
        ({"train_time_interval": {"seconds": 0}, "save_top_k": -1}, lambda t: len(kept(t)) == 12),
        ({"train_time_interval": "01:00:00:00"}, lambda t: kept(t) == {"epoch_001-step_000012"}),
        ({"save_weights_only": True}, lambda t: "callbacks" not in checkpoint.load(t.run_dir / "checkpoints")),
        (
            {"save_on_train_epoch_end": False, "monitor": "train/loss_epoch", "save_top_k": -1},
            lambda t: kept(t) == {"epoch_001-step_000012"},
        ),
        ({"filename": "x", "save_top_k": -1}, lambda t: kept(t) == {"x", "x-v1"}),
        ({"filename": "x", "save_top_k": -1, "enable_version_counter": False}, lambda t: kept(t) == {"x"}),
        (
            {"filename": "{epoch:03d}-{step}", "auto_insert_metric_name": False, "save_top_k": -1},
            lambda t: kept(t) == {"000-6", "001-12"},
        ),
        (
            {"filename": "{epoch}-{val/acc:.1f}", "monitor": "val/acc", "mode": "max"},
            lambda t: min(kept(t)).startswith("epoch=0-val_acc=0."),
        ),
    ],
    "early_stopping": [
        ({"monitor": "val/loss", "stopping_threshold": 99.0}, lambda t: t.global_step == 6),
        ({"monitor": "train/loss", "divergence_threshold": 0.0}, lambda t: t.global_step == 6),
        ({"monitor": "val/loss", "patience": 1, "min_delta": 99.0}, lambda t: t.global_step == 12),
        (
            {"monitor": "val/loss", "stopping_threshold": 99.0, "check_on_train_epoch_end": True},
            lambda t: t.early_stopping_callback.stopped_epoch == 0 and t.global_step == 6,
        ),
        (
            {"monitor": "train/loss_epoch", "stopping_threshold": 99.0, "check_on_train_epoch_end": False},
            lambda t: t.global_step == 12,
        ),
    ],
    "learning_rate_monitor": [
        ({}, lambda t: rows(t, "lr-Adam") == [(0, 1e-3), (6, 1e-3)]),
        ({"logging_interval": "step"}, lambda t: [step for step, _ in rows(t, "lr-Adam")] == [4, 8]),
        ({"log_momentum": True}, lambda t: rows(t, "lr-Adam-momentum")[0] == (0, 0.9)),
        ({"log_weight_decay": True}, lambda t: rows(t, "lr-Adam-weight_decay") == [(0, 0.0), (6, 0.0)]),
    ],
    "timer": [
        ({"duration": "00:00:00:00"}, lambda t: t.global_step == 1),
        ({"duration": {"seconds": 0}, "interval": "epoch"}, lambda t: t.global_step == 6),
        ({"duration": "01:00:00:00"}, lambda t: t.global_step == 12),
        ({}, lambda t: t.global_step == 12),
    ],
    "gradient_accumulation_scheduler": [
        ({"scheduling": {0: 3, 1: 6}}, lambda t: t.global_step == 3),
        ({"scheduling": {1: 2}}, lambda t: t.global_step == 9),
    ],
    "weight_averaging": [({}, lambda t: averaged(t) == 12)],
    "ema_weight_averaging": [({"update_every_n_steps": 4}, lambda t: averaged(t) == 3)],
    "stochastic_weight_averaging": [({"swa_lrs": 0.1, "swa_epoch_start": 2}, lambda t: averaged(t) == 1)],
    "throughput_monitor": [
        ({}, lambda t: [value for _, value in rows(t, "train/samples")] == [32.0, 64.0, 96.0]),
    ],
    "device_stats_monitor": [({}, lambda t: len(rows(t, "device/process_memory_megabytes")) == 3)],
    "on_exception_checkpoint": [({}, lambda t: "on_exception" not in kept(t))],
    "prediction_writer": [({"write_interval": "epoch"}, lambda t: not (t.run_dir / "predictions").exists())],
    "backbone_finetuning": [
        ({"backbone": "0", "unfreeze_backbone_at_epoch": 1}, lambda t: len(t.optimizer.param_groups) == 2),
    ],
    "learning_rate_finder": [
        ({"num_training_steps": 30, "max_lr": 10.0}, lambda t: t.optimizer.param_groups[0]["lr"] != 1e-3),
        ({"num_training_steps": 30, "update_attr": False}, lambda t: t.optimizer.param_groups[0]["lr"] == 1e-3),
    ],
    "batch_size_finder": [({"max_val": 24}, lambda t: t.global_step == 4)],
    "confusion_matrix": [({}, lambda t: (t.run_dir / "artifacts/confusion_matrix/val.csv").is_file())],
    "prediction_samples": [({"every_n_epochs": 2}, lambda t: (t.run_dir / "artifacts/samples").is_dir())],
    "rich_progress_bar": [({}, lambda t: True), ({"refresh_rate": 0}, lambda t: True)],
    "model_summary": [({}, lambda t: t.shapes["model.0"] == ((8, 4), (8, 8))), ({"max_depth": 0}, lambda t: True)],
}

WRONG = [
    ("model_checkpoint", {"mode": "best"}, "'min' or 'max'"),
    ("model_checkpoint", {"save_top_k": -2}, "save_top_k=-2"),
    ("model_checkpoint", {"every_n_epochs": -1}, "every_n_epochs"),
    ("model_checkpoint", {"filename": "a/b"}, "no name of a file"),
    ("model_checkpoint", {"filename": "{epoch"}, "no name of a file"),
    ("model_checkpoint", {"train_time_interval": "1h"}, "train_time_interval='1h'"),
    ("model_checkpoint", {"train_time_interval": {"hours": 1}, "every_n_epochs": 1}, "excludes"),
    ("early_stopping", {"monitor": "x", "patience": -1}, "patience=-1"),
    ("early_stopping", {}, "needs 'monitor'"),
    ("timer", {"duration": "1h"}, "'DD:HH:MM:SS'"),
    ("gradient_accumulation_scheduler", {"scheduling": {0: 0}}, "scheduling"),
    ("gradient_accumulation_scheduler", {"scheduling": {}}, "scheduling"),
    ("learning_rate_monitor", {"logging_interval": "batch"}, "'step' or 'epoch'"),
    ("rich_progress_bar", {"refresh_rate": -1}, "refresh_rate=-1"),
    ("model_summary", {"max_depth": -2}, "max_depth=-2"),
]
