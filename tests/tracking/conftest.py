"""What the tracking tests share."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from expkit.tracking import loggers
from expkit.tracking.journal import Journal
from tests.tracking.support import Database, Zygote, make_run


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def template_database(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: making one takes seconds."""
    outputs = tmp_path_factory.mktemp("template")
    run_dir = outputs / "run"
    make_run(run_dir, outputs / "mlflow.db", experiment="template")
    Journal(run_dir).finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    with sqlite3.connect(outputs / "mlflow.db") as connection:
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            connection.execute(f"delete from {table}")
    connection.close()
    return outputs / "mlflow.db"


@pytest.fixture
def outputs(template_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outputs folder with an MLflow database, and the working directory around it."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    shutil.copy(template_database, folder / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def no_shipper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loggers start no process: the test ships by the zygote."""
    monkeypatch.setattr(loggers, "start_shipper", lambda run_dir: None)


@pytest.fixture
def database(outputs: Path) -> Database:
    return Database(outputs / "mlflow.db")
