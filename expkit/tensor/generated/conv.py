"""Convolutions by generated kernels: which algorithm a convolution takes, and its plan, kept by shapes and strides.

| convolution | forward, gradient by the input, gradient by the weights |
| --- | --- |
| 3x3, stride 1, float32, 16 channels and more on both sides | Winograd F(4x4, 3x3), unless EXPKIT_WINOGRAD=0 |
| depthwise, or groups of a few channels | lanes over channels |
| everything else | direct: windows gathered in the cache, times packed weights |
| many groups that are not narrow, small ones, other dtypes and libraries | the plain implementation |

Winograd's sums are exact to about four times the error of a direct convolution in float32; float64 is always direct.
Kernels work on images whose channels lie innermost. Results lie so too where an operand does (`channels_last`, as in
PyTorch), else in the order of their shape, at the price of a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from math import prod
from typing import Any

import numpy as np

from expkit import flags
from expkit.kernels.cpu.arrays import images
from expkit.kernels.cpu.arrays.copy import dense
from expkit.kernels.cpu.conv import columns, geometry, lanes, winograd
from expkit.kernels.cpu.conv.direct import Direct, padded_bias
from expkit.kernels.cpu.conv.direct_weight import WeightGradient
from expkit.kernels.cpu.conv.lanes_weight import NarrowWeightGradient
from expkit.kernels.cpu.conv.layout import ChannelsLast, aligned
from expkit.kernels.cpu.conv.panels import LanePanels, Panels
from expkit.tensor.generated.base import F32, F64, enabled

LEAST = 1 << 14  # multiplications from which a kernel is faster than NumPy
GROUPS = 32  # at most so many groups are convolved one by one
KEPT = 512  # plans
Impl = Callable[..., Any]
Sizes = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """A convolution's numbers.   x: (N, C, *size), w: (O, C / groups, *kernel), y: (N, O, *out)"""

    dtype: Any
    batch: int
    size: Sizes
    weight: Sizes
    out: Sizes
    stride: Sizes
    padding: Any
    dilation: Sizes
    groups: int

    @property
    def kind(self) -> str:
        """The dtype as kernels name it."""
        return str(self.dtype.str[1:])

    @property
    def ins(self) -> int:
        """Input channels of a group."""
        return self.weight[1]

    @property
    def outs(self) -> int:
        """Output channels of a group."""
        return self.weight[0] // self.groups

    @property
    def shape(self) -> geometry.Shape:
        """The same along three axes."""
        return geometry.shape_of(self.size, self.weight[2:], self.out, self.stride, self.padding, self.dilation)

    @property
    def work(self) -> int:
        """Multiplications."""
        return self.batch * prod(self.out) * prod(self.weight)

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """(top, bottom, left, right), for two dimensions."""
        (top, bottom), (left, right) = self.padding
        return top, bottom, left, right

    def winograd(self) -> bool:
        """Whether Winograd's convolution serves."""
        if self.dtype is not F32 or not flags.read("WINOGRAD"):
            return False
        x = (self.batch, self.ins * self.groups, *self.size)
        if not winograd.applies(x, self.weight, self.stride, self.dilation, self.groups):
            return False
        return min(self.pads) >= 0 and max(self.pads) <= 2 and winograd.pays(self.batch, self.out)

    def narrow(self) -> bool:
        """Whether lanes over channels serve."""
        taps = self.weight[-1]
        return self.groups > 1 and all(
            lanes.fits(self.kind, *pair, taps) for pair in ((self.ins, self.outs), (self.outs, self.ins))
        )

    def algorithm(self) -> str:
        """The algorithm's name; "" for the plain implementation."""
        if not self.work:
            return ""
        if self.winograd():
            return "winograd"
        if self.narrow():
            return "narrow"
        return "direct" if self.groups <= GROUPS else ""


def _steps(sizes: Sizes, pixel: int) -> tuple[int, int, int, int]:
    """A dense image's steps of batch, depth, height and width."""
    depth, height, width = sizes
    return depth * height * width * pixel, height * width * pixel, width * pixel, pixel


def _shaped(y: Any, out: Sizes) -> Any:
    """(N, D, H, W, C) as (N, C, *out)."""
    return y.reshape(y.shape[0], *out, y.shape[4]).transpose(0, len(out) + 1, *range(1, len(out) + 1))


# ---- plans -----------------------------------------------------------------------------------------------------------


