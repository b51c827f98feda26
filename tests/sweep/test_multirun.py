"""Whole sweeps, on small data and without a tracking server."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from expkit.cli.main import main
from expkit.errors import ConfigError
from expkit.sweep import multirun
from expkit.tracking import RunInfo, history

QUICK = ["data=iris", "trainer.max_epochs=1", "model.hidden=[8]", "logger=none", "trainer.enable_progress_bar=false"]


def results(workdir: Path) -> list[dict]:
    (path,) = workdir.glob("outputs/*/multiruns/*/multirun.json")
    return json.loads(path.read_text())


def test_every_combination_runs_and_is_ranked(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert multirun([*QUICK, "optim.lr=0.1,1e-6", "seed=1,2"]) == 0
    jobs = results(workdir)
    assert [job["varied"] for job in jobs] == [
        {"optim.lr": "0.1", "seed": "1"}, {"optim.lr": "0.1", "seed": "2"},
        {"optim.lr": "1e-06", "seed": "1"}, {"optim.lr": "1e-06", "seed": "2"},
    ]  # fmt: skip
    assert {job["status"] for job in jobs} == {"FINISHED"}
    assert len({job["run_dir"] for job in jobs}) == 4
    best = min(jobs, key=lambda job: job["value"])
    table = capsys.readouterr().out.rpartition("4 runs by val/loss (min)")[2]
    first = next(line.split() for line in table.splitlines() if line.split()[:1] == ["1"])
    assert first[1:4] == [str(best["number"]), *best["varied"].values()]


def test_a_job_is_what_the_same_single_run_is(workdir: Path) -> None:
    assert multirun([*QUICK, "optim.lr=0.1,0.01"]) == 0
    swept = results(workdir)[1]["metrics"]["val/loss"]
    assert main(["train", *QUICK, "optim.lr=0.01", "task_name=single"]) == 0
    (run_dir,) = workdir.glob("outputs/single/runs/*")
    assert swept in [value for _, value in history(run_dir)["val/loss"]]


def test_a_failed_job_is_named_and_the_rest_goes_on(workdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["train", "-m", *QUICK, "optim.lr=1e30,0.01"]) == 1
    assert [job["status"] for job in results(workdir)] == ["FAILED", "FINISHED"]
    assert "1 of 2 runs failed: job 0 (optim.lr=1e+30)" in caplog.text


def test_a_mistake_in_any_job_is_known_before_the_first_runs(workdir: Path) -> None:
    with pytest.raises(ConfigError, match="mlp"):
        multirun(["logger=none", "model=linear,mpl"])
    assert not list(workdir.glob("outputs/*/multiruns/*/0"))


def test_a_signal_ends_the_sweep_after_its_job(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from expkit.trainer.trainer import Trainer

    fit = Trainer.fit

    def interrupted(self: Trainer, *args: object, **kwargs: object) -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "fit", interrupted)
    assert multirun([*QUICK, "seed=1,2"]) == 130
    assert [job["status"] for job in results(workdir)][1:] == ["NOT RUN"]


def test_a_job_that_fails_before_it_begins_is_a_failed_run_of_the_sweep(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a journal of its own, which the sweep's shipper brings to the dashboard."""
    monkeypatch.setattr("expkit.tracking.loggers.start_shipper", lambda run_dir: None)
    monkeypatch.setattr("expkit.tracking.loggers.wait_for", lambda run_dir, timeout=None: True)
    monkeypatch.setattr(sys.modules["expkit.sweep.multirun"], "wait_for", lambda run_dir, timeout=None: True)
    overrides = ["data=iris", "trainer.max_epochs=1", "trainer.enable_progress_bar=false", "model=linear,cnn"]
    assert multirun(overrides) == 1
    (job,) = [job for job in results(workdir) if job["status"] == "FAILED"]
    journal = (Path(job["run_dir"]) / "metrics.jsonl").read_text()
    assert "needs images" in journal
    assert '"FAILED"' in journal
    assert RunInfo.read(Path(job["run_dir"])).parent is not None
