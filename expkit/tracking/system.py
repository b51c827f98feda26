"""System metrics: use of processor, memory, disk, network and GPUs, under MLflow's names ("system/...").

The shipper's process looks, so that training pays nothing. What it sees goes to `system.jsonl` in the run directory,
one JSON object a line, `{"t", "step", "metrics"}`, and from there to MLflow: an outage loses none of it. Steps count
the looks, as MLflow's own monitor does. Processor, memory and network are read from Linux's /proc; other systems have
the disk and the GPUs alone.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from expkit.tracking import journal
from expkit.tracking.gpus import gpu_metrics

NAME = "system.jsonl"
PREFIX = "system/"
MEGABYTE = 1e6  # MLflow's
FIRST = 1.0  # seconds until the first look: use of the processor is a difference

_PROC = Path("/proc")


class Monitor:
    """Looks at the machine now and then. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._looked = False
        self._processor = _processor_times()
        self._network = _network_bytes()

    def due(self, interval: float | None) -> bool:
        """Is it time for the next look? The first one is early, so that short runs have one. None: nobody wants any."""
        return interval is not None and self._clock() - self._last >= (
            interval if self._looked else min(interval, FIRST)
        )

    def look(self) -> dict[str, float]:
        """What is known of the machine now; use of the processor since the last look."""
        self._last, self._looked = self._clock(), True
        found = {**self._used_processor(), **_memory(), **_disk(), **self._traffic(), **gpu_metrics()}
        return {f"{PREFIX}{name}": round(value, 1) for name, value in found.items()}

    def _used_processor(self) -> dict[str, float]:
        before, self._processor = self._processor, _processor_times()
        if before is None or self._processor is None:
            return {}
        busy, total = self._processor[0] - before[0], self._processor[1] - before[1]
        return {"cpu_utilization_percentage": 100.0 * busy / total} if total > 0 else {}

    def _traffic(self) -> dict[str, float]:
        now = _network_bytes()
        if self._network is None or now is None:
            return {}
        names = ("network_receive_megabytes", "network_transmit_megabytes")
        return {name: (b - a) / MEGABYTE for name, a, b in zip(names, self._network, now, strict=True)}


def write(run_dir: Path, values: dict[str, float]) -> None:
    """Append one look to system.jsonl of a run. Its step follows on the last one's, also after a resume."""
    path = run_dir / NAME
    last = -1
    for _, record in journal.lines(path):
        last = record["step"] if record else last
    line = json.dumps({"t": time.time_ns() // 1_000_000, "step": last + 1, "metrics": values}) + "\n"
    with open(path, "a", encoding="utf-8") as file:
        file.write(line)


def read(run_dir: Path, offset: int) -> tuple[list[tuple[str, float, int, int]], int]:
    """(name, value, t, step) of every look from byte `offset` on, and the offset after them."""
    found = []
    for end, record in journal.lines(run_dir / NAME, offset):
        offset = end
        if record is not None:
            found += [(name, value, record["t"], record["step"]) for name, value in record["metrics"].items()]
    return found, offset


def _processor_times() -> tuple[float, float] | None:
    """(busy, all) time of all cores since the machine started, in ticks."""
    first = next(_lines("stat"), "").split()
    if not first:
        return None
    ticks = [int(text) for text in first[1:9]]  # user nice system idle iowait irq softirq steal
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _memory() -> dict[str, float]:
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in _lines("meminfo"))}
    if "MemTotal" not in sizes:
        return {}
    used = sizes["MemTotal"] - sizes["MemAvailable"]
    share = 100.0 * used / sizes["MemTotal"]
    return {"system_memory_usage_megabytes": used / MEGABYTE, "system_memory_usage_percentage": share}


def _disk() -> dict[str, float]:
    usage = shutil.disk_usage(os.sep)
    return {
        "disk_usage_percentage": 100.0 * usage.used / (usage.used + usage.free),
        "disk_usage_megabytes": usage.used / MEGABYTE,
        "disk_available_megabytes": usage.free / MEGABYTE,
    }


def _network_bytes() -> tuple[int, int] | None:
    """(received, sent) bytes of all interfaces since the machine started."""
    columns = [line.partition(":")[2].split() for line in _lines("net/dev") if ":" in line]
    return (sum(int(c[0]) for c in columns), sum(int(c[8]) for c in columns)) if columns else None


def _lines(name: str) -> Iterator[str]:
    """The lines of a file of /proc; none where there is none."""
    try:
        yield from (_PROC / name).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
