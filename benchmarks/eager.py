"""The eager table: one row an operation on tensors of a megabyte and more, written once for both libraries.

A row is a name, what it is, and a builder: workloads -> a function that does one iteration. "and back" rows compute the
gradients of all operands too. Images: each library runs in both memory formats, and its faster one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.timing import Run, measure
from benchmarks.workloads import Row as AnyRow
from benchmarks.workloads import Workloads

TINY, LARGE, STRONG = 1.5, 1.0, 1 / 1.5  # the most that expkit's time may be as a multiple of PyTorch's
Row = partial(AnyRow, limit=LARGE)


def forward(fn: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[Workloads], Run]:
    """fn(workloads, x, y, ...) of random tensors of these shapes."""

    def build(w: Workloads) -> Run:
        xs = [w.lib.randn(*shape) for shape in shapes]
        return lambda: fn(w, *xs)

    return build


def both(fn: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[Workloads], Run]:
    """The same, recorded, with the gradients of all of them."""

    def build(w: Workloads) -> Run:
        xs = [w.lib.randn(*shape, requires_grad=True) for shape in shapes]
        seed = w.lib.ones_like(fn(w, *xs))
        return lambda: w.lib.autograd.grad(fn(w, *xs), xs, seed)

    return build


def images(fn: Callable[..., Any], x: tuple[int, ...], *weights: tuple[int, ...], back: bool) -> Any:
    """As `forward` or `both`, for an image batch, in the memory format in which the library is faster."""

    def build(w: Workloads) -> Run:
        runs = []
        for channels_last in (False, True):
            tensors = [w.lib.randn(*shape) for shape in (x, *weights)]
            if channels_last:
                tensors = [t.contiguous(memory_format=w.lib.channels_last) if t.ndim == 4 else t for t in tensors]
            runs.append(_image_run(w, fn, tensors, back))
        return min(runs, key=lambda run: measure(run, 0.2))

    return build


def _image_run(w: Workloads, fn: Callable[..., Any], tensors: list[Any], back: bool) -> Run:
    if not back:
        return lambda: fn(w, *tensors)
    for t in tensors:
        t.requires_grad_()
    seed = fn(w, *tensors).detach().clone()
    return lambda: w.lib.autograd.grad(fn(w, *tensors), tensors, seed)


# ---- builders of rows that need more than random tensors -------------------------------------------------------------


def cross_entropy(back: bool) -> Callable[[Workloads], Run]:
    def build(w: Workloads) -> Run:
        x, y = w.lib.randn(4096, 1000, requires_grad=back), w.lib.randint(1000, (4096,))
        loss = w.functional.cross_entropy
        return (lambda: w.lib.autograd.grad(loss(x, y), [x])) if back else (lambda: loss(x, y))

    return build


def embedding(rows: int, columns: int, count: int, back: bool) -> Callable[[Workloads], Run]:
    def build(w: Workloads) -> Run:
        table, index = w.lib.randn(rows, columns, requires_grad=back), w.lib.randint(rows, (count,))
        seed = w.lib.ones(count, columns)
        look = partial(w.functional.embedding, index)
        return (lambda: w.lib.autograd.grad(look(table), [table], seed)) if back else (lambda: look(table))

    return build


def adam(tensors: int, size: int) -> Callable[[Workloads], Run]:
    def build(w: Workloads) -> Run:
        parameters = [w.nn.Parameter(w.lib.randn(size)) for _ in range(tensors)]
        for p in parameters:
            p.grad = w.lib.randn(size)
        if w.lib.__name__ != "torch":
            return w.optim.Adam(parameters, lr=1e-3).step
        runs = [w.optim.Adam(parameters, lr=1e-3, fused=fused).step for fused in (False, True)]
        return min(runs, key=lambda run: measure(run, 0.2))

    return build


def recurrent(kind: str) -> Callable[[Workloads], Run]:
    def build(w: Workloads) -> Run:
        layer, x = getattr(w.nn, kind)(64, 256), w.lib.randn(64, 32, 64)

        def run() -> object:
            layer.zero_grad()
            layer(x)[0].sum().backward()
            return layer

        return run

    return build


def scatter(w: Workloads) -> Run:
    base, index, x = w.lib.zeros(1000, 256), w.lib.randint(1000, (8192,)), w.lib.randn(8192, 256)
    return lambda: base.index_add(0, index, x)


def gather(w: Workloads) -> Run:
    x, index = w.lib.randn(1024, 1024), w.lib.randint(1024, (1024, 1024))
    return lambda: w.lib.gather(x, 1, index)


def masked(w: Workloads) -> Run:
    x, y = w.lib.randn(1024, 1024), w.lib.randn(1024, 1024)
    mask = x > 0
    return lambda: w.lib.where(mask, x, y)


def inplace(w: Workloads) -> Run:
    x, y = w.lib.zeros(1024, 1024), w.lib.randn(1024, 1024)
    return lambda: x.add_(y)


def attention(w: Workloads, q: Any, k: Any, v: Any) -> Any:
    return w.functional.scaled_dot_product_attention(q, k, v)


def conv(stride: int = 1, padding: int = 1, groups: int = 1) -> Callable[..., Any]:
    return lambda w, x, k: w.functional.conv2d(x, k, None, stride, padding, 1, groups)


# ---- the rows --------------------------------------------------------------------------------------------------------

M, SMALL = (1024, 1024), (512, 512)  # 4 MB, 1 MB
TENSORS: dict[str, AnyRow] = {
    "tiny_add": Row("8x8 add", forward(lambda w, x, y: x + y, (8, 8), (8, 8)), limit=TINY),
    "tiny_exp": Row("8x8 exp", forward(lambda w, x: x.exp(), (8, 8)), limit=TINY),
    "tiny_sum": Row("8x8 sum", forward(lambda w, x: x.sum(), (8, 8)), limit=TINY),
    "tiny_matmul": Row("8x8 matmul", forward(lambda w, x, y: x @ y, (8, 8), (8, 8)), limit=TINY),
    "add": Row("add, 4 MB", forward(lambda w, x, y: x + y, M, M)),
    "add_1mb": Row("add, 1 MB", forward(lambda w, x, y: x + y, SMALL, SMALL)),
    "add_64mb": Row("add, 64 MB", forward(lambda w, x, y: x + y, (4096, 4096), (4096, 4096))),
    "add_inplace": Row("add_, 4 MB", inplace),
    "mul_row": Row("mul by a row, 4 MB", forward(lambda w, x, y: x * y, M, (1024,))),
    "div_column": Row("div by a column, 4 MB", forward(lambda w, x, y: x / y, M, (1024, 1))),
    "where": Row("where, 4 MB", masked),
    "relu": Row("relu, 4 MB", forward(lambda w, x: w.functional.relu(x), M)),
    "exp": Row("exp, 4 MB", forward(lambda w, x: x.exp(), M)),
    "exp_1mb": Row("exp, 1 MB", forward(lambda w, x: x.exp(), SMALL)),
    "tanh": Row("tanh, 4 MB", forward(lambda w, x: x.tanh(), M)),
    "sigmoid": Row("sigmoid, 1 MB", forward(lambda w, x: x.sigmoid(), SMALL)),
    "log1p": Row("log1p of abs, 4 MB", forward(lambda w, x: x.abs().log1p(), M)),
    "tanh_back": Row("tanh and back, 4 MB", both(lambda w, x: x.tanh(), M)),
    "gelu": Row("gelu, 4 MB", forward(lambda w, x: w.functional.gelu(x), M)),
    "gelu_1mb": Row("gelu, 1 MB", forward(lambda w, x: w.functional.gelu(x), SMALL)),
    "gelu_back": Row("gelu and back, 4 MB", both(lambda w, x: w.functional.gelu(x), M)),
    "gelu_tanh": Row("gelu (tanh), 4 MB", forward(lambda w, x: w.functional.gelu(x, approximate="tanh"), M)),
    "dropout": Row("dropout, 4 MB", forward(lambda w, x: w.functional.dropout(x, 0.1, True), M)),
    "cast": Row("float32 to float64, 4 MB", forward(lambda w, x: x.double(), M)),
    "sum": Row("sum of all, 4 MB", forward(lambda w, x: x.sum(), M)),
    "sum_0": Row("sum along axis 0, 4 MB", forward(lambda w, x: x.sum(0), M)),
    "sum_1": Row("sum along axis 1, 4 MB", forward(lambda w, x: x.sum(1), M)),
    "mean_middle": Row("mean along the middle axis, 4 MB", forward(lambda w, x: x.mean(1), (64, 128, 128))),
    "amax": Row("amax of all, 4 MB", forward(lambda w, x: x.amax(), M)),
    "amax_0": Row("amax along axis 0, 4 MB", forward(lambda w, x: x.amax(0), M)),
    "amax_1": Row("amax along axis 1, 4 MB", forward(lambda w, x: x.amax(1), M)),
    "max_1": Row("max with indices along axis 1, 4 MB", forward(lambda w, x: x.max(1), M)),
    "argmax_0": Row("argmax along axis 0, 4 MB", forward(lambda w, x: x.argmax(0), M)),
    "var_1": Row("var along axis 1, 4 MB", forward(lambda w, x: x.var(1), M)),
    "softmax": Row("softmax, 4 MB", forward(lambda w, x: x.softmax(-1), M)),
    "softmax_0": Row("softmax along axis 0, 4 MB", forward(lambda w, x: x.softmax(0), M)),
    "softmax_back": Row("softmax and back, 4 MB", both(lambda w, x: x.softmax(-1), M)),
    "log_softmax": Row("log_softmax, 4 MB", forward(lambda w, x: x.log_softmax(-1), M)),
    "layer_norm": Row("layer_norm, 4 MB", forward(lambda w, x, a, b: w.functional.layer_norm(x, (1024,), a, b), M,
                                                  (1024,), (1024,))),
    "layer_norm_back": Row("layer_norm and back, 4 MB", both(lambda w, x, a, b: w.functional.layer_norm(
        x, (1024,), a, b), M, (1024,), (1024,))),
    "batch_norm_back": Row("batch_norm and back, 8 MB", images(lambda w, x, a, b: w.functional.batch_norm(
        x, None, None, a, b, True), (32, 64, 32, 32), (64,), (64,), back=True)),
    "cross_entropy": Row("cross_entropy, 16 MB", cross_entropy(False)),
    "cross_entropy_back": Row("cross_entropy and back, 16 MB", cross_entropy(True)),
    "transpose": Row("transposed copy, 4 MB", forward(lambda w, x: x.t().contiguous(), M)),
    "permute": Row("permuted copy (0 2 1 3), 8 MB", forward(lambda w, x: x.permute(0, 2, 1, 3).contiguous(),
                                                            (8, 256, 16, 64))),
    "cat": Row("cat, 8 MB", forward(lambda w, x, y: w.lib.cat([x, y], 1), M, M)),
    "embedding": Row("embedding, 4 MB", embedding(50_000, 256, 4096, False)),
    "embedding_back": Row("embedding and back, 4 MB of 10 MB", embedding(10_000, 256, 4096, True)),
    "gather": Row("gather, 4 MB", gather),
    "index_add": Row("index_add, 8 MB", scatter),
    "cumsum": Row("cumsum along axis 1, 4 MB", forward(lambda w, x: x.cumsum(1), M)),
    "cumsum_0": Row("cumsum along axis 0, 4 MB", forward(lambda w, x: x.cumsum(0), M)),
    "sort": Row("sort along axis 1, 4 MB", forward(lambda w, x: x.sort(1), M)),
    "topk": Row("topk of 50 along axis 1, 4 MB", forward(lambda w, x: x.topk(50, 1), M)),
    "adam": Row("Adam step, 100 tensors of 100 000", adam(100, 100_000)),
}  # fmt: skip
PRODUCTS: dict[str, AnyRow] = {
    "matmul_512": Row("matmul 512", forward(lambda w, x, y: x @ y, SMALL, SMALL), limit=STRONG),
    "matmul_1024": Row("matmul 1024", forward(lambda w, x, y: x @ y, M, M), limit=STRONG),
    "matmul_2048": Row("matmul 2048", forward(lambda w, x, y: x @ y, (2048, 2048), (2048, 2048)), limit=STRONG),
    "matmul_t": Row("matmul 1024, first transposed", forward(lambda w, x, y: x.t() @ y, M, M), limit=STRONG),
    "matmul_f8": Row("matmul 512, float64", forward(lambda w, x, y: x.double() @ y.double(), SMALL, SMALL)),
    "batched": Row("matmul 64 x 128 128", forward(lambda w, x, y: x @ y, (64, 128, 128), (64, 128, 128)), limit=STRONG),
    "skinny": Row("matmul 32 256 by 256 1024", forward(lambda w, x, y: x @ y, (32, 256), (256, 1024))),
    "vector": Row("matmul 1 1024 by 1024 1024", forward(lambda w, x, y: x @ y, (1, 1024), M)),
    "linear_back": Row("linear 128 x 1024 1024 and back", both(lambda w, x, a, b: w.functional.linear(x, a, b),
                                                              (128, 1024), M, (1024,))),
    "attention": Row("attention 8 8 128 64", forward(attention, *[(8, 8, 128, 64)] * 3)),
    "attention_long": Row("attention 2 8 1024 64", forward(attention, *[(2, 8, 1024, 64)] * 3)),
    "lstm": Row("LSTM 64 to 256, 64 steps, batch 32, and back", recurrent("LSTM")),
    "gru": Row("GRU 64 to 256, 64 steps, batch 32, and back", recurrent("GRU")),
    "attention_back": Row("attention 8 8 128 64 and back", both(attention, *[(8, 8, 128, 64)] * 3)),
}  # fmt: skip
_SHAPES = ((32, 32, 64), (32, 16, 128), (32, 8, 256), (64, 32, 16), (64, 16, 32), (64, 8, 64))  # N, H, C
IMAGES: dict[str, AnyRow] = {
    f"conv3_{n}_{h}_{c}{'_back' if back else ''}": Row(
        f"conv 3x3 {n} x {c} x {h}x{h}{' and back' if back else ''}",
        images(conv(), (n, c, h, h), (c, c, 3, 3), back=back), limit=STRONG,
    )
    for n, h, c in _SHAPES for back in (False, True)
} | {
    f"{name}{'_back' if back else ''}": Row(
        what + (" and back" if back else ""), images(fn, x, *weight, back=back)
    )
    for name, what, fn, x, *weight in (
        ("conv_stride", "conv 3x3 stride 2, 64 to 128", conv(2), (32, 64, 32, 32), (128, 64, 3, 3)),
        ("conv_1x1", "conv 1x1, 64 to 256", conv(1, 0), (32, 64, 32, 32), (256, 64, 1, 1)),
        ("conv_1x1_stride", "conv 1x1 stride 2, 64 to 128", conv(2, 0), (32, 64, 32, 32), (128, 64, 1, 1)),
        ("conv_stem", "conv 7x7 stride 2, 3 to 64", conv(2, 3), (8, 3, 128, 128), (64, 3, 7, 7)),
        ("depthwise", "depthwise conv 7x7, 64", conv(1, 3, 64), (32, 64, 32, 32), (64, 1, 7, 7)),
        ("max_pool", "max_pool 2x2", lambda w, x: w.functional.max_pool2d(x, 2), (32, 64, 32, 32)),
        ("avg_pool", "avg_pool 3x3 stride 2", lambda w, x: w.functional.avg_pool2d(x, 3, 2, 1), (32, 64, 32, 32)),
        ("bilinear", "interpolate bilinear x2", lambda w, x: w.functional.interpolate(
            x, scale_factor=2, mode="bilinear"), (16, 64, 32, 32)),
    )
    for back in (False, True)
}  # fmt: skip
EAGER: dict[str, AnyRow] = TENSORS | PRODUCTS | IMAGES
