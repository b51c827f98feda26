"""What a person sees: a sweep goes over the network to a real `mlflow server`, and its pages are read in a browser."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from expkit.tracking import MLFlowLogger, dashboard, system
from expkit.tracking.syncing import environment
from tests.tracking.browser import browser, find
from tests.tracking.support import Database, eventually, free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find() is None, reason="no Chromium on the PATH (apt-get install chromium), nor EXPKIT_TEST_BROWSER"
    ),
]

PLUGIN = '''
import numpy as np
import expkit as ek
from expkit.trainer.callbacks import Callback


@ek.register("callback", "pictures")
class Pictures(Callback):
    """What callbacks may draw, once."""

    def on_fit_end(self, trainer, task):
        from matplotlib.figure import Figure
        figure = Figure(figsize=(3, 3))
        figure.add_subplot().matshow(np.eye(10))
        trainer.logger.log_figure(figure, "plots/confusion.png")
        pixels = np.eye(8)
        trainer.logger.log_table({"image": [pixels, 1 - pixels], "predicted": ["seven", "nine"]}, "samples.json")
        for step in (10, 20):
            trainer.logger.log_image(pixels * step / 20, key="digits", step=step)
'''

SWEEP = [
    "-m", "task_name=ui", "plugins=[pictures_of_mine]", "+callbacks.pictures.name=pictures", "trainer.max_epochs=3",
    "model.hidden=[16],[32]", "logger.register_as=ui-digits", "logger.aliases=[candidate]",
    "logger.system_metrics_interval=0.5", "trainer.enable_progress_bar=false", "optimized_metric=val/acc",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(template_database, tmp_path_factory):
    made = tmp_path_factory.mktemp("ui")
    (made / "mlflow.db").write_bytes(template_database.read_bytes())
    (made / "pictures_of_mine.py").write_text(PLUGIN)
    return made


@pytest.fixture(scope="module")
def address(folder):
    """A real `mlflow server`."""
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", (folder / "files").as_uri(), "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    env = {**environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        eventually(lambda: dashboard.taken("127.0.0.1", port), 90)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


@pytest.fixture(scope="module")
def runs(folder, address):
    """The ids of the experiment, the sweep's run, and its runs' by name."""
    env = {**environment(), "MLFLOW_TRACKING_URI": address, "EXPKIT_OUTPUTS": str(folder / "outputs")}
    done = subprocess.run(
        [sys.executable, "-m", "expkit.cli.main", "train", *SWEEP], cwd=folder, env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "expkit sync" not in done.stdout + done.stderr
    watched(folder / "outputs" / "watched", address)
    database = Database(folder / "mlflow.db")
    ((experiment,),) = database.query("select experiment_id from experiments where name = 'ui'")
    children = database.query("select run_uuid from tags where key = 'mlflow.parentRunId'")
    names = {name: run for run, name in database.query("select run_uuid, name from runs") if (run,) in children}
    ((parent,),) = database.query("select distinct value from tags where key = 'mlflow.parentRunId'")
    return str(experiment), parent, names


def watched(run_dir, address):
    """A run that lasts until its shipper has looked at the machine twice."""
    logger = MLFlowLogger("ui", run_dir=str(run_dir), tracking_uri=address, system_metrics_interval=0.3)
    logger.log_metrics({"train/loss": 1.0}, step=1)
    eventually(lambda: len(system.read(run_dir, 0)[0]) > 12, 60)
    logger.finalize()
    assert logger.wait(60), logger.problem()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def look(page, address):
    """Opens a page of the dashboard. Tests leave screenshots in the folder TEST_SCREENSHOTS, if it is set."""

    def opened(where):
        page.open(f"{address}/#{where}")
        return page

    yield opened
    if shots := os.environ.get("TEST_SCREENSHOTS"):
        page.screenshot(Path(shots) / f"{os.environ['PYTEST_CURRENT_TEST'].split('::')[1].split(' ')[0]}.png")


# The sign before a run that shows those below it: only the sweep has one.
EXPANDER = (
    "[...document.querySelectorAll('[data-testid=experiment-view-table-run-color]')]"
    ".map(e => e.parentElement.parentElement.querySelector('button')).find(e => e)"
)
FIRST, SECOND = "model.hidden=[16]", "model.hidden=[32]"


def expand(page):
    """Show the runs below the sweep's. The browser remembers it; on a page that still moves, clicks go astray."""
    page.wait_for("4 matching runs")
    for _ in range(5):
        with contextlib.suppress(AssertionError):
            page.wait_for(FIRST, SECOND, timeout=3)
            return
        page.press(EXPANDER)


