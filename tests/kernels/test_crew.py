"""Kernels that are compiled by other processes: the same code, whatever becomes of these."""

import ctypes
import os
import sys
import threading

import pytest

from expkit.kernels.cpu.machine import crew, emit, llvm

pytest.importorskip("llvmlite")


def module(number: int) -> str:
    return f"define i64 @f() {{\n  ret i64 {number}\n}}\n"


def call(code: llvm.Code) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64)(code.address("f"))()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPKIT_KERNEL_CACHE", str(tmp_path))
    monkeypatch.setattr(llvm, "_loaded", {})
    return tmp_path


def helpers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "expkit-compile"]


def ended() -> bool:
    for thread in helpers():
        thread.join(30)
    return not helpers()


def test_a_process_makes_the_same_code():
    texts = {str(n): module(n) for n in range(crew.SHARE)}
    with crew.Crew(hands=1) as found:
        for key, text in texts.items():
            found.submit(key, text)
        with found._changed:
            assert found._changed.wait_for(lambda: len(found._images) == len(texts), 60)
        assert {key: found.take(key) for key in texts} == {key: emit.build(text) for key, text in texts.items()}
    assert ended()


def test_what_nobody_has_begun_is_the_callers():
    with crew.Crew(hands=0) as found:
        found.submit("short", module(1))
        found.submit("long", emit.EXPLICIT + ";" * 1000 + "\n" + module(2))
        assert found.next().startswith(emit.EXPLICIT)
        assert found.take("long") is None
        assert found.next() == module(1)
        assert found.take("short") is None
        assert found.next() is None
        assert not helpers()


@pytest.mark.parametrize(
    "executable", ["/nowhere/python", "/bin/false", sys.executable], ids=["none", "ends at once", "python"]
)
def test_promises_are_kept(place, monkeypatch, executable):
    monkeypatch.setattr(crew, "get_executable", lambda: executable)
    with llvm.crew(2):
        codes = [llvm.promised(module(n)) for n in range(8)]
        assert not list(place.glob("*.o"))
        llvm.keep_promises()
        assert [call(code) for code in codes] == list(range(8))
    assert len(list(place.glob("*.o"))) == 8
    assert ended()


def test_a_process_that_is_killed_leaves_its_work(monkeypatch):
    begun = threading.Event()

    def sent(process, _text):
        process.kill()
        begun.set()
        return crew._received(process)

    monkeypatch.setattr(crew, "_sent", sent)
    with llvm.crew(1):
        codes = [llvm.promised(module(n)) for n in range(crew.SHARE)]
        assert begun.wait(60)
        assert [call(code) for code in codes] == list(range(crew.SHARE))
    assert ended()


def test_a_text_that_llvm_refuses_is_an_error_here():
    with llvm.crew(1):
        codes = [llvm.promised(f"nonsense {n}") for n in range(2 * crew.SHARE)]
        with pytest.raises(RuntimeError, match="parsing error"):
            codes[0].address("f")
    assert ended()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_compiles_by_itself():
    with llvm.crew(1):
        codes = [llvm.promised(module(n)) for n in range(2 * crew.SHARE)]
        child = os.fork()
        if not child:
            os._exit(sum(map(call, codes)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == sum(range(2 * crew.SHARE))
        assert [call(code) for code in codes] == list(range(2 * crew.SHARE))
    assert ended()


def test_what_is_in_the_cache_is_not_compiled_again(monkeypatch):
    llvm.compile_ir(module(7))
    monkeypatch.setattr(llvm, "_loaded", {})
    monkeypatch.setattr(llvm, "_build", None)
    with llvm.crew(1):
        code = llvm.promised(module(7))
        assert llvm._crews[0].next() is None
        assert call(code) == 7
