"""Tiles of images for Winograd's convolution: where their pixels lie, and the planes that hold their transforms.

Images are NHWC in memory. Tiles are numbered through all images, row by row; a block of them is one task's work. A
table holds the address of each pixel of a tile; a pixel beyond the image's edge, or of a tile beyond the last, gets
the address of a substitute: zeros to read, or memory that nobody reads to write.
"""

from __future__ import annotations

from dataclasses import dataclass

from expkit.kernels.cpu.code.builder import Function, Number, Pointer, least
from expkit.kernels.cpu.code.ir import Value
from expkit.kernels.cpu.code.routine import Task
from expkit.kernels.cpu.conv.winograd_transforms import OUT, POINTS, Row, Transform, both_ways

AHEAD = 3  # tiles from a prefetch to its use
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

    def load(self, at: Pointer, lanes: int) -> Row:
        """The vector at `at` in the first plane and those at its place in the others."""
        return [at.load(p * self.plane, lanes) for p in range(POINTS)]

    def store(self, points: Row, at: Pointer) -> None:
        """Writes what `load` reads."""
        for p, x in enumerate(points):
            at.store(x, p * self.plane)


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


class Image:
    """Images among a task's arrays, and the addresses of the pixels of a block's tiles: size x size of each.

    Words of the task: <name>_n, _h, _w (steps), _height and _width.
    """

    WORDS = ("n", "h", "w", "height", "width")

    def __init__(self, f: Task, base: Pointer, name: str, tiles: int, size: int, substitute: Pointer) -> None:
        self.f, self.base, self.name, self.size, self.substitute = f, base, name, size, substitute
        self.table = f.scratch("i8", tiles * size * size)

    @classmethod
    def words(cls, name: str) -> list[str]:
        return [f"{name}_{word}" for word in cls.WORDS]

    def __getitem__(self, word: str) -> Value:
        return self.f[f"{self.name}_{word}"]

    def pixel(self, t: Value, k: int) -> Pointer:
        """The kth pixel of the block's tile t."""
        return self.table.at(t * (self.size * self.size)).follow("f4", k)

    def locate(self, t: Value, tile: Tile, top: Number = 0, left: Number = 0) -> None:
        """Notes the addresses for the block's tile t, whose first pixel lies `top`, `left` of the tile's corner."""
        f, size = self.f, self.size
        y, x = tile.y - top, tile.x - left
        columns = [x + j for j in range(size)]
        inside = [below(f, c, self["width"]) & tile.real for c in columns]
        line = self.base.at(tile.image * self["n"])
        for i in f.range(size):
            table = self.table.at((t * size + i) * size)
            row = line.at((y + i) * self["h"])
            good = below(f, y + i, self["height"])
            for j in range(size):
                found = f"select {good & inside[j]!r}, {row.at(columns[j] * self['w'])!r}, {self.substitute!r}"
                f.write(f"  store ptr {f.put('i8', found).name}, {table.at(j)!r}")

    def gather(
        self, t: Value, count: Number, transform: Transform, channel: Number, mask: Value | None, lanes: int
    ) -> Row:
        """Both transforms of the pixels of tile t of `count`, for the channels from `channel` on.

        Brings near what a tile further on does not share with its neighbour.
        """
        size, later = self.size, least(t + AHEAD, count - 1)
        for k in range(size * size):
            if k % size >= size - OUT:
                self.pixel(later, k).prefetch(channel)
        pixels = [self.pixel(t, k).at(channel) for k in range(size * size)]
        return both_ways(transform, [at.load_some(mask) if mask else at.load(lanes=lanes) for at in pixels])


def tail_mask(f: Function, count: Value, first: Value, lanes: int, ragged: bool) -> Value | None:
    """The mask of a vector of channels from `first` on; None where all vectors are full."""
    return f.first(least(count - first, lanes), lanes) if ragged else None


def below(f: Function, x: Value, size: Value) -> Value:
    """Whether 0 <= x < size."""
    return f.put("b1", f"icmp ult {x!r}, {size.name}")
