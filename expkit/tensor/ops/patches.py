"""unfold and fold: the windows of images as columns (im2col), and columns added up where their windows lie (col2im).

Each is a linear map and the transpose of the other, so derivatives of any order are made of the two.
"""

from typing import Any

from expkit.autograd.handle import Aval
from expkit.autograd.tape import apply1
from expkit.errors import ShapeError
from expkit.tensor.devices import xp_of
from expkit.tensor.ops.kinds import linear
from expkit.tensor.ops.windows import Pads, Sizes, numel, out_sizes, padded, per_axis, taps, windows

# ---- the primitives: (B, C, *S) <-> (B, C * taps, places), B any number of leading axes ------------------------------


def _columns(x: Any, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Any:
    n = len(kernel)
    out = out_sizes(x.shape[x.ndim - n :], kernel, stride, padding, dilation)
    view = windows(padded(x, padding), kernel, stride, dilation, out)
    return xp_of(x).array(view).reshape(_columns_shape(x.shape, kernel, out))  # array: always a copy


def _columns_shape(shape: Sizes, kernel: Sizes, out: Sizes) -> Sizes:
    *lead, channels = shape[: len(shape) - len(kernel)]
    return (*lead, channels * numel(kernel), numel(out))


def _images(y: Any, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Any:
    out = out_sizes(size, kernel, stride, padding, dilation)
    *lead, rows, _ = y.shape
    parts = y.reshape(*lead, rows // numel(kernel), *kernel, *out)
    wide = tuple(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))
    x = xp_of(y).zeros((*lead, rows // numel(kernel), *wide), y.dtype)
    spatial = (slice(None),) * len(kernel)
    for place, key in taps(kernel, stride, dilation, out):
        x[key] += parts[(..., *place, *spatial)]
    return padded(x, tuple((-lo, -hi) for lo, hi in padding))


def _columns_aval(x: Aval, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Aval:
    out = out_sizes(x.shape[x.ndim - len(kernel) :], kernel, stride, padding, dilation)
    return Aval(_columns_shape(x.shape, kernel, out), x.dtype, x.device)


def _images_aval(y: Aval, *, size: Sizes, kernel: Sizes, **_: Any) -> Aval:
    return Aval((*y.shape[:-2], y.shape[-2] // numel(kernel), *size), y.dtype, y.device)


columns_p = linear(
    "columns",
    _columns,
    _columns_aval,
    lambda g, _x, **kw: images_p(g, size=tuple(_x.shape[len(_x.shape) - len(kw["kernel"]) :]), **kw),
    batch_kw=lambda _size, kw: kw,
)
images_p = linear(
    "images",
    _images,
    _images_aval,
    lambda g, _y, *, size, **kw: columns_p(g, **kw),
    batch_kw=lambda _size, kw: kw,
)

# ---- functions -------------------------------------------------------------------------------------------------------


def _windows(name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> dict[str, Any]:
    kernel, spread, pads, steps = per_axis(
        name, 2, kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride
    )
    return {"kernel": kernel, "stride": steps, "padding": tuple((p, p) for p in pads), "dilation": spread}


def _places(name: str, size: Sizes, kw: dict[str, Any]) -> Sizes:
    out = out_sizes(size, kw["kernel"], kw["stride"], kw["padding"], kw["dilation"])
    if min(out) < 1:
        raise ShapeError(
            f"{name}: no window of {kw['kernel']} with dilation {kw['dilation']} fits an image of {size} "
            f"padded by {tuple(p for p, _ in kw['padding'])}"
        )
    return out


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Windows as columns.   (N, C, H, W) or (C, H, W) -> (N, C kh kw, places) or (C kh kw, places)

    ShapeError where the input has other dimensions or no window fits.
    """
    kw = _windows("unfold", kernel_size, dilation, padding, stride)
    if input.ndim not in (3, 4) or 0 in input.shape[-3:]:
        raise ShapeError(
            "unfold: expected (N, C, H, W) or (C, H, W) with no empty dimension but the batch, "
            f"got an input of shape {tuple(input.shape)}"
        )
    _places("unfold", tuple(input.shape[-2:]), kw)
    return apply1(columns_p, input, **kw)


def fold(input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Columns added up where their windows lie.   (N, C kh kw, places) or (C kh kw, places) -> (N, C, *output_size)

    ShapeError where rows are no multiple of the kernel's size, or the columns are not as many as the windows.
    """
    kw = _windows("fold", kernel_size, dilation, padding, stride)
    (size,) = per_axis("fold", 2, output_size=output_size)
    if input.ndim not in (2, 3) or 0 in input.shape[-2:]:
        raise ShapeError(
            "fold: expected (N, C kh kw, places) or (C kh kw, places) with no empty dimension but the batch, "
            f"got an input of shape {tuple(input.shape)}"
        )
    rows, places = input.shape[-2:]
    if rows % numel(kw["kernel"]):
        raise ShapeError(f"fold: {rows} rows are not divisible by the {numel(kw['kernel'])} elements of the kernel")
    out = _places("fold", size, kw)
    if numel(out) != places:
        raise ShapeError(
            f"fold: an image of {size} has {' x '.join(map(str, out))} = {numel(out)} windows of {kw['kernel']}, "
            f"but the input {tuple(input.shape)} has {places} columns"
        )
    return apply1(images_p, input, size=size, **kw)
