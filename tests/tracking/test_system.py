"""System metrics: their names, what is read of the machine, and how they get to MLflow."""

import ctypes
import json
import os
import shutil
import sys
from types import SimpleNamespace

import pytest

from expkit.tracking import gpus, system
from expkit.tracking.journal import Journal
from tests.tracking.support import make_run

# What mlflow.system_metrics logs without a GPU.
NAMES = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_megabytes", "system/system_memory_usage_percentage",
    "system/disk_usage_percentage", "system/disk_usage_megabytes", "system/disk_available_megabytes",
    "system/network_receive_megabytes", "system/network_transmit_megabytes",
}  # fmt: skip


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.skipif(sys.platform != "linux", reason="processor, memory and network are read from Linux's /proc")
def test_a_look_has_mlflows_names_and_the_machines_values(monkeypatch):
    monkeypatch.setattr(system, "_processor_times", lambda: (50.0, 200.0))
    monitor = system.Monitor()
    monkeypatch.setattr(system, "_processor_times", lambda: (80.0, 240.0))
    seen = monitor.look()
    assert set(seen) == NAMES
    assert seen["system/cpu_utilization_percentage"] == 75.0
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    share = seen["system/system_memory_usage_percentage"] / 100
    assert seen["system/system_memory_usage_megabytes"] == pytest.approx(share * total, rel=0.01, abs=0.001 * total)
    assert 0 < share < 1
    assert seen["system/disk_available_megabytes"] == pytest.approx(shutil.disk_usage("/").free / 1e6, rel=0.1, abs=500)
    assert seen["system/network_receive_megabytes"] >= 0


def test_the_first_look_is_early_and_the_next_ones_are_not():
    clock = Clock()
    monitor = system.Monitor(clock)
    assert not monitor.due(10.0)
    clock.now += 1.0
    assert monitor.due(10.0)
    assert not monitor.due(None)
    monitor.look()
    clock.now += 9.0
    assert not monitor.due(10.0)
    clock.now += 1.0
    assert monitor.due(10.0)


def test_without_proc_the_rest_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(system, "_PROC", tmp_path)
    assert set(system.Monitor().look()) == {name for name in NAMES if "disk" in name}


def test_what_is_seen_gets_to_mlflow_once_and_goes_on_after_a_resume(zygote, outputs, database):
    run_dir = outputs / "first"
    make_run(run_dir, database.path)
    for _ in range(2):
        Journal(run_dir).log_metrics({"a": 1.0}, step=1)
        system.write(run_dir, {"system/x": 1.5})
        system.write(run_dir, {"system/x": 2.5})
        Journal(run_dir).finalize("KILLED")
        assert zygote.follow(run_dir) == 0
    (run_dir / "tracking.state.json").unlink()
    assert zygote.follow(run_dir) == 0
    rows = [(value, step) for name, value, _, step in database.metrics("first") if name == "system/x"]
    assert sorted(rows, key=lambda row: row[1]) == [(1.5, 0), (2.5, 1), (1.5, 2), (2.5, 3)]


def test_a_torn_line_is_left_for_later(tmp_path):
    system.write(tmp_path, {"system/x": 1.0})
    path = tmp_path / system.NAME
    whole = path.read_text()
    path.write_text(whole + whole[:10])
    found, offset = system.read(tmp_path, 0)
    assert [row[:2] for row in found] == [("system/x", 1.0)]
    assert offset == len(whole)
    assert json.loads(whole)["step"] == 0


def fake_library(count=2, power=0):
    """NVML's functions, as far as they are used: every GPU has 80 GB, a quarter of it in use."""

    def counts(pointer):
        pointer._obj.value = count
        return 0

    def memory(_device, pointer):
        pointer._obj.total, pointer._obj.used = 80 * 10**9, 20 * 10**9
        return 0

    def use(_device, pointer):
        pointer._obj.gpu = 42
        return 0

    def milliwatts(value):
        def function(_device, pointer):
            pointer._obj.value = value
            return power

        return function

    return SimpleNamespace(
        nvmlDeviceGetCount_v2=counts, nvmlDeviceGetHandleByIndex_v2=lambda index, pointer: 0,
        nvmlDeviceGetMemoryInfo=memory, nvmlDeviceGetUtilizationRates=use,
        nvmlDeviceGetPowerUsage=milliwatts(350_000), nvmlDeviceGetEnforcedPowerLimit=milliwatts(700_000),
    )  # fmt: skip


def test_every_gpu_is_looked_at(monkeypatch):
    monkeypatch.setattr(gpus, "_library", fake_library)
    one = {
        "memory_usage_percentage": 25.0, "memory_usage_megabytes": 20_000.0, "utilization_percentage": 42.0,
        "power_usage_watts": 350.0, "power_usage_percentage": 50.0,
    }  # fmt: skip
    assert gpus.gpu_metrics() == {f"gpu_{n}_{name}": value for n in (0, 1) for name, value in one.items()}


def test_what_a_gpu_cannot_tell_is_left_out(monkeypatch):
    monkeypatch.setattr(gpus, "_library", lambda: fake_library(count=1, power=3))
    assert "gpu_0_power_usage_watts" not in gpus.gpu_metrics()
    assert "gpu_0_utilization_percentage" in gpus.gpu_metrics()


def test_a_machine_without_the_library_has_no_gpus(monkeypatch):
    def missing(name):
        raise OSError(name)

    gpus._library.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert gpus.gpu_metrics() == {}
    gpus._library.cache_clear()
