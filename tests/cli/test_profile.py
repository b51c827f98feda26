"""`expkit profile`: a table, JSON, a picture."""

import json

import pytest

from expkit.trainer import profiling


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    monkeypatch.setattr(profiling.profile, "measure", lambda: profiling.Peaks(1e11, 1e10))


def test_a_profile_as_table_and_picture(expkit, workdir):
    code, out, err = expkit("profile", "--steps", "2", "--svg", "roof.svg")
    assert (code, err) == (0, "")
    assert "linear" in out
    assert "100 GFLOP/s, 10 GB/s, as measured" in out
    assert (workdir / "roof.svg").read_text().startswith("<svg")
    assert [path.name for path in workdir.iterdir()] == ["roof.svg"]


def test_a_profile_as_json(expkit):
    code, out, _ = expkit("profile", "data=wine", "--steps", "2", "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["seconds"] > 0


@pytest.mark.parametrize(
    ("argv", "word"),
    [(["--steps", "0"], "at least 1"), (["--svg", "nowhere/x.svg"], "nowhere"), (["model=mpl"], "mlp")],
)
def test_bad_input_is_refused(expkit, argv, word):
    code, _, err = expkit("profile", *argv)
    assert code == 2
    assert word in err
