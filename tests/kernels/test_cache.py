"""The cache of object code: damaged and foreign entries are rebuilt, processes share it, its size is bounded."""

import ctypes
import os
import subprocess
import sys

import pytest

from expkit.kernels.cpu.machine import llvm

pytest.importorskip("llvmlite")


def module(number: int) -> str:
    return f"define i64 @f() {{\n  ret i64 {number}\n}}\n"


def call(code: llvm.Code) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64)(code.address("f"))()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPKIT_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr(llvm, "_loaded", {})
    return tmp_path


def test_an_entry_is_written_and_read(place, monkeypatch):
    assert call(llvm.compile_ir(module(41))) == 41
    assert len(list(place.glob("*.o"))) == 1
    assert not list(place.glob("*.tmp"))
    monkeypatch.setattr(llvm, "_loaded", {})
    monkeypatch.setattr(llvm, "_build", None)  # must not be needed
    assert call(llvm.compile_ir(module(41))) == 41


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[: len(b) // 2], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b"", lambda b: b"foreign" * 99],
    ids=["cut", "one bit", "empty", "foreign"],
)
def test_a_damaged_entry_is_rebuilt(place, monkeypatch, damage):
    llvm.compile_ir(module(42))
    (entry,) = place.glob("*.o")
    sound = entry.read_bytes()
    entry.write_bytes(damage(sound))
    monkeypatch.setattr(llvm, "_loaded", {})
    assert call(llvm.compile_ir(module(42))) == 42
    assert entry.read_bytes() == sound


def test_the_size_is_bounded(place, monkeypatch):
    llvm.compile_ir(module(1))
    (first,) = place.glob("*.o")
    size = first.stat().st_size
    os.utime(first, (1, 1))
    monkeypatch.setattr(llvm, "LIMIT", int(2.5 * size))
    for n in (2, 3, 4):
        llvm.compile_ir(module(n))
    assert len(list(place.glob("*.o"))) == 2
    assert not first.exists()


def test_concurrent_writers(place):
    program = (
        "import ctypes\nfrom expkit.kernels.cpu.machine import llvm\n"
        "for n in range(20):\n"
        "    code = llvm.compile_ir(f'define i64 @f() {{\\n  ret i64 {n}\\n}}\\n')\n"
        "    assert ctypes.CFUNCTYPE(ctypes.c_int64)(code.address('f'))() == n\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program], env=os.environ) for _ in range(3)]
    assert [p.wait(60) for p in running] == [0, 0, 0]
    assert len(list(place.glob("*.o"))) == 20
    assert not list(place.glob("*.tmp"))


def test_a_cache_that_cannot_be_written_is_none(place, monkeypatch):
    blocked = place / "file"
    blocked.write_text("")
    monkeypatch.setenv("EXPKIT_KERNEL_CACHE", str(blocked / "below"))
    assert call(llvm.compile_ir(module(43))) == 43
    monkeypatch.setenv("EXPKIT_KERNEL_CACHE", "off")
    assert call(llvm.compile_ir(module(44))) == 44


def test_entries_of_somebody_else_are_read(place, monkeypatch):
    text = module(46)
    llvm.compile_ir(text)
    llvm._loaded.clear()

    def refuse(*_args):
        raise PermissionError

    monkeypatch.setattr(llvm.os, "utime", refuse)
    monkeypatch.setattr(llvm, "_build", lambda _: pytest.fail("was compiled again"))
    assert call(llvm.compile_ir(text)) == 46


def test_without_a_home_there_is_no_cache(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("EXPKIT_KERNEL_CACHE", "")
    monkeypatch.setattr(llvm.Path, "home", home)
    assert llvm.folder() is None


def test_an_unknown_function_is_named(place):
    with pytest.raises(KeyError, match="'g'"):
        llvm.compile_ir(module(45)).address("g")
