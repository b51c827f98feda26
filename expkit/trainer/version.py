"""The installed version of expkit."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def expkit_version() -> str:
    """As pip knows it; "unknown" when the package runs from a folder that was never installed."""
    try:
        return version("expkit")
    except PackageNotFoundError:
        return "unknown"
