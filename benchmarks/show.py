"""How figures are written: times, ratios, memory, verdicts; and where they come from."""

import os
import platform
from pathlib import Path

from benchmarks.timing import median


def middle(answers: list[dict]) -> float | None:
    """The median of the seconds of all rounds; None where there are none or one of them failed."""
    seconds = [answer.get("seconds") for answer in answers]
    return median(seconds) if seconds and None not in seconds else None


def time_text(seconds: float | None) -> str:
    """Ten characters: 12.34 ms."""
    if seconds is None:
        return f"{'-':>10}"
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1 or unit == "us":
            return f"{seconds * factor:7.2f} {unit:2}"
    return ""


def memory_text(size: float | None) -> str:
    """Ten characters: 123 MB."""
    return f"{'-':>10}" if size is None else f"{size / 2**20:7.0f} MB"


def ratio_text(ratio: float | None) -> str:
    return f"{'-' if ratio is None else f'{ratio:.2f}':>6}"


def at_most(value: float | None, limit: float | None, unit: str) -> str:
    """Whether a promise was kept; nothing where there is no value or no promise."""
    if value is None or limit is None:
        return ""
    return f"at most {limit:.3g}{unit}: {'kept' if value <= limit else 'NOT KEPT'}"


def at_least(value: float | None, limit: float | None, unit: str) -> str:
    if value is None or limit is None:
        return ""
    return f"at least {limit:.3g}{unit}: {'kept' if value >= limit else 'NOT KEPT'}"


def machine() -> dict:
    """Where the figures come from."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
