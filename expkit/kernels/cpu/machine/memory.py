"""Memory of large arrays: kept by the process instead of going back to the system, and aligned to cache lines.

glibc maps blocks above a threshold (at most 32 MiB, moving) straight from the system and unmaps them when they are
freed, and it gives back the heap's end. A 64 MiB result then costs 16 384 page faults, as long as computing it: an
addition of two such arrays takes 11 ms with and 6 ms without. `keep` has the heap hold what is freed: blocks up to
KEPT, up to SPARE bytes of unused memory at its end.

malloc aligns to 16 bytes, so that most vectors of an array reach over two cache lines: reading is 5 to 10 % slower,
writing in place 25 %. `align` gives NumPy another malloc (its handler of the main thread's context, NEP 49) for
blocks from LARGE on, and calloc up to ZEROED; everything else stays NumPy's own. Chunks of it are whole cache lines, so
that what follows an aligned block, or takes its place, is aligned too: plain malloc is asked first. aligned_alloc looks
for room to shift the block in, and a freed block of the same size has none: training an MLP of 20 million parameters
took 400 MiB that way, 324 so. Blocks that follow each other begin
at different places of a page: where results lie a little behind operands, modulo 4096, loads wait for stores (exp
loses 10 %).
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import threading
from functools import cache
from typing import Any

import numpy as np

from expkit.kernels.cpu.machine import llvm

KEPT = 1 << 29  # bytes of the largest block that comes from the heap
SPARE = (1 << 31) - 1  # bytes at the heap's end that stay; mallopt takes an int
LARGE = 1 << 12  # bytes from which a block is aligned
HUGE = 1 << 22  # from which NumPy asks for huge pages
ZEROED = 1 << 26  # to which zeros are written; beyond, the system's untouched pages are better
SPREAD = 1 << 16  # from which a block ends so far behind a page's beginning:
STAGGER = 2560
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_SET, _GET = 304, 305  # PyDataMem_SetHandler and PyDataMem_GetHandler in NumPy's table of C functions


@cache
def keep() -> bool:
    """Sets glibc's limits, once; whether they were set. What the environment says of them (mallopt(3)) has priority."""
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, KEPT)) and bool(mallopt(_TRIM_THRESHOLD, SPARE))


def release() -> None:
    """Gives back to the system what the heap holds and nobody uses: to be called where memory is taken elsewhere."""
    if keep():
        ctypes.CDLL(None).malloc_trim(0)


class _Handler(ctypes.Structure):
    """PyDataMem_Handler"""

    _fields_ = (
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p), ("calloc", ctypes.c_void_p), ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )  # fmt: skip


# malloc(context, size) and calloc(context, n, size); the context is NumPy's own handler.
_IR = f"""
declare ptr @aligned_alloc(i64, i64)
declare ptr @malloc(i64)
declare void @free(ptr)
declare i32 @madvise(ptr, i64, i32)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare {{ i64, i1 }} @llvm.umul.with.overflow.i64(i64, i64)

define ptr @expkit_malloc(ptr %own, i64 %size) {{
entry:
  %large = icmp uge i64 %size, {LARGE}
  br i1 %large, label %aligned, label %plain
plain:
  %malloc.p = getelementptr i8, ptr %own, i64 {_Handler.malloc.offset}
  %malloc = load ptr, ptr %malloc.p
  %small = call ptr %malloc(ptr null, i64 %size)
  ret ptr %small
aligned:
  %pages.up = add i64 %size, 4095
  %pages.whole = and i64 %pages.up, -4096
  %spread = add i64 %pages.whole, {STAGGER - 16}
  %big = icmp uge i64 %size, {SPREAD}
  %lines.up = add i64 %size, 71
  %lines.whole = and i64 %lines.up, -64
  %lines = sub i64 %lines.whole, 8
  %wanted = select i1 %big, i64 %spread, i64 %lines
  %found = call ptr @malloc(i64 %wanted)
  %place = ptrtoint ptr %found to i64
  %off = and i64 %place, 63
  %fits = icmp eq i64 %off, 0
  br i1 %fits, label %have, label %move
move:
  call void @free(ptr %found)
  %other = call ptr @aligned_alloc(i64 64, i64 %wanted)
  br label %have
have:
  %block = phi ptr [ %found, %aligned ], [ %other, %move ]
  %huge = icmp uge i64 %size, {HUGE}
  %made = icmp ne ptr %block, null
  %advise = and i1 %huge, %made
  br i1 %advise, label %pages, label %out
pages:
  %start = ptrtoint ptr %block to i64
  %end = add i64 %start, %size
  %up = add i64 %start, 4095
  %first = and i64 %up, -4096
  %length = sub i64 %end, %first
  %page = inttoptr i64 %first to ptr
  %done = call i32 @madvise(ptr %page, i64 %length, i32 14)
  br label %out
out:
  ret ptr %block
}}

define ptr @expkit_calloc(ptr %own, i64 %n, i64 %each) {{
entry:
  %pair = call {{ i64, i1 }} @llvm.umul.with.overflow.i64(i64 %n, i64 %each)
  %size = extractvalue {{ i64, i1 }} %pair, 0
  %over = extractvalue {{ i64, i1 }} %pair, 1
  %past = sub i64 %size, {LARGE}
  %within = icmp ult i64 %past, {ZEROED - LARGE}
  %fits = xor i1 %over, true
  %write = and i1 %within, %fits
  br i1 %write, label %zeros, label %plain
plain:
  %calloc.p = getelementptr i8, ptr %own, i64 {_Handler.calloc.offset}
  %calloc = load ptr, ptr %calloc.p
  %other = call ptr %calloc(ptr null, i64 %n, i64 %each)
  ret ptr %other
zeros:
  %block = call ptr @expkit_malloc(ptr %own, i64 %size)
  %made = icmp ne ptr %block, null
  br i1 %made, label %fill, label %out
fill:
  call void @llvm.memset.p0.i64(ptr %block, i8 0, i64 %size, i1 false)
  br label %out
out:
  ret ptr %block
}}
"""


@cache
def align() -> bool:
    """Gives NumPy the other malloc, once and in the main thread only; whether it did."""
    if threading.current_thread() is not threading.main_thread():
        return False
    python = ctypes.pythonapi
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = ctypes.py_object, ctypes.c_char_p
    python.PyCapsule_New.restype = ctypes.py_object
    python.PyCapsule_New.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    capsule = np._core._multiarray_umath._ARRAY_API  # type: ignore[attr-defined]
    table = ctypes.cast(python.PyCapsule_GetPointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    own = ctypes.PYFUNCTYPE(ctypes.py_object)(table[_GET])()
    at = python.PyCapsule_GetPointer(own, b"mem_handler")
    found = _Handler.from_address(at)
    if found.version != 1 or found.name != b"default_allocator":
        return False
    handler = _ours(found, at)
    switch = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[_SET])
    switch(python.PyCapsule_New(ctypes.addressof(handler), b"mem_handler", None))
    atexit.register(switch, own)
    return True


def _ours(found: _Handler, at: int | None) -> Any:
    """NumPy's own handler with other functions. Arrays point to it: it is never freed."""
    code = llvm.compile_ir(_IR)
    handler = _Handler(
        b"expkit", 1, at, code.address("expkit_malloc"), code.address("expkit_calloc"), found.realloc, found.free
    )
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handler))
    return handler
