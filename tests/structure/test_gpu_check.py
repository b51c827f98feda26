"""benchmarks/gpu_check.py: without a GPU it says so; on the stand-in all stages run and find planted mistakes."""

import json
from dataclasses import replace

import pytest

import expkit as ek
from benchmarks import gpu_check
from expkit.errors import DeviceError
from tests.ops.table import ROWS
from tests.structure.test_fake_device import cuda  # noqa: F401  (a fixture)


@pytest.fixture
def small(monkeypatch, cuda):  # noqa: F811
    """A few rows and one timing, on the stand-in."""
    monkeypatch.setattr(gpu_check, "COMPARED", [row for row in ROWS if row.name in ("exp", "mul", "sum", "matmul")])
    quick = next(gpu_check._timed())
    monkeypatch.setattr(gpu_check, "_timed", lambda: iter([quick]))
    monkeypatch.setattr(gpu_check, "STEPS", 10)


def run(capsys) -> tuple[int, dict]:
    """The exit code and what the stages printed."""
    code = gpu_check.main([])
    results = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("{"):
            results.update(json.loads(line))
    return code, results


def test_without_a_gpu_it_says_so_and_succeeds(monkeypatch, capsys):
    def missing(*args, **kw):
        raise DeviceError("no GPU")

    monkeypatch.setattr(gpu_check.ek, "ones", missing)
    assert gpu_check.main([]) == 0
    assert "no GPU" in capsys.readouterr().out


def test_every_stage_reports(small, capsys):
    code, results = run(capsys)
    assert code == 0
    assert list(results) == list(gpu_check.STAGES)
    assert results["operations"]["checked"] > 50
    assert results["gradients"]["checked"] > 50
    assert all(result["wrong"] == 0 for result in results.values())


def off_by_one_there(x):
    return ek.exp(x) + 1 if x.device.type == "cuda" else ek.exp(x)


def steeper_there(x):
    return ek.exp(x * 2 if x.device.type == "cuda" else x)


@pytest.mark.parametrize(
    ("planted", "stages"), [(off_by_one_there, {"operations"}), (steeper_there, {"operations", "gradients"})]
)
def test_a_planted_mistake_is_found(small, monkeypatch, capsys, planted, stages):
    row = next(row for row in ROWS if row.name == "exp")
    monkeypatch.setattr(gpu_check, "COMPARED", [replace(row, call=planted)])
    code, results = run(capsys)
    assert code == 1
    assert {name for name, result in results.items() if result["wrong"]} == stages


def test_a_stage_that_breaks_does_not_stop_the_others(small, monkeypatch, capsys):
    def broken(deadline):
        raise RuntimeError("planted")

    monkeypatch.setitem(gpu_check.STAGES, "operations", broken)
    code, results = run(capsys)
    assert code == 1
    assert "planted" in results["operations"]["error"]
    assert results["timing"]["wrong"] == 0


def test_the_time_limit_holds(small, capsys):
    assert gpu_check.main(["--minutes", "0"]) == 0
    operations = json.loads(capsys.readouterr().out.splitlines()[1])["operations"]
    assert operations["checked"] == 0
    assert operations["stopped_at"]
