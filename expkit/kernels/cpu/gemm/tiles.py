"""How a product is cut: into tiles of C, which are tasks, and blocks of k. By the extents alone, not by the threads."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from expkit.kernels.cpu.code.ir import SIZES
from expkit.kernels.cpu.gemm.microkernel import Blocking, blocking


@cache
def second_level() -> int:
    """Bytes of the second level of a core's cache, as Linux tells; half a megabyte where it does not."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, size = ((index / name).read_text().strip() for name in ("level", "size"))
        except OSError:
            continue
        if level == "2" and size.endswith("K"):
            return int(size[:-1]) << 10
    return 1 << 19


DEPTH = 192  # elements of a row of A in a block of k: sums of so many are rounded little, and a panel of B fits into L1
TALL = max(64, min(256, second_level() // 4 // (4 * DEPTH) // 32 * 32))  # rows of A in a tile: a quarter of L2
WIDE = max(512, min(2048, second_level() * 2 // 5 // DEPTH // 512 * 512))  # bytes of a row of B in a tile: two fifths
TASKS = 8  # from so many tiles on they are not cut further
LEAST, AREA = 1 << 19, 1 << 13  # multiplications and elements of C in a tile down to which tiles are halved
SHARING, LARGE = 3, 1 << 25  # uses of a piece, and multiplications, from which packing it first is worth another call
SHARED = 0.5  # what a use of such a piece costs beside packing it
FEW, DEEP = 2, 4  # tiles up to which k is cut; its blocks that are worth a task


def tiling(m: int, n: int, k: int, batch: int, kind: str) -> dict[str, int]:
    """The words of `packed` that say how it is cut, `tasks`, and how many parts of k have a C of their own (several
    where there are few tiles)."""
    shape, size = blocking(kind), SIZES[kind]
    height, width = min(m, TALL), min(n, WIDE // size)
    shared = SHARED if batch == 1 and m * n * k >= LARGE else 1
    while batch * _parts(m, height) * _parts(n, width) < TASKS and height * width > max(AREA, LEAST // k):
        finer = []
        if height >= 4 * shape.heights[0]:
            finer.append((_even(m, _parts(m, height) * 2, 2), width))
        if width >= 2 * shape.width:
            finer.append((height, _even(n, _parts(n, width) * 2, shape.width)))
        if not finer:
            break
        height, width = min(finer, key=lambda tile: _packing(m, tile[0], shared) + _packing(n, tile[1], shared))
    height, width = _even(m, _parts(m, height), 2), _even(n, _parts(n, width), shape.width)
    rows, columns, depth = _parts(m, height), _parts(n, width), _even(k, _parts(k, DEPTH), 8)
    tasks, blocks = batch * rows * columns, _parts(k, depth)
    cut_k = batch == 1 and tasks <= FEW and blocks >= 2 * DEEP
    part = _parts(blocks, min(TASKS, blocks // DEEP)) if cut_k else blocks
    parts = _parts(blocks, part)
    return {
        "tasks": tasks * parts, "tile_m": height, "tile_n": width, "tiles_m": rows, "tiles_n": columns,
        "depth": depth, "blocks": blocks, "part": part, "part_step": part if parts > 1 else 0,
        "tall": tall(height, shape), "tall_last": tall(m - (rows - 1) * height, shape), "parts": parts,
    }  # fmt: skip


def _packing(extent: int, size: int, shared: float) -> float:
    """What the pieces of the operand across cost for each multiplication, where an extent of C is cut to a size."""
    return (shared if _parts(extent, size) >= SHARING else 1) / size


def _parts(extent: int, size: int) -> int:
    return -(-extent // size)


def _even(extent: int, parts: int, multiple: int) -> int:
    """The size of so many nearly equal parts."""
    return _parts(_parts(extent, parts), multiple) * multiple


def tall(rows: int, blocks: Blocking) -> int:
    """How many of the tallest blocks to take so that the lower ones fit well into what is left."""
    tallest, *lower = blocks.heights
    most = rows // tallest

    def cost(count: int) -> int:
        left, total = rows - count * tallest, count * tallest
        for height in lower:
            total, left = total + left // height * max(height, 2), left % height
        return total

    return min(range(most, max(-1, most - 4), -1), key=cost)
