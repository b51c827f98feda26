"""Every EXPKIT_* environment variable: one table, read in one place.

`flags.DEBUG` and the like read the environment at each access, so that tests and notebooks can change them.
"""

import os
from pathlib import Path
from typing import NamedTuple


class Flag(NamedTuple):
    kind: type
    default: object
    help: str


FLAGS = {
    "DEBUG": Flag(int, 0, "1: tracebacks and timings, 2: every op, 3: graphs and fusions, 4: generated source"),
    "CONF": Flag(str, "", "folder of YAML groups searched before the built-in ones (as the command line's -cd)"),
    "OUTPUTS": Flag(str, "", "where runs and the MLflow database go (default: outputs/ in the working directory)"),
    "KERNEL_CACHE": Flag(str, "", "folder of compiled kernels (default: expkit/kernels in the user cache; off: none)"),
    "TOKENIZER_CACHE": Flag(str, "", "folder of trained tokenizers (default: in the user cache; off: none)"),
    "KERNELS": Flag(int, 1, "0: no generated kernels, NumPy only; read when the first large array comes"),
    "WINOGRAD": Flag(int, 1, "0: no Winograd convolutions, sums of products as exact as PyTorch's (slower)"),
    "SYNC_TIMEOUT": Flag(float, 20.0, "seconds that a command waits for MLflow to catch up before it returns"),
}


def read(name: str) -> object:
    """The value of EXPKIT_<name>, converted to its kind; the default where it is unset or empty."""
    flag = FLAGS[name]
    text = os.environ.get(f"EXPKIT_{name}", "")
    if not text:
        return flag.default
    try:
        return flag.kind(text)
    except ValueError:
        raise ValueError(f"EXPKIT_{name}={text!r}: expected {flag.kind.__name__} ({flag.help})") from None


def __getattr__(name: str) -> object:
    if name in FLAGS:
        return read(name)
    raise AttributeError(f"module 'expkit.flags' has no flag {name!r}; flags: {', '.join(FLAGS)}")


def cache_folder(flag: str, name: str) -> Path | None:
    """Where the cache `name` is, which a flag may set; None where nothing is kept ("off", or a user without a home)."""
    named = str(read(flag))
    if named == "off":
        return None
    if named:
        return Path(named)
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return base / "expkit" / name
