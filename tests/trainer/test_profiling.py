"""Profiles: the kernels of a step with their times, and the picture of them."""

import xml.etree.ElementTree as ET

import pytest

from expkit.compiler.roofline import Point, roofline
from expkit.config import compose
from expkit.trainer import profiling
from expkit.trainer.planning import make_plan
from expkit.trainer.profiling import Peaks, machine, make_profile

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    """Measuring the machine takes a second."""
    monkeypatch.setattr(profiling.profile, "measure", lambda: Peaks(1e11, 1e10))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_kernels_do_what_the_plan_says(workdir, model):
    wanted = [f"model={model}", "logger=none"]
    found, plan = make_profile(compose(wanted), 3), make_plan(compose(wanted))
    assert sum(row.flops for row in found.rows) == pytest.approx(sum(plan.flops.values()), rel=0.1)
    assert all(row.seconds > 0 and row.bytes > 0 for row in found.rows)
    assert [row.seconds for row in found.rows] == sorted((row.seconds for row in found.rows), reverse=True)
    assert found.batch_size == plan.batch_size


def test_a_profile_for_scripts(workdir):
    profile = make_profile(compose(["data=iris", "logger=none"]), 2).as_dict()
    assert profile["peaks"] == {"flops": 1e11, "bandwidth": 1e10}
    row = profile["rows"][0]
    assert row["of_roof"] == pytest.approx(max(row["flops"] / 1e11, row["bytes"] / 1e10) / row["seconds"])
    assert profile["kernels"] == pytest.approx(sum(row["seconds"] for row in profile["rows"]))


def test_the_roof():
    peaks = Peaks(100e9, 20e9)
    assert peaks.roof(1.0) == 20e9
    assert peaks.roof(100.0) == 100e9
    assert peaks.least(100e9, 1.0) == 1.0
    assert peaks.least(1.0, 40e9) == 2.0


def test_the_machine_is_measured(monkeypatch):
    monkeypatch.setattr(machine, "SIZES", (64,))
    monkeypatch.setattr(machine, "VECTOR", 1 << 12)
    peaks = machine.measure()
    assert peaks.flops > 0
    assert peaks.bandwidth > 0


def test_points_lie_where_they_belong():
    points = [Point("product", 3.0, 3e11, 1e9), Point("sum", 1.0, 1e9, 1e10), Point("copy", 0.5, 0, 1e9),
              Point("tiny", 1e-6, 1.0, 1e6)]  # fmt: skip
    root = ET.fromstring(roofline(points, 2e11, 2e10, "<step>"))
    circles = [e for e in root.iter(f"{SVG}circle") if e.find(f"{SVG}title") is not None]
    assert [c.find(f"{SVG}title").text.split(":")[0] for c in circles] == ["product", "sum"]
    product, total = ({k: float(c.get(k)) for k in ("cx", "cy", "r")} for c in circles)
    assert product["cx"] > total["cx"]
    assert product["cy"] < total["cy"]
    assert product["r"] > total["r"]
    assert any(e.text == "<step>" for e in root.iter(f"{SVG}text"))
