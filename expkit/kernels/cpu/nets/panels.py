"""What both passes of attention are written with: a panel of queries against the blocks of keys, and its products.

A panel has as many queries as a row of a micro-kernel's block has lanes; a block of scores is [key][query].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from expkit.kernels.cpu.arrays.copy import transposed
from expkit.kernels.cpu.code.builder import Function, Pointer, least
from expkit.kernels.cpu.code.ir import SIZES, Value
from expkit.kernels.cpu.code.routine import Task
from expkit.kernels.cpu.gemm.microkernel import blocking, microkernel

KEYS = 64  # in a block
TALLEST = 8  # rows of a micro-kernel: what divides a block, and heads' usual sizes
INF = float("inf")
_DEPTHS = {"q": "d", "x": "d", "o": "dv", "g": "dv"}  # the size of a row of each operand with a row for each query


class Form(NamedTuple):
    """What a kernel is written for. mask: its kind ("b1": true where a key counts; a float: added), or nothing."""

    kind: str
    causal: bool
    mask: str


class Panel:
    """The code that both passes share: a panel of queries against a block of keys."""

    def __init__(self, f: Task, form: Form) -> None:
        self.f, self.form = f, form
        blocks = blocking(form.kind)
        self.lanes, self.vectors, self.width = blocks.lanes, blocks.vectors, blocks.width
        self.row = self.width * SIZES[form.kind]  # bytes of a row of a packed block
        self._product = rows_product(f.helpers, form.kind, TALLEST)
        self._turn = _turn(f.helpers, form.kind, min(self.lanes, 8))
        self._spread = _spread(f.helpers, form.kind, self.lanes, self.width)
        self.scale = f["scale"].as_float().to(form.kind)

    def scratch(self, rows: int) -> Pointer:
        return self.f.scratch(self.form.kind, rows * self.width)

    def head(self, name: str, place: Pointer, batch: Value, head: Value) -> Pointer:
        """Where an operand's matrix of one head begins."""
        return place.move(batch * self.f[f"{name}0"] + head * self.f[f"{name}1"])

    def multiply(
        self, a: Pointer, steps: tuple[Any, Any], b: Pointer, c: Pointer, c_row: Any, *, rows: Value, k: Value,
        columns: Value | None = None, accumulate: Any = 0,
    ) -> None:  # fmt: skip
        """C = A B (or += with `accumulate`), B packed; steps and c_row in bytes."""
        word = self.f.constant
        given = [x if isinstance(x, Value) else word("i8", x) for x in (*steps, c_row, accumulate)]
        wide = word("i8", self.width) if columns is None else columns
        self.f.run(self._product, a, given[0], given[1], b, c, given[2], rows, k, wide, given[3])

    def pack(self, name: str, x: Pointer, to: Pointer, count: Value, scale: Value) -> None:
        """to[d][query] = scale * x[query][d], zeros for the queries that there are not."""
        f, size = self.f, self.f[_DEPTHS[name]]
        with f.when(count.compare("lt", self.width)):
            for d in f.range(size):
                self.store_at(to, d, [self.splat(0.0)] * self.vectors)
        words = [f.constant("i8", n) for n in (self.row, SIZES[self.form.kind])]
        f.run(self._turn, x, f[f"{name}2"], f[f"{name}3"], to, *words, count, size, scale)

    def unpack(self, name: str, x: Pointer, to: Pointer, count: Value, scale: Value) -> None:
        """to[query][d] = scale * x[d][query]"""
        f, size = self.f, self.f[_DEPTHS[name]]
        words = [f.constant("i8", n) for n in (self.row, SIZES[self.form.kind])]
        f.run(self._turn, x, *words, to, f[f"{name}2"], f[f"{name}3"], size, count, scale)

    def spread(self, name: str, x: Pointer, to: Pointer, count: Value, scale: Value) -> None:
        """The rows of a panel as the right operand of a product: panels of d."""
        f = self.f
        f.run(self._spread, x, f[f"{name}2"], f[f"{name}3"], to, count, f[_DEPTHS[name]], scale)

    def vectors_at(self, place: Pointer, row: Value | int) -> list[Value]:
        return [place.load(row * self.width + v * self.lanes, self.lanes) for v in range(self.vectors)]

    def store_at(self, place: Pointer, row: Value | int, values: Sequence[Value]) -> None:
        for v, x in enumerate(values):
            place.store(x, row * self.width + v * self.lanes)

    def splat(self, x: float) -> Value:
        return self.f.splat(x, self.lanes, self.form.kind)

    def scores(self, k: Pointer, packed: Pointer, to: Pointer, at: Block, mask: Pointer) -> None:
        """to[key][query] of a block of keys, masked."""
        f = self.f
        steps = (f["k2"], f["k3"])
        self.multiply(k.move(at.key * f["k2"]), steps, packed, to, self.row, rows=at.keys, k=f["d"])
        if self.form.mask:
            for j in f.range(at.keys):
                for i in f.range(at.queries):
                    self._mask(to.at(j * self.width + i), mask.move((at.query + i) * f["m2"] + (at.key + j) * f["m3"]))
        if self.form.causal:
            with f.when((at.key + at.keys).compare("gt", at.query + 1)):
                self._hide_later(to, at)

    def _mask(self, score: Pointer, mask: Pointer) -> None:
        x, value = score.load(), mask.load()
        score.store(value.select(x, -INF) if self.form.mask == "b1" else x + value)

    def _hide_later(self, to: Pointer, at: Block) -> None:
        """Keys behind the query do not count."""
        f = self.f
        for j in f.range(at.keys):
            ahead = at.key + j - at.query  # so many queries of the panel are in front of the key
            rows = self.vectors_at(to, j)
            hidden = [f.first(ahead - v * self.lanes, self.lanes) for v in range(self.vectors)]
            self.store_at(to, j, [h.select(-INF, x) for h, x in zip(hidden, rows, strict=True)])

    def blocks(self, query: Value, queries: Value) -> Iterator[Block]:
        """The blocks of keys that count for a panel."""
        f = self.f
        limit = least(f["s"], query + self.width) if self.form.causal else f["s"]
        for key in f.range(limit, step=KEYS):
            yield Block(query, queries, key, least(limit - key, KEYS))


