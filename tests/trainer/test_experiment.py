"""Whole experiments from configs: what comes out, what is recorded, how they end, and that they resume exactly."""

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import expkit
from expkit.errors import CheckpointError, ConfigError, ExpkitError, NonFiniteError, ShapeError
from expkit.nn.module import Module
from expkit.registry import store
from expkit.tensor import log, zeros
from expkit.trainer import Callback, Interrupted, checkpoint, console, experiment

QUIET = ["logger=none", "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"]
SMALL = [*QUIET, "data=iris", "model.hidden=[8]", "trainer.max_epochs=3"]

pytestmark = pytest.mark.usefixtures("workdir")


class Interrupt(Callback):
    """Sends a signal, raises, or dies at a step."""

    def __init__(self, step: int, how: str = "SIGINT") -> None:
        self.step, self.how = step, how

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.global_step == self.step:
            if self.how == "raise":
                raise ZeroDivisionError("mine")
            if self.how == "die":
                raise Died
            os.kill(os.getpid(), getattr(signal, self.how))


class Died(BaseException):
    """Stands for a SIGKILL; nothing is finalized by it in a real process."""


class Blows(Module):
    """Gives NaN."""

    def __init__(self, output_size: int) -> None:
        super().__init__()
        self.inner = importlib.import_module("expkit.nn").Linear(4, output_size)

    def forward(self, x):
        return self.inner(x) + log(zeros(1)) * 0


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """What these tests register is gone afterwards: other tests look at all that there is."""
    monkeypatch.setitem(store._factories["callback"], "test_interrupt", Interrupt)
    monkeypatch.setitem(store._factories["model"], "test_blows", Blows)


@pytest.fixture(autouse=True)
def silence(monkeypatch):
    monkeypatch.setattr(console.console, "quiet", True)
    level = logging.getLogger("expkit").level
    yield
    logging.getLogger("expkit").setLevel(level)


def interrupting(step: int, how: str) -> list[str]:
    return [f"+callbacks.stop={{name: test_interrupt, step: {step}, how: {how}}}"]


