"""`expkit doctor`: findings, what it calls broken, exit codes."""

import json
import sqlite3
from importlib import metadata

import pytest

from expkit.cli import health, selftest


@pytest.fixture
def doctor(expkit, monkeypatch):
    """Runs the command; findings by name, and the exit code."""
    for name in health.COSTLY:
        monkeypatch.delenv(name, raising=False)

    def run(*argv):
        code, out, err = expkit("doctor", "--json", *argv)
        assert err == ""
        found = json.loads(out)
        assert found["healthy"] is (code == 0)
        return code, {finding["name"]: finding for finding in found["findings"]}

    return run


def test_a_healthy_machine(doctor, expkit):
    code, found = doctor()
    assert code == 0
    assert {"cores", "memory", "kernel cache", "numpy", "target", "BLAS", "cuda", "store", "a compiled step"} <= set(
        found
    )
    assert not [name for name, finding in found.items() if finding["status"] == "broken"]
    assert found["numpy"]["value"] == metadata.version("numpy")
    assert "self-test:" in expkit("doctor").out


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OPENBLAS_CORETYPE", "Haswell", "another processor"),
        ("OMP_NUM_THREADS", "1", "all cores"),
        ("EXPKIT_WINOGRAD", "0", "convolutions"),
    ],
)
def test_settings_that_cost_speed(doctor, monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    code, found = doctor()
    assert code == 0, "slow is not broken"
    assert found[name]["status"] == "note"
    assert said in found[name]["advice"]


def test_no_kernel_cache(doctor, monkeypatch):
    monkeypatch.setenv("EXPKIT_KERNEL_CACHE", "off")
    assert doctor()[1]["kernel cache"]["status"] == "note"


def test_a_store_with_runs(doctor, workdir):
    (workdir / "outputs").mkdir()
    with sqlite3.connect(workdir / "outputs" / "mlflow.db") as database:
        database.execute("CREATE TABLE runs (id)")
        database.execute("INSERT INTO runs VALUES (1), (2)")
    database.close()
    assert doctor()[1]["store"]["value"].endswith(": 2 runs")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9", "does not answer"),
        ("somewhere/mlruns", "is a folder"),
    ],
)
def test_a_store_that_is_not_there(doctor, monkeypatch, uri, said):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    code, found = doctor()
    assert code == 1
    assert found["store"]["status"] == "broken"
    assert said in found["store"]["value"] + found["store"]["advice"]


def test_a_damaged_store(doctor, workdir):
    (workdir / "outputs").mkdir()
    (workdir / "outputs" / "mlflow.db").write_bytes(b"no database" * 100)
    code, found = doctor()
    assert code == 1
    assert "cannot be read" in found["store"]["value"]


def test_an_outputs_folder_that_is_a_file(doctor, monkeypatch, workdir):
    (workdir / "file").write_text("")
    monkeypatch.setenv("EXPKIT_OUTPUTS", str(workdir / "file"))
    code, found = doctor()
    assert code == 1
    assert found["writing"]["status"] == "broken"


def test_kernels_that_compute_something_else(doctor, monkeypatch):
    monkeypatch.setattr(selftest, "compiled_against_eager", lambda: (0.5, 1e-3, 1e-3))
    code, found = doctor()
    assert code == 1
    assert "results differ" in found["a compiled step"]["advice"]


def test_a_step_that_fails(doctor, monkeypatch):
    def fail():
        raise ValueError("no code")

    monkeypatch.setattr(selftest, "compiled_against_eager", fail)
    code, found = doctor()
    assert code == 1
    assert "ValueError: no code" in found["a compiled step"]["advice"]


def test_a_library_of_another_version(doctor, monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.0" if name == "numpy" else real(name))
    code, found = doctor()
    assert code == 0
    assert "pip install" in found["numpy"]["advice"]


def test_a_library_that_is_missing(doctor, monkeypatch):
    def version(name):
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    code, found = doctor()
    assert code == 1
    assert found["rich"]["status"] == "broken"


def test_the_self_test_notices_what_kernels_do():
    difference, compiled, eager = selftest.compiled_against_eager()
    assert difference < selftest.TOLERANCE
    assert min(compiled, eager) > 0