class Block(NamedTuple):
    """Which queries and which keys: the first one's number, and how many."""

    query: Value
    queries: Value
    key: Value
    keys: Value


def rows_product(helpers: list[Function], kind: str, tallest: int) -> Function:
    """product(a, a_row, a_k, b, c, c_row, rows, k, columns, accumulate): any number of rows, some of them at once."""
    blocks = blocking(kind)
    words = dict.fromkeys(("c_row", "rows", "k", "columns", "accumulate"), "i8")
    f = Function("product", a=f"*{kind}", a_row="i8", a_k="i8", b=f"*{kind}", c=f"*{kind}", **words)
    f.attributes = "noinline"
    start: Any = 0
    for height in (h for h in blocks.heights if h <= tallest):
        kernel = microkernel(helpers, f"rows{height}", height, blocks.vectors, kind, segmented=False)
        left = f["rows"] - start
        stop = left - left % height + start
        for r in f.range(stop, start=start, step=height):
            a, c = f.pointer("a").move(r * f["a_row"]), f.pointer("c").move(r * f["c_row"])
            rest = [f[name] for name in ("c_row", "k", "columns", "accumulate")]
            f.run(kernel, a, f["a_row"], f["a_k"], f.pointer("b"), c, *rest)
        start = stop
    helpers.append(f)
    return f


def _turn(helpers: list[Function], kind: str, lanes: int) -> Function:
    """turn(x, row, step, to, to_row, to_step, rows, columns, scale): to[c][r] = scale * x[r][c], steps in bytes.

    In blocks of lanes x lanes where the rows of both are contiguous.
    """
    words = dict.fromkeys(("to_row", "to_step", "rows", "columns"), "i8")
    f = Function("turn", x=f"*{kind}", row="i8", step="i8", to=f"*{kind}", **words, scale=kind)
    f.attributes = "noinline"
    helpers.append(f)
    x, to, scale, item = f.pointer("x"), f.pointer("to"), f.splat(f["scale"], lanes), SIZES[kind]
    dense = f["step"].compare("eq", item) & f["to_step"].compare("eq", item)
    for r in f.range(f["rows"], step=lanes):
        for c in f.range(f["columns"], step=lanes):
            rows, columns = least(f["rows"] - r, lanes), least(f["columns"] - c, lanes)
            a, b = x.move(r * f["row"] + c * f["step"]), to.move(c * f["to_row"] + r * f["to_step"])
            for whole in f.either(dense & (rows + columns).compare("eq", 2 * lanes)):
                if whole:
                    block = [a.move(f["row"] * i).load(lanes=lanes) * scale for i in range(lanes)]
                    for i, column in enumerate(transposed(f, block)):
                        b.move(f["to_row"] * i).store(column)
                    continue
                for j in f.range(rows):
                    for k in f.range(columns):
                        value = a.move(j * f["row"] + k * f["step"]).load() * f["scale"]
                        b.move(k * f["to_row"] + j * f["to_step"]).store(value)
    return f


def _spread(helpers: list[Function], kind: str, lanes: int, width: int) -> Function:
    """spread(x, row, step, to, rows, columns, scale): to[c // width][r][c % width] = scale * x[r][c]"""
    f = Function("spread", x=f"*{kind}", row="i8", step="i8", to=f"*{kind}", rows="i8", columns="i8", scale=kind)
    f.attributes = "noinline"
    helpers.append(f)
    scale = f.splat(f["scale"], lanes)
    for c in f.range(f["columns"], step=lanes):
        to = f.pointer("to").at(c.binary("sdiv", width) * (width * width) + c % width)
        there = f.first(f["columns"] - c, lanes)
        for r in f.range(f["rows"]):
            x = f.pointer("x").move(r * f["row"] + c * f["step"])
            for dense in f.either(f["step"].compare("eq", SIZES[kind])):
                if dense:
                    to.store(x.load_some(there) * scale, r * width)
                else:
                    for i in f.range(least(f["columns"] - c, lanes)):
                        to.store(x.move(i * f["step"]).load() * f["scale"], r * width + i)
    return f
