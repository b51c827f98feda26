"""DeviceStatsMonitor: what the process and its devices have to do, step by step."""

import os
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from expkit.registry import register
from expkit.tensor.devices import xp_for
from expkit.tracking.system import PREFIX, Monitor
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.triggers import Every


@register("callback", "device_stats_monitor")
class DeviceStatsMonitor(Callback):
    """Logs, each log_every_n_steps, device/process_cpu_percent (100 = one core), device/process_memory_megabytes, on a
    GPU what CuPy's memory pool holds (device/pool_used_megabytes, pool_total_megabytes), and with cpu_stats the
    machine's figures under device/, which trackers log by time as system/.

    cpu_stats: default: on machines without a GPU in use. Figures that the system does not tell are left out.
    """

    def __init__(self, cpu_stats: bool | None = None) -> None:
        self.cpu_stats = cpu_stats
        self._machine: Monitor | None = None
        self._last = (0.0, 0.0)

    def on_train_start(self, trainer: Any, task: Any) -> None:
        wanted = trainer.device.type == "cpu" if self.cpu_stats is None else self.cpu_stats
        self._machine = Monitor() if wanted else None
        self._last = (monotonic(), process_time())

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if not trainer.gathering() and Every(trainer.log_every_n_steps or 0)(trainer.global_step):
            trainer.log_metrics({f"device/{name}": value for name, value in self.values(trainer).items()})

    def values(self, trainer: Any) -> dict[str, float]:
        """What is known now; use of the processor since the last look."""
        (before, used), self._last = self._last, (monotonic(), process_time())
        seconds = self._last[0] - before
        found = {"process_cpu_percent": 100.0 * (self._last[1] - used) / seconds} if seconds > 0 else {}
        found |= _memory()
        if trainer.device.type == "cuda":
            pool = xp_for(trainer.device).get_default_memory_pool()
            found["pool_used_megabytes"] = pool.used_bytes() / 1e6
            found["pool_total_megabytes"] = pool.total_bytes() / 1e6
        if self._machine is not None:
            found |= {name.removeprefix(PREFIX): value for name, value in self._machine.look().items()}
        return found


def _memory() -> dict[str, float]:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except OSError:
        return {}
    return {"process_memory_megabytes": pages * os.sysconf("SC_PAGE_SIZE") / 1e6}
