"""What `expkit doctor` looks at: a function for each area, giving findings."""

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from expkit.cli.runs import outputs_root
from expkit.cli.units import bytes_text, time_text
from expkit.errors import ExpkitError
from expkit.kernels.cpu.machine import llvm, pool
from expkit.tensor import blas, devices

LEAST_DISK = 1 << 30  # bytes below which the disk is about to be full
# Variables that tell libraries how to compute, and what is wrong with having them.
COSTLY = {
    "OPENBLAS_CORETYPE": "NumPy's products run with the kernels of another processor: unset it",
    "OPENBLAS_NUM_THREADS": "limits NumPy's products and expkit's kernels: unset it to use all cores",
    "OMP_NUM_THREADS": "limits NumPy's products and expkit's kernels: unset it to use all cores",
    "OMP_WAIT_POLICY": "threads that spin while they wait take the cores from expkit's own",
    "EXPKIT_KERNELS": "0 switches generated kernels off: unset it",
    "EXPKIT_WINOGRAD": "0 switches the fast 3x3 convolutions off: unset it where exactness is not needed",
    "EXPKIT_DEBUG": "above 0 it checks and prints: unset it for speed",
}


class Finding(NamedTuple):
    """area and name say what was looked at; a status other than ok comes with advice."""

    area: str
    name: str
    value: str
    status: Literal["ok", "note", "broken"] = "ok"
    advice: str = ""