class _Passes:
    """Passes over one operand, for all groups, into one result: the convolution, or its gradient by the input."""

    def __init__(self, case: Case, x: Any, passes: list[geometry.Pass], *, narrow: bool, back: bool) -> None:
        self.case, self.back, self.narrow = case, back, narrow
        ins, outs, groups = case.ins, case.outs, 1 if narrow else case.groups
        sizes, self.out = (case.shape.out, case.size) if back else (case.shape.size, case.out)
        whole = case.shape.size if back else case.shape.out
        self.source = ChannelsLast(x)
        self.sums, self.lines = (outs, ins) if back else (ins, outs)
        self.shape = (case.batch, *whole, self.lines * case.groups)
        steps = _steps(sizes, self.sums * case.groups)
        self.parts: list[tuple[Any, Any]] = []
        self.groups = groups
        if back and case.groups == 1 and columns.applies(case.kind, case.shape, ins, outs):
            run: Any = columns.Columns(case.kind, case.shape, case.batch, ins, outs)
            self.parts.append((run.panels, run))
            return
        for p in passes:
            if narrow:
                panels: Any = LanePanels(case.kind, p, case.groups, ins, outs, swapped=back)
                run = lanes.Narrowly(case.kind, p, case.batch, case.groups, self.sums, self.lines, steps, whole)
            else:
                panels = Panels(case.kind, p, outs, ins, swapped=back)
                run = Direct(case.kind, p, case.batch, self.sums, steps, self.lines, whole, self.shape[4])
            self.parts.append((panels, run))

    def __call__(self, x: Any, w: Any, b: Any = None) -> Any:
        source, w, y = self.source(x), dense(w), aligned(self.shape, self.case.dtype)
        if self.groups == 1:
            self._group(source, w, b, y)
        else:
            rows, ins, lines = (n // self.groups for n in (w.shape[0], source.shape[4], y.shape[4]))
            for g in range(self.groups):
                bias = None if b is None else b[g * lines : (g + 1) * lines]
                there = y[..., g * lines : (g + 1) * lines]
                self._group(source[..., g * ins :], w[g * rows : (g + 1) * rows], bias, there)
        return _shaped(y, self.out)

    def _group(self, source: Any, w: Any, b: Any, y: Any) -> None:
        bias = None if b is None else padded_bias(b, self.case.kind)
        for panels, run in self.parts:
            run(source, panels(w), bias, y)


class _WeightGradient:
    """The gradient by the weights, for all groups."""

    def __init__(self, case: Case, x: Any, y: Any, *, narrow: bool) -> None:
        self.case, p = case, geometry.forward(case.shape)
        self.x, self.y = ChannelsLast(x), ChannelsLast(y)
        self.groups = 1 if narrow else case.groups
        steps = _steps(case.shape.size, case.ins * case.groups)
        self.run: Any
        if narrow:
            self.run = NarrowWeightGradient(case.kind, p, case.batch, case.groups, case.ins, case.outs, steps)
        else:
            self.run = WeightGradient(case.kind, p, case.batch, case.ins, steps, case.outs, case.weight[0])

    def __call__(self, x: Any, y: Any) -> Any:
        x, y, w = self.x(x), self.y(y), aligned(self.case.weight, self.case.dtype)
        ins, outs = x.shape[4] // self.groups, y.shape[4] // self.groups
        for g in range(self.groups):
            self.run(x[..., g * ins :], y[..., g * outs :], w[g * outs :])
        return w


def _ordering(x: Any) -> Impl:
    """What gives arrays that lie as x does with their channels side by side."""
    if x.strides[1] == x.itemsize:
        return lambda x: x
    source, size = ChannelsLast(x), x.shape[2:]
    return lambda x: _shaped(source(x), size)


def _forward(case: Case, x: Any, _w: Any) -> Impl | None:
    name = case.algorithm()
    if name == "winograd":
        order, pads = _ordering(x), case.pads
        return lambda x, w, b=None: winograd.forward(order(x), w, pads, b)
    return _Passes(case, x, [geometry.forward(case.shape)], narrow=name == "narrow", back=False) if name else None


def _backward(case: Case, y: Any, _w: Any) -> Impl | None:
    name = case.algorithm()
    if name == "winograd":
        order, pads, size = _ordering(y), case.pads, (case.size[0], case.size[1])
        return lambda y, w: winograd.input_gradient(order(y), w, size, pads)
    return _Passes(case, y, geometry.backward(case.shape), narrow=name == "narrow", back=True) if name else None


def _weights(case: Case, x: Any, y: Any) -> Impl | None:
    name = case.algorithm()
    if name == "winograd":
        orders, pads = (_ordering(x), _ordering(y)), case.pads
        return lambda x, y: winograd.weight_gradient(orders[0](x), orders[1](y), pads)
    return _WeightGradient(case, x, y, narrow=name == "narrow") if name else None


# ---- implementations -------------------------------------------------------------------------------------------------


class Family:
    """One of the three: `make` gives a plan for a case, None where there is no kernel; `case` reads the operands."""

    def __init__(self, make: Callable[..., Impl | None], case: Callable[..., Case], *, images_out: bool) -> None:
        self.make, self.case, self.images_out = make, case, images_out
        self.plans: dict[Any, list[Any]] = {}  # by shapes and strides: [case, plan]; () until there is one

    def find(self, least: int, x: Any, w: Any, *rest: Any, **kw: Any) -> Impl | None:
        """The plan for such operands, None where there is no kernel or are fewer multiplications."""
        if not _taken(x, w, *rest):
            return None
        key = (x.shape, x.strides, w.shape, w.strides, x.dtype, flags.read("WINOGRAD"), *kw.values())
        found = self.plans.get(key)
        if found is None:
            if len(self.plans) >= KEPT:
                self.plans.clear()
            found = self.plans[key] = [self.case(x, w, **kw), ()]
        case, run = found
        if case.work < least:
            return None
        if run == ():
            run = found[1] = self.make(case, x, w)
        return run

    def pure(self, *operands: Any, **kw: Any) -> Any:
        """The convolution by kernels alone, of any size; None where there are none."""
        run = self.find(1, *operands, **kw)
        return None if run is None else self.ordered(run(*operands), operands)

    def decorator(self, plain: Impl) -> Impl:
        """The plain implementation, or a plan where that is faster."""

        @wraps(plain)
        def impl(*operands: Any, **kw: Any) -> Any:
            run = self.find(LEAST, *operands, **kw)
            return self.ordered(plain(*operands, **kw) if run is None else run(*operands), operands)

        return impl

    def ordered(self, y: Any, operands: tuple[Any, ...]) -> Any:
        """An image with the channels last in memory where an image or a weight among the operands has them there."""
        if not self.images_out or y.__class__ is not np.ndarray:
            return y
        last = y.ndim > 3 and any(images.is_last(a) for a in operands[:2])
        return images.dense(y, y.ndim - 2, last)


def _taken(*operands: Any) -> bool:
    """Whether all are arrays of NumPy, of one dtype that kernels have."""
    dtype = operands[0].dtype
    if dtype is not F32 and dtype is not F64:
        return False
    given = (a for a in operands if a is not None)
    return all(a.__class__ is np.ndarray and a.dtype is dtype for a in given) and enabled()


def _of_conv(x: Any, w: Any, *, stride: Sizes, padding: Any, dilation: Sizes, groups: int) -> Case:
    ends = zip(x.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)
    out = tuple((n + lo + hi - d * (k - 1) - 1) // s + 1 for n, k, s, (lo, hi), d in ends)
    return Case(x.dtype, x.shape[0], x.shape[2:], w.shape, out, stride, padding, dilation, groups)


def _of_input(y: Any, w: Any, *, size: Sizes, stride: Sizes, padding: Any, dilation: Sizes, groups: int) -> Case:
    return Case(y.dtype, y.shape[0], size, w.shape, y.shape[2:], stride, padding, dilation, groups)


def _of_weight(x: Any, y: Any, *, kernel: Sizes, stride: Sizes, padding: Any, dilation: Sizes, groups: int) -> Case:
    weight = (y.shape[1], x.shape[1] // groups, *kernel)
    return Case(x.dtype, x.shape[0], x.shape[2:], weight, y.shape[2:], stride, padding, dilation, groups)


convolution = Family(_forward, _of_conv, images_out=True)  # conv(x, w, b=None, *, stride, padding, dilation, groups)
input_gradient = Family(_backward, _of_input, images_out=True)  # conv_input(y, w, *, size, stride, ...)
weight_gradient = Family(_weights, _of_weight, images_out=False)  # conv_weight(x, y, *, kernel, stride, ...)
ROWS: dict[str, Impl] = {  # of the table in pure.py
    "conv": convolution.pure, "conv_input": input_gradient.pure, "conv_weight": weight_gradient.pure,
}  # fmt: skip
