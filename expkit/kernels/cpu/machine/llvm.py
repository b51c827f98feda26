"""LLVM: from the text of a module to addresses of machine code for the CPU at hand, with a cache on disk.

The cache holds object code under a key of everything that decides it: the text, LLVM's version, the CPU and its
features. An entry is one file, written under a temporary name and renamed; it carries a digest, so that a damaged or
foreign one is rebuilt. Several processes may use one cache.
"""

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from expkit import flags
from expkit.kernels.cpu.machine.crew import Crew
from expkit.kernels.cpu.machine.emit import BUILD, EXPLICIT, binding, machine, new_machine
from expkit.kernels.cpu.machine.emit import build as _build
from expkit.kernels.cpu.machine.locks import forkable

__all__ = ["EXPLICIT", "Code", "binding", "compile_ir", "crew", "folder", "has", "keep_promises", "machine", "promised"]

LIMIT = 256 << 20  # bytes that the cache may hold; the entries used least recently go first
_lock = forkable()
_loaded: dict[str, "Code"] = {}
_held: dict[Path, int] = {}  # bytes in a folder of the cache, as far as this process knows
_crews: list[Crew] = []  # that are at work
_alive: list[Any] = []  # addresses are handed out: code is never unloaded
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_crews.clear)  # those who talk to its processes are the parent's threads


class Code:
    """Compiled functions that stay in memory as long as the program runs; compiled when the first is asked for."""

    def __init__(self, key: str, text: str) -> None:
        self._key, self._text = key, text
        self._image: bytes | None = None
        self._engine: Any = None

    def address(self, name: str) -> int:
        """The address of a function of the module."""
        with _lock:  # llvmlite has a lock of its own, which a fork would leave as it is
            self._load()
            found = self._engine.get_function_address(name)
        if not found:
            raise KeyError(f"the compiled module has no function {name!r}")
        return found

    def load(self) -> None:
        """Compiles it now."""
        with _lock:
            self._load()

    def hand_over(self, crew: Crew) -> None:
        """Lets others compile it, unless the disk has it."""
        self._image = _read(self._key)
        if self._image is None:
            crew.submit(self._key, self._text)

    def _load(self) -> None:
        if self._engine is not None:
            return
        image = self._image or _read(self._key)
        if image is None:
            image = next(filter(None, (crew.take(self._key) for crew in _crews)), None) or _build(self._text)
            _write(self._key, image)
        self._engine = _engine(image)
        self._image, self._text = None, ""


@cache
def has(feature: str) -> bool:
    """Whether the CPU has a feature by LLVM's name, e.g. "avx512f", "avx2", "fma"."""
    return bool(binding().get_host_cpu_features().get(feature))


def compile_ir(text: str) -> Code:
    """The module `text` (LLVM IR), optimised and loaded; the same text is compiled once."""
    code = promised(text)
    code.load()
    return code


def promised(text: str) -> Code:
    """The module `text`, which is compiled when one of its addresses is asked for."""
    key = _key(text)
    found = _loaded.get(key)
    if found is not None:
        return found
    with _lock:
        if key not in _loaded:
            if int(str(flags.read("DEBUG"))) >= 4:
                print(text)
            _loaded[key] = Code(key, text)
            for crew in _crews:
                _loaded[key].hand_over(crew)
        return _loaded[key]


@contextlib.contextmanager
def crew(hands: int) -> Iterator[None]:
    """Meanwhile what is promised is compiled by up to `hands` other processes, too."""
    with Crew(hands) as found:
        _crews.append(found)
        try:
            yield
        finally:
            _crews.remove(found)


def keep_promises() -> None:
    """Compiles what is promised, together with the crew."""
    for found in _crews:
        while (text := found.next()) is not None:
            compile_ir(text)


def _engine(image: bytes) -> Any:
    engine = binding().create_mcjit_compiler(binding().parse_assembly(""), new_machine())  # an engine owns its machine
    engine.add_object_file(binding().ObjectFileRef.from_data(image))
    engine.finalize_object()
    _alive.append(engine)
    return engine


def _key(text: str) -> str:
    return hashlib.sha256("\0".join((text, BUILD, *_host())).encode()).hexdigest()


@cache
def _host() -> tuple[str, ...]:
    """What decides a text's machine code besides the text."""
    version = ".".join(map(str, binding().llvm_version_info))
    cpu = (binding().get_host_cpu_name(), binding().get_host_cpu_features().flatten())
    return version, sys.modules["llvmlite"].__version__, *cpu


# ---- the cache on disk -----------------------------------------------------------------------------------------------


def folder() -> Path | None:
    """Where compiled code is kept; None where it is not (EXPKIT_KERNEL_CACHE=off, or no place can be written)."""
    return flags.cache_folder("KERNEL_CACHE", "kernels")


def _read(key: str) -> bytes | None:
    """The object code of a sound entry."""
    place = folder()
    if place is None:
        return None
    path = place / f"{key}.o"
    try:
        data = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):  # somebody else's cache
        os.utime(path)
    digest, image = data[:32], data[32:]
    return image if hashlib.sha256(image).digest() == digest else None


def _write(key: str, image: bytes) -> None:
    place = folder()
    if place is None:
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place, suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(image).digest() + image)
        os.replace(temporary, place / f"{key}.o")
        _held[place] = _held.get(place, LIMIT) + len(image)
        if _held[place] > LIMIT:
            _held[place] = _trimmed(place)
    except OSError:
        return  # a cache that cannot be written is none; the code is in memory


def _trimmed(place: Path) -> int:
    """The bytes of the cache. Where there are too many, the entries used least recently go first, until there is room
    for more: to look through all of them takes as long as to compile several kernels."""
    entries = sorted(((e.stat().st_mtime, e.stat().st_size, e) for e in place.glob("*.o")), key=lambda entry: entry[0])
    total = sum(size for _, size, _ in entries)
    goal = total if total <= LIMIT else LIMIT - LIMIT // 8
    for _, size, path in entries:
        if total <= goal:
            break
        path.unlink(missing_ok=True)
        total -= size
    return total
