"""Every operation that has kernels, on large arrays in all layouts: beside the same operation without kernels.

The plain results come from a process of its own in which EXPKIT_KERNELS=0. `table_large` holds the operations.
"""

import multiprocessing
import zlib
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from expkit.tensor.generated.base import enabled
from tests.kernels.guards import install
from tests.kernels.table_large import FLAT, INTEGERS, LAYOUTS, LOOSE, RESIZED, ROWS, SHARED, operands, outcome

pytest.importorskip("llvmlite")
pytestmark = pytest.mark.slow
FLOAT = ("float32", "float64", "float32")
WHOLE = ("int64", "int32", "bool", "uint8", "int16")
RELATIVE = {"float16": 1e-2, "bfloat16": 1e-2, "float32": 3e-5, "float64": 1e-10}


@pytest.fixture(scope="module")
def plain():
    """outcome(name, arrays), without kernels."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EXPKIT_KERNELS", "0")
            assert not pool.submit(enabled).result()
        assert enabled()
        yield lambda name, arrays: pool.submit(outcome, name, arrays).result()


def pick(name, dtypes):
    """One of the layouts and dtypes, another one for each name."""
    number = zlib.crc32(name.encode())
    layouts = [layout for layout in LAYOUTS if fits(name, layout)]
    return layouts[number % len(layouts)], dtypes[number // 64 % len(dtypes)]


def fits(name, layout):
    """Whether the layout leaves the function something to do: rows that are all the same have no variance."""
    return layout != "repeated" or not name.startswith(FLAT)


@pytest.mark.parametrize("name", ROWS)
def test_large_arrays(name, plain, threads, monkeypatch):
    check(name, *pick(name, FLOAT), plain, threads, monkeypatch)


@pytest.mark.parametrize("name", INTEGERS)
def test_large_arrays_of_integers(name, plain, threads, monkeypatch):
    check(name, *pick(name, WHOLE), plain, threads, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("dtype", [*FLOAT[:2], *WHOLE])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_and_dtypes(layout, dtype, plain, threads, monkeypatch):
    for name in ROWS if dtype in FLOAT else INTEGERS:
        if fits(name, layout):
            check(name, layout, dtype, plain, threads, monkeypatch)


def check(name, layout, dtype, plain, threads, monkeypatch):
    arrays = [LAYOUTS[layout](x) for x in operands(name, dtype)]
    before = [x.copy() for x in arrays]
    found = []
    if name in RESIZED:  # kernels know no sizes: here they are made for others
        outcome(name, [x[tuple(slice(n - (n > 50)) for n in x.shape)] for x in arrays])
    with monkeypatch.context() as patch:
        guards = install(patch)
        for count in (3, 1, 2):
            threads(count)
            found.append(outcome(name, arrays))
        guards.check()
    what = f"{name}, {layout}, {dtype}"
    for x, old in zip(arrays, before, strict=True):
        assert x.tobytes() == old.tobytes(), f"{what}: an operand was written to"
    if isinstance(found[0], str):
        assert found[0] == plain(name, before), what
        return
    assert [x.tobytes() for x in found[0]] == [x.tobytes() for x in found[1]] == [x.tobytes() for x in found[2]], what
    if not name.startswith(SHARED):
        assert not any(np.may_share_memory(x, a) for x in found[0] for a in arrays if x.size and a.size), what
    compare(what, found[0], plain(name, before), LOOSE.get(name, 1), lambda: plain(name, doubled(before)))


def doubled(arrays):
    return [x.astype(np.float64) if x.dtype == np.float32 else x for x in arrays]


def compare(what, found, expected, factor, exact):
    """Like the plain results, or nearer to the exact ones, which are computed where the plain ones are far away."""
    assert not isinstance(expected, str), f"{what}: {expected}, but not with kernels"
    assert [(x.dtype, x.shape) for x in found] == [(x.dtype, x.shape) for x in expected], what
    for i, (x, want) in enumerate(zip(found, expected, strict=True)):
        if x.dtype.kind in "biu":
            np.testing.assert_array_equal(x, want, what)
            continue
        wrong = ~near(x, want, factor)
        if wrong.any():
            wrong &= ~near(x, exact()[i], factor)
        places = [(p, x[tuple(p)], want[tuple(p)]) for p in np.argwhere(wrong)[:5].tolist()]
        assert not places, f"{what}, result {i} (place, with kernels, plain): {places}"


def near(x, want, factor):
    relative = factor * RELATIVE[x.dtype.name]
    x, want = x.astype(np.float64), want.astype(np.float64)
    sizes = np.abs(want[np.isfinite(want)])
    scale = np.quantile(sizes, 0.9) if sizes.size else 0
    with np.errstate(invalid="ignore"):
        return np.isclose(x, want, rtol=relative, atol=relative * scale, equal_nan=True)
