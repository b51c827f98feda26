"""Numbers as people read them: bytes, operations, times, shapes."""

from typing import Any

BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
DECIMAL = ("", "k", "M", "G", "T", "P")


def bytes_text(count: float) -> str:
    """1536 -> 1.5 KiB"""
    place = 0
    while abs(count) >= 1024 and place + 1 < len(BINARY):
        count, place = count / 1024, place + 1
    return f"{count:.4g} {BINARY[place]}"


def count_text(count: float, unit: str) -> str:
    """2.5e9, "FLOP" -> 2.5 GFLOP"""
    place = 0
    while abs(count) >= 1000 and place + 1 < len(DECIMAL):
        count, place = count / 1000, place + 1
    return f"{count:.3g} {DECIMAL[place]}{unit}"


def time_text(seconds: float) -> str:
    """0.0015 -> 1.5 ms"""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def shape_text(shape: Any) -> str:
    """(64, 10) -> 64x10; several, one after the other."""
    if isinstance(shape, tuple):
        return "x".join(map(str, shape)) or "scalar"
    return ", ".join(shape_text(part) for part in shape or () if part is not None)
