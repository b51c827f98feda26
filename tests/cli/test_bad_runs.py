"""Broken run directories: each verb that reads one says what is wrong in one message, and never shows a traceback."""

import json
import shutil
from pathlib import Path

import pytest

import expkit as ek


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A run directory with everything in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("sound"))
        quiet = ["logger=none", "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"]
        return ek.train(["data=iris", "model.hidden=[4]", "trainer.max_epochs=1", *quiet]).run_dir


def checkpoint(run: Path) -> Path:
    return next(path for path in (run / "checkpoints").iterdir() if path.is_dir())


def rewritten(run: Path, old: str, new: str) -> None:
    text = (run / "config.yaml").read_text()
    assert old in text
    (run / "config.yaml").write_text(text.replace(old, new))


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


# What is done to the run, and what `show`, `eval` and `resume` say of it; None where it does not matter to one.
BROKEN = {
    "config that is no YAML": (lambda r: (r / "config.yaml").write_text("a: [\n"), "not valid YAML", "not valid YAML"),
    "config that is a list": (lambda r: (r / "config.yaml").write_text("- a\n"), "'key: value'", "'key: value'"),
    "config that is empty": (lambda r: (r / "config.yaml").write_text(""), None, "needs 'task_name'"),
    "config in another encoding": (lambda r: (r / "config.yaml").write_bytes(b"\xff\xfe"), "not valid", "not UTF-8"),
    "config with a foreign key": (lambda r: rewritten(r, "seed: 42\n", "sede: 42\n"), None, "Did you mean 'seed'"),
    "config without the model's name": (lambda r: rewritten(r, "name: mlp", "nmae: mlp"), None, "needs a 'name'"),
    "config of another model": (lambda r: rewritten(r, "- 4\n", "- 5\n"), None, "size mismatch"),
    "config with a lost plugin": (lambda r: rewritten(r, "plugins: []", "plugins: [lost]"), None, "plugin 'lost'"),
    "config that is a folder": (lambda r: as_folder(r / "config.yaml"), "ended before its config", "ended before"),
    "config that is gone": (lambda r: (r / "config.yaml").unlink(), "ended before its config", "ended before its"),
    "journal of somebody else": (
        lambda r: (r / "metrics.jsonl").write_text('{"t": 1, "metrics": 3}\n'),
        "holds no metrics",
        None,
    ),
    "journal with texts": (
        lambda r: (r / "metrics.jsonl").write_text('{"t": 1, "step": 1, "metrics": {"a": "x"}}\n'),
        "holds no metrics",
        None,
    ),
    "journal that is a folder": (lambda r: as_folder(r / "metrics.jsonl"), "Is a directory", None),
    "pointer that is no JSON": (lambda r: (r / "checkpoints/last.json").write_text("x"), None, "not valid JSON"),
    "pointer to nothing": (
        lambda r: (r / "checkpoints/last.json").write_text(json.dumps({"checkpoint": "gone"})),
        None,
        "gone does not exist",
    ),
    "weights that are gone": (lambda r: (checkpoint(r) / "model.safetensors").unlink(), None, "incomplete"),
    "state that is gone": (lambda r: (checkpoint(r) / "state.json").unlink(), None, "incomplete"),
    "state that was cut": (lambda r: (checkpoint(r) / "state.json").write_bytes(b"{"), None, "truncated"),
    "manifest of nothing": (lambda r: (checkpoint(r) / "manifest.json").write_text("{}"), None, "not an expkit check"),
    "manifest that is no text": (lambda r: (checkpoint(r) / "manifest.json").write_bytes(b"\xff"), None, "not valid"),
    "no checkpoints": (lambda r: shutil.rmtree(r / "checkpoints"), None, "has no checkpoint"),
}


