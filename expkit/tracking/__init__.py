"""Tracking: a local journal that nothing can hold up, and a shipper process that brings it to MLflow.

    logger = MLFlowLogger(experiment_name="digits", run_dir="outputs/runs/first")
    logger.log_params({"optim": {"lr": 1e-3}})
    logger.log_metrics({"train/loss": 0.3}, step=10, epoch=0)
    logger.finalize("FINISHED")
    if not logger.wait():
        print(logger.problem())

MLflow is never imported here: `shipper`, `shipping` and `store` run in a process of their own.
"""

from expkit.tracking.dashboard import ui
from expkit.tracking.journal import Journal, history, rows
from expkit.tracking.loggers import CSVLogger, JournalLogger, MLFlowLogger, new_run_dir
from expkit.tracking.runinfo import RunInfo, Status, outputs_root, read_status, resolve_uri
from expkit.tracking.syncing import (
    Report,
    register_model,
    start_shipper,
    sync,
    sync_hint,
    tracked_runs,
    wait_for,
)

__all__ = [
    "CSVLogger",
    "Journal",
    "JournalLogger",
    "MLFlowLogger",
    "Report",
    "RunInfo",
    "Status",
    "history",
    "new_run_dir",
    "outputs_root",
    "read_status",
    "register_model",
    "resolve_uri",
    "rows",
    "start_shipper",
    "sync",
    "sync_hint",
    "tracked_runs",
    "ui",
    "wait_for",
]
