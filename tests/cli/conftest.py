"""The command in process: `expkit("train", "model=cnn")` gives exit code, stdout and stderr."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import pytest

from expkit.cli.main import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def expkit(workdir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the command in an empty working directory."""

    def run(*argv: str) -> Outcome:
        capsys.readouterr()
        code = main(argv)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the trainer and the sweep: notes what they are asked to do, and answers with `result`."""
    notes = SimpleNamespace(runs=[], resumed=[], sweeps=[], result=SimpleNamespace(status="FINISHED", signal=None))
    trainer, sweep = ModuleType("expkit.trainer.experiment"), ModuleType("expkit.sweep")

    def run(composed, run_dir):
        notes.runs.append((composed, run_dir))
        return notes.result

    def resume(run_dir):
        notes.resumed.append(run_dir)
        return notes.result

    def multirun(overrides, **where):
        notes.sweeps.append((overrides, where))
        return 0

    trainer.run, trainer.resume, sweep.multirun = run, resume, multirun
    monkeypatch.setitem(sys.modules, "expkit.trainer.experiment", trainer)
    monkeypatch.setitem(sys.modules, "expkit.sweep", sweep)
    return notes
