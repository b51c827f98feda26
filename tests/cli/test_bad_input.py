"""Bad input, through the command: one clear message (what, where, close match or what is legal), exit code 2, no
traceback, no run left RUNNING. The rows are in `table_bad_input.py`.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import expkit as ek
from expkit.registry import names, store
from tests.cli.table_bad_input import CONFIG, RUN, VERBS, Row

SMALL = [
    "logger=none",
    "trainer.max_epochs=1",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
]


@pytest.fixture(autouse=True)
def own_registry(workdir: Path, monkeypatch: pytest.MonkeyPatch):
    """What rows register, and the modules that they write, are gone afterwards."""
    for group in store.GROUPS:
        names(group)
    monkeypatch.setattr(store, "_factories", {group: dict(table) for group, table in store._factories.items()})
    monkeypatch.setattr(store, "_plugins", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(workdir)):
            del sys.modules[name]


@pytest.fixture
def refused(expkit: Callable, workdir: Path):
    """Runs the command on a row and checks everything that all rows have in common; gives the message."""

    def check(row: Row, *argv: str, run: str = "") -> str:
        for name, content in row.files.items():
            path = workdir / name.replace("{run}", run)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        code, _, err = expkit(*argv)
        assert code == 2, err
        assert not [fragment for fragment in row.said if fragment not in err], err
        assert "Traceback" not in err
        assert len(re.findall(r"^\w+Error: ", err, re.MULTILINE)) == 1, err
        return err

    return check


@pytest.mark.parametrize("row", CONFIG.values(), ids=CONFIG.keys())
def test_refused_before_anything_is_loaded(refused, workdir, row):
    refused(row, "train", *row.argv)
    assert not (workdir / "outputs").exists()


@pytest.mark.parametrize("row", RUN.values(), ids=RUN.keys())
def test_refused_before_or_at_the_first_step(refused, workdir, row):
    refused(row, "train", *row.argv, *[s for s in SMALL if s.split("=")[0] not in " ".join(row.argv)])
    assert unfinished(workdir / "outputs") == []


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of one epoch."""
    run = tmp_path_factory.mktemp("finished") / "run"
    ek.train(["data=iris", "model=linear", *SMALL, f"hydra.run.dir={run}"])
    return run


@pytest.mark.parametrize("row", VERBS.values(), ids=VERBS.keys())
def test_refused_by_its_verb(refused, workdir, finished_run, row):
    shutil.copytree(finished_run, workdir / "finished", symlinks=True)
    refused(row, *[word.replace("{run}", "finished") for word in row.argv], run="finished")


def unfinished(outputs: Path) -> list[str]:
    """Run directories whose journal began and did not end."""
    journals = {path.parent: path.read_text().splitlines() for path in outputs.rglob("metrics.jsonl")}
    return [
        str(path) for path, lines in journals.items() if lines and not any("end" in json.loads(row) for row in lines)
    ]


def test_there_are_enough_rows():
    assert len(CONFIG) + len(RUN) + len(VERBS) >= 120
