"""Who is compared: a library in one of its modes, each in a process of its own.

JAX may live in an environment of its own: EXPKIT_BENCH_JAX names its interpreter.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.training.workloads import Workload


@dataclass(frozen=True)
class Peer:
    """`slow`: its first call compiles for up to a minute a workload, so a quick run leaves it out."""

    library: str
    compiled: bool = False
    channels_last: bool = False
    slow: bool = False

    @property
    def interpreter(self) -> str:
        return (os.environ.get("EXPKIT_BENCH_JAX") if self.library == "jax" else None) or sys.executable

    def steps(self) -> ModuleType:
        """What sets up and runs a training step, for a process that has this library to itself."""
        return importlib.import_module(f"benchmarks.training.{'jax_steps' if self.library == 'jax' else 'steps'}")

    def training(self, workload: Workload) -> Any:
        """The workload set up in this mode; NotImplementedError where the library has no such model here."""
        return self.steps().Training(workload, compiled=self.compiled, channels_last=self.channels_last)

    def command(self, module: str, *arguments: str) -> list[str]:
        return [self.interpreter, "-m", module, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {"EXPKIT_BENCH_LIBRARY": self.library}

    def fits(self, workload: Workload) -> bool:
        """Memory formats matter for images alone; JAX has them so at any rate."""
        return workload.images or not self.channels_last or self.library == "jax"


PEERS: dict[str, Peer] = {
    "expkit": Peer("expkit", compiled=True),
    "expkit-eager": Peer("expkit"),
    "torch": Peer("torch"),
    "torch-nhwc": Peer("torch", channels_last=True),
    "torch-compile": Peer("torch", compiled=True, slow=True),
    "jax": Peer("jax", compiled=True, channels_last=True),
}
QUICK = tuple(name for name, peer in PEERS.items() if not peer.slow)


def installed(names: Iterable[str]) -> tuple[dict[str, Peer], list[str]]:
    """The peers of these names whose libraries are there, and a line on each that is left out."""
    found, missing = {}, []
    for name in names:
        peer = PEERS[name]
        if _has(peer.interpreter, peer.library):
            found[name] = peer
        else:
            hint = "; EXPKIT_BENCH_JAX may name another interpreter" if peer.library == "jax" else ""
            missing.append(f"left out: {name} ({peer.interpreter} has no module {peer.library!r}{hint})")
    return found, missing


def _has(interpreter: str, library: str) -> bool:
    if interpreter == sys.executable:
        return importlib.util.find_spec(library) is not None
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({library!r}) is None)"
    return subprocess.run([interpreter, "-c", look], cwd=ROOT, check=False).returncode == 0


def once(name: str, case: str, *arguments: object, environment: Mapping[str, str] | None = None) -> dict:
    """What `once.py` found in a fresh process; {"none": why} or {"error": what} where it found nothing."""
    command = PEERS[name].command("benchmarks.training.once", name, case, *map(str, arguments))
    settings = {**os.environ, **PEERS[name].environment, **(environment or {})}
    result = subprocess.run(command, cwd=ROOT, env=settings, check=False, capture_output=True, text=True)
    if result.returncode:
        answer = {"error": f"status {result.returncode}: {(result.stderr.strip().splitlines() or [''])[-1]}"}
        print(f"{case} in {name}: {answer['error']}", file=sys.stderr)
        return answer
    return json.loads(result.stdout.splitlines()[-1])
