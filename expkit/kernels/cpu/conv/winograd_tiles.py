"""Tiles of images for Winograd's convolution: where their pixels lie, and the planes that hold their transforms.

Images are NHWC in memory. Tiles are numbered through all images, row by row; a block of them is one task's work. A
table holds the address of each pixel of a tile; a pixel beyond the image's edge, or of a tile beyond the last, gets
the address of a substitute: zeros to read, or memory that nobody reads to write.
"""

from __future__ import annotations

from dataclasses import dataclass

from expkit.kernels.cpu.builder import Function, Number, Pointer, least
from expkit.kernels.cpu.conv.winograd_transforms import OUT, POINTS, Row, Transform, both_ways
from expkit.kernels.cpu.ir import Value
from expkit.kernels.cpu.routine import Task

PAD = 16  # floats between planes: at a multiple of 4 KiB apart they would fall on the same lines of the cache


@dataclass(frozen=True)
class Planes:
    """36 matrices [rows, width] of floats, one for each point, in memory one after the other."""

    rows: int
    width: int

    @property
    def plane(self) -> int:
        """Elements from a plane to the next."""
        return self.rows * self.width + PAD

    @property
    def size(self) -> int:
        return POINTS * self.plane

    def load(self, at: Pointer, lanes: int) -> list[Row]:
        """The vector at `at` in the first plane and those at its place in the others, as a grid of 6 x 6."""
        found = [at.load(p * self.plane, lanes) for p in range(POINTS)]
        return [found[i : i + 6] for i in range(0, POINTS, 6)]

    def store(self, grid: list[Row], at: Pointer) -> None:
        """Writes what `load` reads."""
        for p, x in enumerate(x for row in grid for x in row):
            at.store(x, p * self.plane)


class Image:
    """Images among a task's arrays: their place and the words <name>_n, _h, _w (steps), _height and _width."""

    WORDS = ("n", "h", "w", "height", "width")

    def __init__(self, f: Task, base: Pointer, name: str) -> None:
        self.f, self.base, self.name = f, base, name

    @classmethod
    def words(cls, name: str) -> list[str]:
        return [f"{name}_{word}" for word in cls.WORDS]

    def __getitem__(self, word: str) -> Value:
        return self.f[f"{self.name}_{word}"]

    def addresses(self, table: Pointer, tile: Tile, top: Number, left: Number, size: int, substitute: Pointer) -> None:
        """Fills the table for size x size pixels, the first of which lies `top`, `left` of the tile's corner."""
        f = self.f
        y, x = tile.y - top, tile.x - left
        columns = [x + j if j else x for j in range(size)]
        inside = [below(f, c, self["width"]) for c in columns]
        steps = [c * self["w"] for c in columns]
        start = tile.image * self["n"]
        for i in range(size):
            row = y + i if i else y
            good = below(f, row, self["height"]) & tile.real
            line = self.base.at(start + row * self["h"])
            for j in range(size):
                place = f.put("i8", f"select {good & inside[j]!r}, {line.at(steps[j])!r}, {substitute!r}")
                f.write(f"  store ptr {place.name}, {table.at(i * size + j)!r}")


@dataclass(frozen=True)
class Tile:
    """A tile's image, its corner among the results, and whether there is such a tile."""

    image: Value
    y: Value
    x: Value
    real: Value

    @classmethod
    def number(cls, f: Function, n: Value) -> Tile:
        """The nth tile: the words `down` and `across` count an image's tiles, `tiles` all of them."""
        line = n / f["across"]
        image = line / f["down"]
        y, x = (line - image * f["down"]) * OUT, (n - line * f["across"]) * OUT
        return cls(image, y, x, n.compare("lt", f["tiles"]))


def gather(
    f: Function, table: Pointer, size: int, transform: Transform, offset: Number, mask: Value | None, lanes: int
) -> list[Row]:
    """Both transforms of the pixels in a table, for the channels from `offset` on."""
    pixels = [table.follow("f4", k).at(offset) for k in range(size * size)]
    loaded = [at.load_some(mask) if mask else at.load(lanes=lanes) for at in pixels]
    return both_ways(transform, [loaded[i : i + size] for i in range(0, size * size, size)])


def tail_mask(f: Function, count: Value, first: Value, lanes: int, ragged: bool) -> Value | None:
    """The mask of a vector of channels from `first` on; None where all vectors are full."""
    return f.first(least(count - first, lanes), lanes) if ragged else None


def below(f: Function, x: Value, size: Value) -> Value:
    """Whether 0 <= x < size."""
    return f.put("b1", f"icmp ult {x!r}, {size.name}")
