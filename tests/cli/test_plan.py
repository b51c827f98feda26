"""`expkit plan`: tables for people, JSON for scripts, and the errors of `expkit train`."""

import json
import subprocess
import sys

import pytest

from expkit.cli.plan import size
from expkit.errors import ConfigError


def test_a_plan_as_tables(expkit):
    code, out, err = expkit("plan", "model=cnn")
    assert (code, err) == (0, "")
    assert "model.features.0" in out
    assert "64x32x8x8" in out
    for fact in ("parameters", "peak memory of training", "largest batch", "val/acc", "20 an epoch, 600 in all"):
        assert fact in out


def test_a_plan_as_json(expkit):
    code, out, _ = expkit("plan", "data=wine", "trainer.max_epochs=2", "--json", "--memory", "1GiB")
    plan = json.loads(out)
    assert code == 0
    assert plan["layers"][0]["path"] == "model"
    assert plan["available"] == 1 << 30
    assert plan["total_steps"] == 2 * plan["steps_per_epoch"]
    assert plan["peak_training"] == sum(plan["memory"].values())


@pytest.mark.parametrize("verb", ["plan", "graph"])
def test_remarks_do_not_get_into_the_json(workdir, verb):
    argv = [verb, "experiment=digits_cnn_decay", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "expkit.cli.main", *argv], cwd=workdir, capture_output=True, text=True, timeout=60
    )
    assert json.loads(done.stdout)
    assert "parameter group" in done.stderr


def test_depth_limits_the_layers(expkit):
    _, shallow, _ = expkit("plan", "model=cnn", "--depth", "1")
    assert "model" in shallow
    assert "model.features" not in shallow


def test_nothing_is_written(expkit, workdir):
    expkit("plan")
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["model=mpl"], "mlp"),
        (["model.hiden=[3]"], "hidden"),
        (["--memory", "lots"], "8GiB"),
        (["--jsn"], "--json"),
        (["data=digits", "loss=mse"], "classification"),
        (["data=iris", "model=cnn"], "images"),
    ],
)
def test_bad_input_is_refused(expkit, argv, word):
    code, _, err = expkit("plan", *argv)
    assert code != 0
    assert word in err
    assert "Traceback" not in err


def test_sizes():
    assert [size(text) for text in ("1024", "8GiB", "500 MB", "1.5kib")] == [1024, 8 << 30, 500_000_000, 1536]
    with pytest.raises(ConfigError, match="8 parrots"):
        size("8 parrots")