@pytest.fixture
def broken(sound, workdir, request):
    run = workdir / "outputs" / "train" / "runs" / "broken"
    shutil.copytree(sound, run)
    request.param[0](run)
    return run, request.param


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys(), indirect=True)
def test_each_verb_says_what_is_wrong(expkit, broken):
    _run, (_, shown, evaluated) = broken
    for argv, said in (
        (("show", "broken"), shown),
        (("diff", "broken", "last"), shown),
        (("eval", "broken"), evaluated),
        (("predict", "last"), evaluated),
    ):
        code, _, err = expkit(*argv)
        assert (code == 0) is (said is None), (argv, err)
        assert said is None or said in err
        assert "Traceback" not in err
        assert len(err.strip().split("Error: ")) <= 2 or "Error(s)" in err


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys(), indirect=True)
def test_a_list_of_runs_leaves_none_out(expkit, broken):
    code, out, err = expkit("ls", "runs")
    assert (code, err) == (0, "")
    assert out.startswith("broken ")


@pytest.mark.parametrize("broken", [BROKEN["config that is gone"], BROKEN["pointer to nothing"]], indirect=True)
def test_resume_says_so_too(expkit, broken):
    code, _, err = expkit("resume", "broken")
    assert code == 2
    assert broken[1][2] in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("resume", "outputs/train/runs/a/checkpoints/one"), "is a checkpoint. resume wants its run directory"),
        (("resume", "outputs/train/runs"), "holds 1 runs (a). Name one of them"),
        (("resume", "outputs"), "is no run directory"),
        (("resume", "outputs/train/runs/half"), "ended before its config.yaml was written"),
        (("show", "outputs/train/runs/half"), "ended before its config.yaml was written"),
        (("eval", "outputs/train/runs/a/config.yaml"), "is a file. Name the run directory"),
        (("diff", "a"), "the following arguments are required: second"),
        (("diff", "a", "b"), "no run of that name"),
        (("ls", "runs", "-n", "-1"), "how many runs"),
    ],
)
def test_folders_that_hold_something_else(expkit, workdir, argv, said):
    runs = workdir / "outputs" / "train" / "runs"
    (runs / "a" / "checkpoints" / "one").mkdir(parents=True)
    (runs / "a" / "config.yaml").write_text("seed: 1\n")
    (runs / "a" / "checkpoints" / "one" / "manifest.json").write_text("{}")
    (runs / "half").mkdir()
    code, _, err = expkit(*argv)
    assert code == 2
    assert said in err


def test_what_a_sound_run_says_of_itself(expkit, sound):
    _, out, _ = expkit("show", str(sound))
    assert "FINISHED" in out
    assert "val/loss" in out
    assert "hidden: [4]" in out
    _, out, _ = expkit("show", str(sound), "--json")
    found = json.loads(out)
    assert found["status"] == "FINISHED"
    assert found["epochs"] == 1
    assert "test/acc" in found["metrics"]
    assert found["config"]["model"]["hidden"] == [4]
    assert "data=iris" in found["overrides"]


def test_what_differs_between_two_runs(expkit, sound, workdir):
    shutil.copytree(sound, workdir / "other")
    rewritten(workdir / "other", "- 4\n", "- 6\n")
    _, out, _ = expkit("diff", str(sound), "other", "--json")
    found = json.loads(out)
    assert found["config"] == {"model.hidden": [[4], [6]]}
    assert found["metrics"]["val/loss"][0] == found["metrics"]["val/loss"][1]
    assert "the configs are the same" in expkit("diff", str(sound), str(sound)).out


def test_the_newest_runs_come_first(expkit, sound, workdir):
    for name in ("2026-01-01", "2026-01-02"):
        shutil.copytree(sound, workdir / "outputs" / "train" / "runs" / name)
        (workdir / "outputs" / "train" / "runs" / name / "touched").write_text("")
    _, out, _ = expkit("ls", "runs")
    assert [line.split()[:2] for line in out.splitlines()] == [["2026-01-02", "FINISHED"], ["2026-01-01", "FINISHED"]]
    _, out, _ = expkit("ls", "runs", "-n", "1", "--json")
    (row,) = json.loads(out)
    assert row["name"] == "2026-01-02"
    assert list(row["best"]) == ["val/loss"]


def test_no_runs(expkit):
    assert "there are no runs" in expkit("ls", "runs").out
    assert json.loads(expkit("ls", "runs", "--json").out) == []