def examine() -> list[Finding]:
    """All findings, area by area."""
    return [finding for area in AREAS for finding in area()]


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Finding("machine", "Python", f"{platform.python_version()}, {sys.executable}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("machine", "cores", f"{usable} usable of {os.cpu_count()}")
    total, free = _memory()
    few = free is not None and free < 1 << 29
    advice = "little is free: close other programs, or take smaller batches" if few else ""
    text = "unknown" if free is None else f"{bytes_text(free)} free of {bytes_text(total)}"
    yield Finding("machine", "memory", text, "note" if few else "ok", advice)


def _memory() -> tuple[int, int | None]:
    """(bytes in all, free bytes), where the system says so."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0, None
    sizes = {line.partition(":")[0]: int(line.split()[1]) << 10 for line in lines}
    return sizes["MemTotal"], sizes.get("MemAvailable")


def _folders() -> Iterator[Finding]:
    root = outputs_root()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    low = free < LEAST_DISK
    advice = "checkpoints will soon not fit: make room, or set EXPKIT_OUTPUTS" if low else ""
    yield Finding("folders", "runs", f"{root}, {bytes_text(free)} free", "note" if low else "ok", advice)
    if not there.is_dir() or not os.access(there, os.W_OK):
        yield Finding("folders", "writing", str(there), "broken", "cannot be written: set EXPKIT_OUTPUTS")
    place = llvm.folder()
    if place is None:
        yield Finding("folders", "kernel cache", "none", "note", "every start compiles anew: see EXPKIT_KERNEL_CACHE")
        return
    held = sum(file.stat().st_size for file in place.glob("*.o")) if place.is_dir() else 0
    above = next(folder for folder in (place, *place.parents) if folder.exists())
    writable = os.access(above, os.W_OK)
    advice = "" if writable else "cannot be written, so every start compiles anew: set EXPKIT_KERNEL_CACHE"
    yield Finding("folders", "kernel cache", f"{place}, {bytes_text(held)}", "ok" if writable else "note", advice)


def _kernels() -> Iterator[Finding]:
    binding = llvm.binding()
    wide = "AVX-512" if llvm.has("avx512f") else "AVX2" if llvm.has("avx2") else "no AVX2"
    slow = wide == "no AVX2" and platform.machine() in ("x86_64", "AMD64")
    advice = "kernels are written for wider vectors than this processor has" if slow else ""
    version = ".".join(map(str, binding.llvm_version_info))
    target = f"{binding.get_host_cpu_name()} ({binding.get_process_triple()}), {wide}, LLVM {version}"
    yield Finding("kernels", "target", target, "note" if slow else "ok", advice)
    yield Finding(
        "kernels", "threads", f"{pool.get_num_threads()} of kernels, {blas.get_num_threads()} of NumPy's BLAS"
    )
    built = np.show_config(mode="dicts")
    found = (built or {}).get("Build Dependencies", {}).get("blas", {})
    yield Finding("kernels", "BLAS", f"{found.get('name', 'unknown')} {found.get('version', '')}".strip())


def _settings() -> Iterator[Finding]:
    for name, advice in COSTLY.items():
        value = os.environ.get(name)
        if value is not None and not (name.startswith("EXPKIT_") and value == {"EXPKIT_DEBUG": "0"}.get(name, "1")):
            yield Finding("settings", name, value, "note", advice)
    if not any(name in os.environ for name in COSTLY):
        yield Finding("settings", "environment", "nothing that costs speed")


def _libraries() -> Iterator[Finding]:
    try:
        requirements = metadata.requires("expkit") or []
    except metadata.PackageNotFoundError:
        yield Finding("libraries", "expkit", "not installed", "note", "versions are not known: pip install -e .")
        return
    try:
        parse = importlib.import_module("packaging.requirements").Requirement
    except ImportError:
        yield Finding("libraries", "packaging", "missing", "note", "versions cannot be compared: pip install packaging")
        return
    for wanted in map(parse, requirements):
        if wanted.marker is not None:  # an extra
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield Finding("libraries", wanted.name, "missing", "broken", f"pip install '{wanted}'")
            continue
        fits = wanted.specifier.contains(version, prereleases=True)
        advice = "" if fits else f"expkit was seen to work with {wanted.specifier}: pip install '{wanted}'"
        yield Finding("libraries", wanted.name, version, "ok" if fits else "note", advice)


def _gpu() -> Iterator[Finding]:
    try:
        cupy = devices.cupy()
    except ExpkitError as error:
        yield Finding("GPU", "cuda", f"none: {error}")
        return
    runtime = cupy.cuda.runtime
    yield Finding("GPU", "CuPy", cupy.__version__)
    yield Finding("GPU", "driver", f"CUDA {runtime.driverGetVersion()}, runtime {runtime.runtimeGetVersion()}")
    for index in range(runtime.getDeviceCount()):
        facts = runtime.getDeviceProperties(index)
        memory = bytes_text(facts["totalGlobalMem"])
        capability = f"{facts['major']}.{facts['minor']}"
        yield Finding("GPU", f"cuda:{index}", f"{facts['name'].decode()}, {memory}, capability {capability}")
    for name in ("cublas", "curand", "cusolver"):
        try:
            version = _library_version(cupy, name)
            yield Finding("GPU", name, str(version))
        except Exception as error:  # noqa: BLE001  (each library has its own classes)
            yield Finding("GPU", name, "cannot be loaded", "broken", f"{error}: install CUDA's libraries anew")


def _library_version(cupy: Any, name: str) -> int:
    if name == "cublas":
        return cupy.cuda.cublas.getVersion(cupy.cuda.device.get_cublas_handle())
    if name == "curand":
        return cupy.cuda.curand.getVersion()
    return cupy.cuda.cusolver._getVersion()[0]


def _tracking() -> Iterator[Finding]:
    store = importlib.import_module("expkit.cli.storecheck")
    try:
        uri, text, problem = store.look()
    except ExpkitError as error:
        yield Finding("tracking", "store", "none", "broken", str(error))
        return
    yield Finding("tracking", "store", f"{uri}: {text}", "broken" if problem else "ok", problem)
    if shutil.which("git") is None:
        yield Finding("tracking", "git", "missing", "note", "runs cannot say which source they were made with")
        return
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    inside = done.returncode == 0
    advice = "" if inside else "this folder is no repository, so runs cannot say which source they were made with"
    yield Finding(
        "tracking", "git", done.stdout.strip() if inside else "no repository", "ok" if inside else "note", advice
    )


def _self_test() -> Iterator[Finding]:
    test = importlib.import_module("expkit.cli.selftest")
    try:
        difference, compiled, eager = test.compiled_against_eager()
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the finding)
        yield Finding("self-test", "a compiled step", "failed", "broken", f"{type(error).__name__}: {error}")
        return
    text = f"as the eager one to {difference:.1e}; {time_text(compiled)} compiled, {time_text(eager)} eager"
    wrong = not difference < test.TOLERANCE
    advice = "results differ: remove the kernel cache and try again, then report it" if wrong else ""
    yield Finding("self-test", "a compiled step", text, "broken" if wrong else "ok", advice)


AREAS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _machine, _folders, _libraries, _kernels, _settings, _gpu, _tracking, _self_test,
)  # fmt: skip
