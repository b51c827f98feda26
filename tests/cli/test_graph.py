"""`expkit graph`: pictures into files, a table, JSON."""

import json


def test_pictures_are_written(expkit, workdir):
    code, out, err = expkit("graph", "model=cnn", "--html", "step.html", "--svg", "step.svg")
    assert (code, err) == (0, "")
    assert "step.html" in out
    assert "step.svg" in out
    assert (workdir / "step.html").read_text().startswith("<!DOCTYPE html>")
    assert (workdir / "step.svg").read_text().startswith("<svg")
    assert "cnn on digits" in (workdir / "step.svg").read_text()


def test_without_a_file_kernels_are_listed(expkit):
    code, out, _ = expkit("graph")
    assert code == 0
    assert "linear" in out
    assert out.splitlines()[-1].startswith("update")


def test_kernels_as_json(expkit):
    _, out, _ = expkit("graph", "--json")
    kernels = json.loads(out)
    assert {"forward", "backward", "update"} == {k["phase"] for k in kernels}
    assert all(k["flops"] >= 0 and k["read"] + k["written"] > 0 for k in kernels)


def test_a_folder_that_is_not_there(expkit):
    code, _, err = expkit("graph", "--svg", "nowhere/step.svg")
    assert code == 2
    assert "nowhere" in err
