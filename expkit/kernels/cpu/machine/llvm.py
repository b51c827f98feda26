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
from expkit.kernels.cpu.machine.locks import forkable

EXPLICIT = "; vectors and loops are as written\n"  # a module that begins so is searched for no more: half the time
BUILD = "4"  # to be raised whenever `_machine` or `_build` compile otherwise: the disk has code of before
LIMIT = 256 << 20  # bytes that the cache may hold; the entries used least recently go first
_lock = forkable()
_loaded: dict[str, "Code"] = {}
_held: dict[Path, int] = {}  # bytes in a folder of the cache, as far as this process knows
_alive: list[Any] = []  # addresses are handed out: code is never unloaded


class Code:
    """Compiled functions that stay in memory as long as the program runs."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def address(self, name: str) -> int:
        """The address of a function of the module."""
        with _lock:  # llvmlite has a lock of its own, which a fork would leave as it is
            found = self._engine.get_function_address(name)
        if not found:
            raise KeyError(f"the compiled module has no function {name!r}")
        return found


@cache
def binding() -> Any:
    """llvmlite's binding, loaded with the first kernel. ImportError where llvmlite is not installed."""
    import llvmlite.binding  # noqa: PLC0415

    return llvmlite.binding


@cache
def machine() -> Any:
    """The CPU at hand, with all its features."""
    return _machine()


def _machine() -> Any:
    binding().initialize_native_target()
    binding().initialize_native_asmprinter()
    target = binding().Target.from_default_triple()
    features = binding().get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=binding().get_host_cpu_name(), features=features, opt=3, jit=True, reloc="pic"
    )  # fmt: skip


@cache
def has(feature: str) -> bool:
    """Whether the CPU has a feature by LLVM's name, e.g. "avx512f", "avx2", "fma"."""
    return bool(binding().get_host_cpu_features().get(feature))


def compile_ir(text: str) -> Code:
    """The module `text` (LLVM IR), optimised and loaded; the same text is compiled once."""
    key = _key(text)
    found = _loaded.get(key)
    if found is not None:
        return found
    with _lock:
        if key not in _loaded:
            if int(str(flags.read("DEBUG"))) >= 4:
                print(text)
            image = _read(key)
            if image is None:
                image = _build(text)
                _write(key, image)
            _loaded[key] = _load(image)
        return _loaded[key]


def _build(text: str) -> bytes:
    module = binding().parse_assembly(text)
    module.triple = machine().triple
    module.data_layout = str(machine().target_data)
    module.verify()
    search = not text.startswith(EXPLICIT)
    _optimize(module, search=search)
    with _rewritten_addresses(search):
        return machine().emit_object(module)


@contextlib.contextmanager
def _rewritten_addresses(wanted: bool) -> Iterator[None]:
    """Whether LLVM looks for cheaper addresses in loops (loop strength reduction).

    Without it machine code is made in half the time. Loops that are written out are as fast, norms 8 % faster; those
    that LLVM vectorises are up to 1.4 times as slow where strides are not one.
    """
    if wanted:
        yield
        return
    binding().set_option("", "-disable-lsr=true")  # of the process: others may use LLVM, too
    try:
        yield
    finally:
        binding().set_option("", "-disable-lsr=false")


def _optimize(module: Any, *, search: bool) -> None:
    """LLVM's passes over a module; `search`: for loops to vectorise and unroll, too.

    Code that is written out needs few: all of level 2 take three times as long and gain nothing measurable.
    """
    options = binding().create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = search
    builder = binding().create_pass_builder(machine(), options)
    if search:
        passes = builder.getModulePassManager()
    else:
        passes = binding().create_new_module_pass_manager()
        passes.add_ipsccp_pass()  # constants that helpers are called with: else weight gradients take 1.5 times
        passes.add_sroa_pass()
        passes.add_instruction_combine_pass()
        passes.add_simplify_cfg_pass()
        passes.add_new_gvn_pass()
        passes.add_instruction_combine_pass()
    passes.run(module, builder)


def _load(image: bytes) -> Code:
    engine = binding().create_mcjit_compiler(binding().parse_assembly(""), _machine())  # an engine owns its machine
    engine.add_object_file(binding().ObjectFileRef.from_data(image))
    engine.finalize_object()
    _alive.append(engine)
    return Code(engine)


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
    named = str(flags.read("KERNEL_CACHE"))
    if named == "off":
        return None
    if named:
        return Path(named)
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return None
    return base / "expkit" / "kernels"


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