def test_the_runs_of_a_sweep_stand_below_it(look, runs):
    experiment, _parent, names = runs
    assert set(names) == {FIRST, SECOND}
    page = look(f"/experiments/{experiment}/runs?workflowType=machine_learning")
    expand(page)
    page.wait_for(FIRST, SECOND)


def test_the_charts_have_a_curve_for_each_run(look, runs):
    page = look(f"/experiments/{runs[0]}/runs?workflowType=machine_learning&compareRunsMode=CHART")
    expand(page)
    page.wait_for("best/val/acc", "test/acc", "train", "val")
    # A plot whose curves are those of both runs.
    drawn = "[...document.querySelectorAll('.js-plotly-plot')].map(p => (p.data || []).map(t => t.name).join())"
    page.wait_until(
        f"{drawn}.some(names => names.includes({json.dumps(FIRST)}) && names.includes({json.dumps(SECOND)}))"
    )


def test_a_run_says_where_it_comes_from_and_what_it_found(look, runs):
    experiment, _parent, names = runs
    page = look(f"/experiments/{experiment}/runs/{names[FIRST]}")
    text = page.wait_for(
        "val/acc", "test/acc", "lr-Adam", "train/loss", "digits", "Training", "Logged models", "Finished"
    )
    assert "model.hidden" in text
    assert "ui-digits" in text
    assert "Run directory" in text


def test_the_model_metrics_of_a_run_are_drawn(look, runs):
    page = look(f"/experiments/{runs[0]}/runs/{runs[2][FIRST]}/model-metrics")
    page.wait_for("train", "val", "test")
    page.wait_until("document.querySelectorAll('.js-plotly-plot').length > 3")


def test_the_artifacts_can_be_looked_into(look, runs):
    page = look(f"/experiments/{runs[0]}/runs/{runs[2][FIRST]}/artifacts/model_summary.txt")
    page.wait_for("checkpoints", "config", "plots", "samples.json", "run.log")
    page.wait_for("parameters", "Linear")


def test_a_picture_is_shown(look, runs):
    page = look(f"/experiments/{runs[0]}/runs/{runs[2][FIRST]}/artifacts/plots/confusion.png")
    page.wait_until("[...document.querySelectorAll('img')].some(i => i.naturalWidth >= 300)")


def test_a_table_is_shown(look, runs):
    page = look(f"/experiments/{runs[0]}/runs/{runs[2][FIRST]}/artifacts/samples.json")
    page.wait_for("predicted", "seven", "nine")


def test_what_was_seen_of_the_machine_is_drawn(look, runs, folder):
    database = Database(folder / "mlflow.db")
    found = {name for name, *_ in database.metrics("watched") if name.startswith("system/")}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= found
    page = look(f"/experiments/{runs[0]}/runs/{database.run_id('watched')}/system-metrics")
    page.wait_for("cpu_utilization_percentage", "network_receive_megabytes")
    page.wait_until("document.querySelectorAll('.js-plotly-plot').length > 1")


def test_the_page_of_the_model_has_what_was_measured_of_it(look, runs, folder):
    query = "select model_id from logged_models where source_run_id = ?"
    ((model,),) = Database(folder / "mlflow.db").query(query, runs[2][FIRST])
    page = look(f"/experiments/{runs[0]}/models/{model}")
    page.wait_for("val/acc", "test/acc", "model.hidden", "Ready", "ui-digits", "Source run")


def test_the_registry_shows_versions_and_aliases(look, runs):
    page = look("/models/ui-digits")
    page.wait_for("Version 1", "Version 2", "champion", "candidate", "expkit.value")


def test_runs_can_be_compared(look, runs):
    experiment, _parent, names = runs
    ids = json.dumps([names[FIRST], names[SECOND]], separators=(",", ":"))
    page = look(f"/compare-runs?runs={ids}&experiments={json.dumps([experiment])}")
    page.wait_for("Comparing 2 Runs from 1 Experiment", FIRST, SECOND, "val/acc", "num_params.total")