def journal(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def logged(run_dir: Path) -> dict[str, dict[int, float]]:
    table: dict[str, dict[int, float]] = {}
    for line in journal(run_dir):
        for name, value in line.get("metrics", {}).items():
            table.setdefault(name, {})[line["step"]] = value
    return table


def test_what_comes_out():
    result = expkit.train([*SMALL, "trainer.max_epochs=40", "optim.lr=0.01"])
    assert result.status == "FINISHED"
    assert result.metrics["test/acc"] > 0.8
    assert {"train/loss", "val/loss", "val/acc", "val/f1", "test/loss", "test/f1", "lr-Adam"} <= set(result.metrics)
    assert result.optimized_metric == result.metrics["val/loss"]
    best = checkpoint.read_manifest(result.checkpoint)
    assert best["metrics"]["val/loss"] == result.metrics["val/loss"]
    assert best["config"]["optim"]["lr"] == 0.01


def test_what_is_recorded():
    result = expkit.train([*SMALL, "seed=5", "tags=[a,b]", "optimized_metric=val/acc"])
    files = {path.name for path in result.run_dir.iterdir()}
    assert {"config.yaml", "overrides.yaml", "metrics.jsonl", "environment.json", "run.log", "checkpoints"} <= files
    config = yaml.safe_load((result.run_dir / "config.yaml").read_text())
    assert (config["seed"], config["data"]["name"], config["model"]["hidden"]) == (5, "iris", [8])
    assert yaml.safe_load((result.run_dir / "overrides.yaml").read_text())[-1] == "optimized_metric=val/acc"
    lines = journal(result.run_dir)
    params = {name: value for line in lines for name, value in line.get("params", {}).items()}
    assert (params["optim.lr"], params["model.hidden"], params["seed"]) == ("0.001", "[8]", "5")
    assert params["num_params.total"] == str((4 * 8 + 8) + 2 * 8 + (8 * 3 + 3))  # linear, layer norm, linear
    tags = {name: value for line in lines for name, value in line.get("tags", {}).items()}
    assert (tags["tags"], tags["seed"]) == ("a, b", "5")
    assert {line["artifact"] for line in lines if "artifact" in line} >= {"config.yaml", "overrides.yaml", "run.log"}
    assert lines[-1]["end"] == "FINISHED"
    table = logged(result.run_dir)
    assert set(table["test/acc"]) == {max(table["val/acc"])}
    assert list(table["val/loss"]) == [steps := max(table["val/loss"]) // 3, 2 * steps, 3 * steps]
    assert result.optimized_metric == result.metrics["val/acc"]


def test_the_same_seed_gives_the_same_run_and_another_one_does_not():
    first, again, other = (expkit.train([*SMALL, f"seed={seed}", "model.dropout=0.5"]) for seed in (1, 1, 2))
    assert first.metrics == again.metrics
    assert logged(first.run_dir) == logged(again.run_dir)
    assert first.metrics != other.metrics
    assert first.run_dir != again.run_dir


def test_a_seed_that_was_drawn_is_recorded():
    result = expkit.train([*SMALL, "seed=null"])
    seed = yaml.safe_load((result.run_dir / "config.yaml").read_text())["seed"]
    assert isinstance(seed, int)
    assert expkit.train([*SMALL, f"seed={seed}"]).metrics == result.metrics


VARIANTS = {
    "regression": ["data=diabetes", "model=linear"],
    "a schedule": ["scheduler=cosine"],
    "a schedule of a metric": ["scheduler=plateau"],
    "one score for two classes": ["data=breast_cancer", "loss=bce_with_logits"],
    "another loss": ["data=breast_cancer", "+model.output_size=1", "loss=bce_with_logits"],
    "no callbacks": ["callbacks=none"],
    "callbacks removed": ["callbacks=null"],
    "one removed": ["~callbacks.early_stopping"],
    "no test": ["test=false"],
    "no training": ["train=false"],
    "csv": ["logger=csv"],
    "fast_dev_run": ["debug=fdr"],
    "limit": ["debug=limit"],
    "overfit": ["debug=overfit", "trainer.max_epochs=2"],
    "accumulation": ["trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=1.0"],
    "double": ["trainer.precision=64-true"],
    "no validation": ["data.val_fraction=0", "callbacks=none"],
}


def _groups(override: str) -> tuple[str, str]:
    key = override.split("=")[0]
    return key, key.split(".")[0] if key.startswith("model.") else key


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS.keys())
def test_variants_run_to_their_end(overrides):
    chosen = {text.split("=")[0].lstrip("+~") for text in overrides}
    result = expkit.train([*[text for text in SMALL if not set(_groups(text)) & chosen], *overrides])
    assert result.status == "FINISHED"
    assert ("test/loss" in result.metrics) == ("test=false" not in overrides)
    assert journal(result.run_dir)[-1] == {**journal(result.run_dir)[-1], "end": "FINISHED"}


def test_training_data_are_not_touched_without_training():
    result = expkit.train([*SMALL, "train=false"])
    assert set(result.metrics) == {"test/loss", "test/acc", "test/f1"}


FAILURES = {
    "bad argument": (["optim.lr=-1"], ConfigError, "override 'optim.lr=-1'"),
    "shapes": (
        ["+model.input_shape=[5]"],
        ShapeError,
        r"model\.layers\.0 \(Linear\(5 -> 8\)\)[\s\S]*model\.input_shape \(override",
    ),
    "classes": (["+model.output_size=2"], ExpkitError, r"class index 2[\s\S]*model\.output_size \(override"),
    "monitor": (["callbacks.early_stopping.monitor=val/lss"], ConfigError, "override .*Did you mean 'val/loss'"),
    "ranking": (["optimized_metric=test/acuracy"], ConfigError, "optimized_metric=test/acuracy"),
    "checkpoint": (["ckpt_path=nowhere"], CheckpointError, "nowhere does not exist"),
}


@pytest.mark.parametrize(("overrides", "kind", "said"), FAILURES.values(), ids=FAILURES.keys())
def test_bad_input_is_raised_before_a_run_begins(overrides, kind, said):
    small = [text for text in SMALL if not (text.startswith("logger") and "~logger" in overrides)]
    with pytest.raises(kind, match=said):
        expkit.train([*small, *overrides])
    assert not list(Path("outputs").rglob("metrics.jsonl"))


def test_a_failure_is_recorded_and_raised():
    with pytest.raises(ZeroDivisionError, match="mine"):
        expkit.train([*SMALL, *interrupting(3, "raise")])
    [run_dir] = Path("outputs").glob("*/runs/*")
    assert journal(run_dir)[-1]["end"] == "FAILED"
    assert "ZeroDivisionError: mine" in (run_dir / "run.log").read_text()
    assert "Traceback" in (run_dir / "run.log").read_text()


def test_a_loss_that_is_not_finite_is_recorded_and_raised():
    with pytest.raises(NonFiniteError, match=r"model \(Blows\(\)\)"):
        expkit.train([*QUIET, "data=iris", "model=test_blows"])
    [run_dir] = Path("outputs").glob("*/runs/*")
    assert journal(run_dir)[-1]["end"] == "FAILED"
    assert "Traceback" not in (run_dir / "run.log").read_text()


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_as_killed_and_it_can_be_resumed(how):
    whole = expkit.train(SMALL)
    with pytest.raises(Interrupted) as caught:
        expkit.train([*SMALL, *interrupting(3, how)])
    run_dir = Path(caught.value.saved).parents[1]
    assert journal(run_dir)[-1]["end"] == "KILLED"
    config = (run_dir / "config.yaml").read_text()
    (run_dir / "config.yaml").write_text(config.replace("step: 3", "step: -1"))
    resumed = experiment.resume(run_dir)
    assert resumed.status == "FINISHED"
    assert resumed.metrics == whole.metrics
    assert logged(run_dir) == logged(whole.run_dir)
    assert journal(run_dir)[-1]["end"] == "FINISHED"


def test_run_reports_a_signal_instead_of_raising(capsys):
    composed = expkit.config.compose([*SMALL, *interrupting(2, "SIGTERM"), f"task_name={'long_' * 20}"])
    result = experiment.run(composed, expkit.config.make_run_dir(composed))
    assert (result.status, result.signal, result.run_dir.name in result.checkpoint) == ("KILLED", 15, True)
    assert f"expkit resume {result.run_dir}" in capsys.readouterr().out  # on one line, as it is to be copied


def test_killed_before_a_checkpoint_starts_anew_with_the_same_result():
    whole = expkit.train(SMALL)
    with pytest.raises(Died):
        expkit.train([*SMALL, *interrupting(1, "die")])
    [run_dir] = [path for path in Path("outputs").glob("*/runs/*") if path.absolute() != whole.run_dir]
    (run_dir / "config.yaml").write_text((run_dir / "config.yaml").read_text().replace("step: 1", "step: -1"))
    resumed = experiment.resume(run_dir)
    assert resumed.metrics == whole.metrics
    assert logged(run_dir) == logged(whole.run_dir)


def test_resuming_a_finished_run_changes_nothing():
    whole = expkit.train(SMALL)
    before = logged(whole.run_dir)
    assert experiment.resume(whole.run_dir).metrics == whole.metrics
    assert logged(whole.run_dir) == before


def test_a_new_run_goes_on_from_a_checkpoint():
    whole = expkit.train([*SMALL, "trainer.max_epochs=4"])
    half = expkit.train([*SMALL, "trainer.max_epochs=2"])
    rest = expkit.train([*SMALL, "trainer.max_epochs=4", f"ckpt_path={half.run_dir}"])
    assert rest.run_dir != half.run_dir
    assert {name: rest.metrics[name] for name in ("train/loss", "test/loss")} == {
        name: whole.metrics[name] for name in ("train/loss", "test/loss")
    }


def test_a_checkpoint_can_be_tested_without_training():
    trained = expkit.train(SMALL)
    tested = expkit.train([*SMALL, "train=false", f"ckpt_path={trained.checkpoint}"])
    assert tested.metrics["test/loss"] == trained.metrics["test/loss"]


def test_what_is_no_run_directory_cannot_be_resumed(tmp_path):
    with pytest.raises(ConfigError, match=r"is no run directory: it has no config\.yaml"):
        experiment.resume(tmp_path)


def test_train_refuses_several_values():
    with pytest.raises(ConfigError, match="several"):
        expkit.train(["optim.lr=1e-2,1e-3"])


def test_the_length_of_training_can_be_referred_to():
    result = expkit.train(
        [*SMALL, "scheduler=cosine", "scheduler.T_max=${derived:total_steps}", "scheduler.interval=step"]
    )
    steps = max(logged(result.run_dir)["train/loss"])
    lr = logged(result.run_dir)["lr-Adam"]
    assert lr[0] == 1e-3
    assert steps % 3 == 0
    assert all(later <= earlier for earlier, later in zip(lr.values(), list(lr.values())[1:], strict=False))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_the_command_survives_signals(tmp_path, number, code):
    """A real process; after SIGKILL nothing of it could say good-bye, and the run still resumes to the same result."""
    arguments = [*QUIET, "data=iris", "model.hidden=[8]", "trainer.max_epochs=60", "~callbacks.early_stopping"]
    command = [sys.executable, "-m", "expkit.cli.main", "train", *arguments]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(expkit.__file__).parents[1]),
        "EXPKIT_OUTPUTS": str(tmp_path / "out"),
    }
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/*/runs/*/checkpoints/last.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == code, output
    [run_dir] = tmp_path.glob("out/*/runs/*")
    ends = [line["end"] for line in journal(run_dir) if "end" in line]
    assert ends == ([] if number == signal.SIGKILL else ["KILLED"])
    assert ("expkit resume" in output) == (number != signal.SIGKILL)
    resumed = experiment.resume(run_dir)
    assert resumed.metrics == expkit.train(arguments).metrics
