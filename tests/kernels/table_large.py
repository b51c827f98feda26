"""Operations on arrays that are large enough for generated kernels, and how a case of them is run.

A row is (function, operands...). An operand is written as marks and sizes, "*257x263":
    *  with NaN, infinities, zeros of both signs, denormals and ties      +  positive      u  between 0 and 1
    i9 indices below 9      ?  booleans      r  rounded, so that there are ties      otherwise normal numbers
"""

import re
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import expkit as ek
from expkit.autograd.handle import wrap
from expkit.nn import functional as F
from expkit.optim import SGD, Adam, AdamW, RMSprop

Row = tuple[Any, ...]
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-310, 1e-40, 1.0, 1.0)


# ---- rows ------------------------------------------------------------------------------------------------------------


def named(names: str, *operands: str, owner: Any = ek, **kw: Any) -> dict[str, Row]:
    """A row for each name."""
    before = "" if owner is ek else "F."
    return {before + name: (partial(getattr(owner, name), **kw), *operands) for name in names.split()}


def by(name: str, calls: dict[str, Callable[..., Any]], *operands: str) -> dict[str, Row]:
    """A row for each call."""
    return {f"{name} {what}": (call, *operands) for what, call in calls.items()}


POINTWISE = {
    **named("exp expm1 tanh sigmoid erf erfc sin cos gelu silu sign relu neg abs square floor ceil trunc round", "*257x263"),
    **named("isfinite isinf isnan logical_not nan_to_num softmax log_softmax", "*257x263"),
    **named("log log1p log2 log10 sqrt rsqrt reciprocal", "+*257x263"),
    **named("tan atan sinh cosh", "5x7x2003"),
    **named("add sub mul div maximum minimum eq ne lt le gt ge logical_and logical_or logical_xor atan2 logaddexp", "*257x263", "*257x263"),
    **{f"{name} of a row": (getattr(ek, name), "*257x263", "*263") for name in ("add", "maximum", "lt", "div")},
    **{f"{name} of a column": (getattr(ek, name), "*257x1", "*257x263") for name in ("sub", "minimum", "mul")},
    **named("fmod remainder floor_divide", "67x131", "+67x131"),
    "outer sum": (lambda x, y: x + y, "313x1", "1x313"),
    "sizes of one": (lambda x, y: x * y, "3x1x9001x1", "1x5x1x1"),
    "nothing": (lambda x, y: x * y, "0x70001", "70001"),
    "one very long row": (lambda x: (x * 2).exp(), "1x70001"),
    "many short rows": (lambda x: x - x.sum(1, keepdim=True), "23003x3"),
    "where": (ek.where, "?257x263", "*257x263", "*263"),
    "where of numbers": (lambda c, x: ek.where(c, x, 0.5), "?257x1", "*257x263"),
    **by("pow", {str(y): partial(lambda y, x: x**y, y) for y in (2, 3, 0.5, -1, -2, -0.5, 4, 0, 1, 1.7)}, "*67x131"),
    "pow of tensors": (ek.pow, "+67x131", "67x131"),
    **by("clamp", {
        "both": lambda x: x.clamp(-0.5, 0.5), "low": lambda x: x.clamp(min=0.25), "high": lambda x: x.clamp(max=0),
        "nan": lambda x: x.clamp(float("nan"), 1.0), "crossed": lambda x: x.clamp(1.0, -1.0), "inf": lambda x: x.clamp(-np.inf, np.inf),
    }, "*67x131"),
    **by("cast", {
        "float32": lambda x: x.float(), "float64": lambda x: x.double(), "float16": lambda x: x.half(),
        "bfloat16": lambda x: x.bfloat16(), "bool": lambda x: x.bool(),
    }, "*257x263"),
    **by("cast", {"int32": lambda x: x.int(), "int64": lambda x: x.long(), "uint8": lambda x: x.abs().to(ek.uint8)}, "257x263"),
    **named("lerp", "67x131", "67x131", "u67x131"),
    **named("addcmul addcdiv", "67x131", "67x131", "+67x131", value=0.3),
}  # fmt: skip

ACTIVATIONS = named(
    "relu relu6 leaky_relu elu celu selu hardtanh hardsigmoid hardswish hardshrink softshrink softplus softsign mish "
    "logsigmoid tanhshrink",
    "*131x133", owner=F,
) | {
    "softmin": (lambda x: F.softmin(x, 1), "*131x133"),
    "glu": (F.glu, "131x134"),
    "gelu tanh": (lambda x: ek.gelu(x, approximate="tanh"), "131x133"),
    "threshold": (lambda x: F.threshold(x, 0.1, 20.0), "*131x133"),
    "prelu": (F.prelu, "9x31x67", "31"),
    "normalize": (F.normalize, "131x133"),
    "cosine_similarity": (F.cosine_similarity, "131x133", "131x133"),
}  # fmt: skip


def reduced(name: str) -> dict[str, Row]:
    fn = getattr(ek, name)
    calls: dict[str, Callable[..., Any]] = {
        "0": lambda x: fn(x, 0), "1 kept": lambda x: fn(x, 1, keepdim=True), "-1": lambda x: fn(x, -1),
    }  # fmt: skip
    if name not in ("argmax", "argmin", "prod", "any", "all", "logsumexp"):
        calls |= {"0 2": lambda x: fn(x, (0, 2)), "1 2": lambda x: fn(x, (1, 2))}
    if name not in ("logsumexp",):
        calls["all"] = fn
    return by(name, calls, "r11x19x67")


REDUCED = "sum", "mean", "amax", "amin", "argmax", "argmin", "any", "all", "count_nonzero", "logsumexp", "max", "min"
REDUCTIONS = {
    **{k: row for name in REDUCED for k, row in reduced(name).items() if name not in ("max", "min") or not k.endswith(" 2")},
    **by("prod", {"0": lambda x: ek.prod(x, 0), "-1": lambda x: ek.prod(x, -1)}, "+11x19x67"),
    **by("special", {
        "amax": lambda x: ek.amax(x, 1), "amin": lambda x: ek.amin(x, 0), "argmax": lambda x: ek.argmax(x, 1), "argmin": lambda x: ek.argmin(x, 0),
        "max": lambda x: ek.max(x, 0), "sum": lambda x: ek.sum(x, 1), "any": lambda x: ek.any(x, 1), "logsumexp": lambda x: ek.logsumexp(x, 1),
        "softmax 0": lambda x: ek.softmax(x, 0), "log_softmax 0": lambda x: ek.log_softmax(x, 0), "count": lambda x: ek.count_nonzero(x, 0),
    }, "*131x133"),
    **by("var", {
        "0": lambda x: ek.var(x, 0), "1": lambda x: ek.var(x, 1, correction=0), "all": lambda x: ek.std(x), "var_mean": lambda x: ek.var_mean(x, 1),
        "norm": lambda x: ek.norm(x), "norm 1": lambda x: ek.norm(x, 1, 0), "norm inf": lambda x: ek.norm(x, float("inf"), 1),
    }, "131x133"),
    "sum of long rows": (lambda x: x.sum(1), "2x40009"),
    "sum of short rows": (lambda x: x.sum(1), "20011x3"),
    "sum of columns": (lambda x: x.sum(0), "20011x3"),
    "mean of one": (lambda x: x.mean((0, 2)), "1x9001x1"),
    "sum of nothing": (lambda x: x.sum(0), "0x9001"),
    "sum to nothing": (lambda x: x.sum(0), "9001x0"),
    "cumsum": (lambda x: ek.cumsum(x, 1), "131x133"),
    "cumsum 0": (lambda x: ek.cumsum(x, 0), "*131x133"),
    "cumsum middle": (lambda x: ek.cumsum(x, 1), "3x1009x5"),
    "cumprod": (lambda x: ek.cumprod(x, 0), "u31x333"),
}  # fmt: skip

NORMS = {
    "layer_norm": (lambda x, w, b: F.layer_norm(x, 133, w, b), "131x133", "133", "133"),
    "layer_norm plain": (lambda x: F.layer_norm(x, (19, 67)), "11x19x67"),
    "layer_norm short": (lambda x, w, b: F.layer_norm(x, 3, w, b), "4001x3", "3", "3"),
    "rms_norm": (lambda x, w: F.rms_norm(x, 133, w), "131x133", "133"),
    "rms_norm plain": (lambda x: F.rms_norm(x, (19, 67)), "11x19x67"),
    "group_norm": (lambda x, w, b: F.group_norm(x, 3, w, b), "5x9x13x17", "9", "9"),
    "group_norm 3": (lambda x, w, b: F.group_norm(x, 7, w, b), "5x7x211", "7", "7"),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), "5x9x13x17", "9", "9"),
    "batch_norm 2": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), "301x31", "31", "31"),
    "batch_norm 3": (lambda x: F.batch_norm(x, None, None, training=True), "5x7x211"),
    "batch_norm fixed": (lambda x, m, v, w, b: F.batch_norm(x, m.detach(), v.detach(), w, b), "5x9x13x17", "9", "+9", "9", "9"),
}  # fmt: skip

LOSSES = {
    **named("mse_loss l1_loss huber_loss smooth_l1_loss", "131x133", "131x133", owner=F),
    **{f"{name} sums": (partial(getattr(F, name), reduction="sum"), "131x133", "131x133") for name in ("mse_loss", "l1_loss", "huber_loss")},
    **{f"{name} each": (partial(getattr(F, name), reduction="none"), "*131x133", "131x133") for name in ("mse_loss", "smooth_l1_loss")},
    **named("binary_cross_entropy_with_logits", "131x133", "u131x133", owner=F),
    **named("binary_cross_entropy kl_div poisson_nll_loss", "u131x133", "u131x133", owner=F),
    **by("cross_entropy", {
        "mean": F.cross_entropy, "none": partial(F.cross_entropy, reduction="none"), "ignore": partial(F.cross_entropy, ignore_index=3),
        "smooth": partial(F.cross_entropy, label_smoothing=0.1),
    }, "301x31", "i31 301"),
    "cross_entropy weights": (lambda x, w, i: F.cross_entropy(x, i, w.detach()), "301x31", "+31", "i31 301"),
    "cross_entropy places": (F.cross_entropy, "5x31x67", "i31 5x67"),
    "nll_loss": (lambda x, i: F.nll_loss(F.log_softmax(x, 1), i), "301x31", "i31 301"),
    "gaussian_nll_loss": (F.gaussian_nll_loss, "131x133", "131x133", "+131x133"),
}  # fmt: skip

COPIES = {
    **by("copy", {
        "contiguous": lambda x: x.transpose(0, 2).contiguous(), "clone": ek.clone, "flip": lambda x: ek.flip(x, (0, 2)), "roll": lambda x: ek.roll(x, (3, -1), (0, 1)),
        "reshape": lambda x: x.permute(2, 0, 1).reshape(-1, 31), "tile": lambda x: ek.tile(x, (2, 1, 3)), "repeat": lambda x: x.repeat_interleave(2, 1),
        "cat": lambda x: ek.cat([x, x[:, 1:], x[:, :0]], 1), "stack": lambda x: ek.stack([x, x + 1], 2), "tril": lambda x: ek.tril(x, -1), "triu": lambda x: ek.triu(x, 2),
        "pad": lambda x: F.pad(x, (1, 2, 0, 3), value=1.5), "crop": lambda x: F.pad(x, (-1, 2, -3, 0)), "reflect": lambda x: F.pad(x, (3, 2), "reflect"),
        "replicate": lambda x: F.pad(x, (3, 2), "replicate"), "circular": lambda x: F.pad(x, (3, 2), "circular"), "diagonal": lambda x: ek.diagonal(x, 1, 0, 2),
        "expand": lambda x: x[:1].expand(9, 41, 31).contiguous(), "step": lambda x: x[::2, 3:, ::3] * 1, "unbind": lambda x: ek.unbind(x, 1)[3],
    }, "*31x41x31"),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), "3x12x17x19"),
    "channels_last": (lambda x: x.contiguous(memory_format=ek.channels_last), "3x12x17x19"),
}  # fmt: skip

INDEXING = {
    **by("index", {
        "rows": lambda x, i: x[i], "columns": lambda x, i: x[:, i], "last": lambda x, i: x[..., i], "negative": lambda x, i: x[i - 31],
        "select": lambda x, i: ek.index_select(x, 1, i), "add": lambda x, i: ek.index_add(x, 0, i, x[i] * 2), "two": lambda x, i: x[i, :, i],
        "neighbours": lambda x, i: x[i, i.flip(0)], "put": lambda x, i: ek.index_put(x, (i,), x[i] + 1, accumulate=True),
        "rows with a slice": lambda x, i: x[i, 2:20:3], "matrix": lambda x, i: x[i.reshape(-1, 3)],
    }, "*31x41x31", "i31 93"),
    **by("along", {
        "gather": lambda x, i: ek.gather(x, 1, i), "take": lambda x, i: ek.take_along_dim(x, i, 1), "scatter": lambda x, i: ek.scatter_add(x, 1, i, x * 2),
        "put": lambda x, i: ek.scatter(x, 1, i, value=2.5),
    }, "31x41x31", "i41 31x41x31"),
    **by("along 0", {"gather": lambda x, i: ek.gather(x, 0, i), "scatter": lambda x, i: ek.scatter_add(x, 0, i, x * 2)}, "131x133", "i131 131x133"),
    "gather a part": (lambda x, i: ek.gather(x, 1, i), "131x133", "i133 67x133"),
    "embedding": (lambda w, i: F.embedding(i, w), "131x33", "i131 67x13"),
    "embedding padded": (lambda w, i: F.embedding(i, w, padding_idx=3), "131x33", "i131 67x13"),
    "masked_select": (ek.masked_select, "*131x133", "?131x133"),
    "masked_fill": (lambda x, m: ek.masked_fill(x, m, 3.0), "*131x133", "?131x133"),
    "mask": (lambda x, m: x[m], "131x133", "?131"),
    "nonzero": (lambda m: ek.nonzero(m), "?31x41x31"),
    "set rows": (lambda x, i: changed(x, lambda y: y.__setitem__(i, 2.0)), "131x133", "i131 67"),
    "set a mask": (lambda x, m: changed(x, lambda y: y.__setitem__(m, 2.0)), "131x133", "?131x133"),
}  # fmt: skip

ORDER = {
    **by("order", {
        "sort": lambda x: ek.sort(x), "sort 0": lambda x: ek.sort(x, 0, descending=True), "sort 1": lambda x: ek.sort(x, 1), "argsort": lambda x: ek.argsort(x, stable=True),
        "topk": lambda x: ek.topk(x, 5), "topk 0": lambda x: ek.topk(x, 3, 0, largest=False), "kthvalue": lambda x: ek.kthvalue(x, 7),
        "median": lambda x: ek.median(x, 1), "median all": lambda x: ek.median(x), "msort": lambda x: ek.msort(x),
    }, "*r13x29x67"),
    "sort long": (lambda x: ek.sort(x, 1), "*3x20011"),
    "topk long": (lambda x: ek.topk(x, 100, 1), "*3x20011"),
    "sort short": (lambda x: ek.sort(x, 1), "*9001x3"),
}  # fmt: skip

POOLING = {
    **by("pool", {
        "max": lambda x: F.max_pool2d(x, 3, 2, 1), "max 2": lambda x: F.max_pool2d(x, 2), "max places": lambda x: F.max_pool2d(x, 3, 1, 1, return_indices=True),
        "max dilated": lambda x: F.max_pool2d(x, 3, (1, 2), 1, (2, 1)), "max ceil": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
        "avg": lambda x: F.avg_pool2d(x, 3, 2, 1), "avg inner": lambda x: F.avg_pool2d(x, (2, 3), 1, (1, 0), count_include_pad=False), "avg ceil": lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
        "adaptive avg": lambda x: F.adaptive_avg_pool2d(x, (4, 7)), "adaptive max": lambda x: F.adaptive_max_pool2d(x, (4, 7)), "global": lambda x: F.adaptive_avg_pool2d(x, 1),
    }, "3x9x23x19"),
    "pool specials": (lambda x: F.max_pool2d(x, 3, 2, 1), "*r3x9x23x19"),
    "max_pool1d": (lambda x: F.max_pool1d(x, 3, 2), "5x7x211"),
    "avg_pool3d": (lambda x: F.avg_pool3d(x, 2, 1), "2x5x9x11x13"),
    "max_pool3d": (lambda x: F.max_pool3d(x, 3, 2, 1), "2x5x9x11x13"),
    **by("interpolate", {
        "nearest": lambda x: F.interpolate(x, scale_factor=2), "bilinear": lambda x: F.interpolate(x, (31, 17), mode="bilinear"),
        "corners": lambda x: F.interpolate(x, (31, 17), mode="bilinear", align_corners=True), "bicubic": lambda x: F.interpolate(x, (31, 41), mode="bicubic"),
        "down": lambda x: F.interpolate(x, (7, 6), mode="bilinear", antialias=True), "nearest down": lambda x: F.interpolate(x, (7, 6), mode="nearest-exact"),
    }, "3x9x23x19"),
    "interpolate linear": (lambda x: F.interpolate(x, 331, mode="linear"), "5x7x211"),
    "interpolate trilinear": (lambda x: F.interpolate(x, (5, 13, 17), mode="trilinear"), "2x5x9x11x13"),
}  # fmt: skip

CONVOLUTION = {
    "conv2d": (lambda x, w, b: ek.conv2d(x, w, b, 1, 1), "2x19x17x13", "21x19x3x3", "21"),
    "conv2d 1x1": (ek.conv2d, "2x19x17x13", "21x19x1x1"),
    "conv2d strided": (lambda x, w, b: ek.conv2d(x, w, b, 2, (3, 2)), "2x3x31x29", "17x3x7x5", "17"),
    "conv2d dilated": (lambda x, w: ek.conv2d(x, w, None, (1, 2), 2, (2, 1)), "2x5x21x23", "7x5x3x2"),
    "conv2d groups": (lambda x, w, b: ek.conv2d(x, w, b, 1, 1, 1, 3), "2x51x13x11", "57x17x3x3", "57"),
    "conv2d depthwise": (lambda x, w, b: ek.conv2d(x, w, b, 1, 1, 1, 37), "2x37x13x11", "37x1x3x3", "37"),
    "conv2d narrow": (lambda x, w: ek.conv2d(x, w, None, 2, 0, 1, 20), "2x40x13x11", "60x2x3x3"),
    "conv2d same": (lambda x, w: ek.conv2d(x, w, padding="same"), "2x5x21x23", "7x5x5x3"),
    "conv1d": (lambda x, w, b: ek.conv1d(x, w, b, 2, 3), "3x11x211", "13x11x5", "13"),
    "conv3d": (lambda x, w, b: ek.conv3d(x, w, b, (1, 2, 1), 1), "2x3x9x11x13", "5x3x3x3x3", "5"),
    "conv_transpose1d": (lambda x, w, b: ek.conv_transpose1d(x, w, b, 3, 1, 1), "3x11x111", "11x13x5", "13"),
    "conv_transpose2d": (lambda x, w, b: ek.conv_transpose2d(x, w, b, 2, 1, 1), "2x19x11x9", "19x17x3x3", "17"),
    "conv_transpose2d groups": (lambda x, w: ek.conv_transpose2d(x, w, None, 1, 1, 0, 3), "2x9x13x11", "9x5x3x3"),
}  # fmt: skip

PRODUCTS = {
    "matmul": (ek.matmul, "67x131", "131x61"),
    "matmul of batches": (ek.matmul, "3x1x31x37", "5x37x29"),
    "matmul of a matrix": (ek.matmul, "7x31x37", "37x29"),
    "matmul of a row": (ek.matmul, "1x301", "301x133"),
    "matmul of a column": (ek.matmul, "133x301", "301x1"),
    "mv": (ek.mv, "133x301", "301"),
    "vector times matrix": (ek.matmul, "301", "301x133"),
    "outer": (ek.matmul, "301x1", "1x133"),
    "bmm": (ek.bmm, "9x17x33", "9x33x15"),
    "tiny bmm": (ek.bmm, "2003x3x5", "2003x5x2"),
    "addmm": (ek.addmm, "61", "67x131", "131x61"),
    "baddbmm": (ek.baddbmm, "9x17x15", "9x17x33", "9x33x15"),
    "linear": (F.linear, "5x31x37", "29x37", "29"),
    "linear without bias": (F.linear, "155x37", "29x37"),
    "einsum": (lambda x, y: ek.einsum("bij,bkj->bik", x, y), "9x17x33", "9x15x33"),
    "nothing to add": (ek.matmul, "133x0", "0x133"),
    "product of specials": (ek.matmul, "*67x131", "131x61"),
    "bilinear": (F.bilinear, "31x13", "31x11", "7x13x11", "7"),
    "attention": (F.scaled_dot_product_attention, "2x3x37x19", "2x3x41x19", "2x3x41x23"),
    "attention causal": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), "2x3x37x16", "2x3x37x16", "2x3x37x16"),
    "attention mask": (lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), "2x3x37x19", "2x3x41x19", "2x3x41x19", "?37x41"),
    "attention bias": (lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m.detach()), "2x3x37x19", "2x3x41x19", "2x3x41x19", "3x37x41"),
    "attention rank 3": (F.scaled_dot_product_attention, "6x65x32", "6x33x32", "6x33x32"),
}  # fmt: skip


def changed(x: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of x that was changed in place."""
    y = x.clone()
    change(y)
    return y


def unrecorded(change: Callable[..., Any], x: Any, y: Any, z: Any) -> Any:
    """Without a gradient the kernel writes into the memory itself."""
    y, z = y.detach(), z.detach()
    return changed(x.detach(), lambda c: change(c, y, z))


INPLACE = {
    **by("recorded", {
        "add_": lambda x, y: changed(x, lambda c: c.add_(y)), "mul_ row": lambda x, y: changed(x, lambda c: c.mul_(y[0])),
        "exp_": lambda x, y: changed(x, lambda c: c.exp_()), "part": lambda x, y: changed(x, lambda c: c[::2, 1::3].copy_(y[::2, 1::3])),
    }, "257x263", "257x263"),
    **by("in place", {
        name: partial(unrecorded, f) for name, f in {
            "add_": lambda c, y, z: c.add_(y), "sub_ alpha": lambda c, y, z: c.sub_(y, alpha=3), "mul_ row": lambda c, y, z: c.mul_(y[0]),
            "div_ column": lambda c, y, z: c.div_(y[:, :1]), "addcmul_": lambda c, y, z: c.addcmul_(y, z, value=0.1), "addcdiv_": lambda c, y, z: c.addcdiv_(y, z + 9.0),
            "lerp_": lambda c, y, z: c.lerp_(y, 0.25), "clamp_": lambda c, y, z: c.clamp_(-0.5, 0.5), "exp_": lambda c, y, z: c.exp_(), "sqrt_": lambda c, y, z: c.sqrt_(),
            "step": lambda c, y, z: c[::2, 1::3].add_(y[::2, 1::3]), "shifted": lambda c, y, z: c[1:].add_(c[:-1]), "turned": lambda c, y, z: c[:200, :200].mul_(c[:200, :200].T),
            "reversed": lambda c, y, z: c.add_(c.flip(0)), "by itself": lambda c, y, z: c.mul_(c), "own row": lambda c, y, z: c.sub_(c[0]), "own column": lambda c, y, z: c.sub_(c[:, :1]),
            "copy_": lambda c, y, z: c.copy_(y), "copy_ shifted": lambda c, y, z: c[1:].copy_(c[:-1]), "copy_ row": lambda c, y, z: c.copy_(y[0]),
            "zero_": lambda c, y, z: c.zero_(), "fill_ part": lambda c, y, z: c[3:, ::2].fill_(2.0), "tanh_": lambda c, y, z: c.tanh_(),
        }.items()
    }, "257x263", "257x263", "257x263"),
}  # fmt: skip


def steps(make: Callable[..., Any]) -> Callable[..., Any]:
    """Three updates of a copy of x."""

    def run(x: Any, g: Any) -> Any:
        p = ek.nn.Parameter(x.detach().clone())
        optimizer = make([p])
        for factor in (1.0, -0.5, 2.0):
            p.grad = g.detach() * factor
            optimizer.step()
        return p.detach()

    return run


def clipped(x: Any, g: Any) -> Any:
    p = ek.nn.Parameter(x.detach().clone())
    p.grad = g.detach().clone()
    norm = ek.nn.utils.clip_grad_norm_([p], 1.0)
    return norm, p.grad


UPDATES = {
    **by("update", {
        "sgd": steps(partial(SGD, lr=0.1, momentum=0.9, nesterov=True)), "adam": steps(partial(Adam, lr=0.01, amsgrad=True)),
        "adamw": steps(partial(AdamW, lr=0.01)), "rmsprop": steps(partial(RMSprop, lr=0.01, momentum=0.5)), "clip": clipped,
    }, "131x133", "131x133"),
    "dropout": (lambda x: F.dropout(x, 0.3), "131x133"),
    "rand": (lambda x: x.detach() + ek.rand(131, 133, dtype=x.dtype), "131x133"),
    "randint": (lambda x: x.detach() + ek.randint(0, 9, (131, 133)), "131x133"),
    "bernoulli": (ek.bernoulli, "u131x133"),
}  # fmt: skip

ROWS: dict[str, Row] = {}
for group in (POINTWISE, ACTIVATIONS, REDUCTIONS, NORMS, LOSSES, COPIES, INDEXING, ORDER, POOLING, CONVOLUTION, PRODUCTS, INPLACE, UPDATES):  # fmt: skip
    ROWS |= group
INTEGERS = [  # rows whose functions take integers and booleans as well
    name for name in (*POINTWISE, *REDUCTIONS, *COPIES, *INDEXING, *ORDER)
    if name.startswith((
        "maximum", "minimum", "eq", "lt", "ge", "logical", "bitwise", "where", "cast", "outer sum", "many short", "clamp both", "pow 2", "sign",
        "sum", "amax", "amin", "argm", "any", "all", "count", "max", "min", "prod", "cumsum", "copy", "index", "along", "order", "sort", "topk", "mask", "set", "add", "sub", "mul", "abs", "neg", "square",
    ))
]  # fmt: skip
RESIZED = {*POINTWISE, *ACTIVATIONS, *REDUCTIONS, *LOSSES, *PRODUCTS, *ORDER} - {"bilinear", "logsumexp 0"}
FLAT = ("var", "batch_norm", "layer_norm", "group_norm")  # nothing to compare where the rows are all the same
SHARED = ("cast", "copy", "channels_last", "pow 1")  # may be views
LOOSE = {"layer_norm short": 100.0}  # rows of three: differences of nearly equal numbers


# ---- operands --------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dense": lambda x: x,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "step": lambda x: _inside(x, tuple(2 * n for n in x.shape), (slice(None, None, 2),) * x.ndim),
    "rows apart": lambda x: _inside(x, tuple(n + 3 for n in x.shape), tuple(slice(1, n + 1) for n in x.shape)),
    "reversed": lambda x: np.ascontiguousarray(x[(slice(None, None, -1),) * x.ndim])[(slice(None, None, -1),) * x.ndim],
    "offset": lambda x: _inside(x, (x.size + 1,), (slice(1, None),)),
    "repeated": lambda x: np.broadcast_to(x[:1], x.shape) if x.size else x,
    "second axis last": lambda x: x if x.ndim < 2 else np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
}  # fmt: skip


def _inside(x: np.ndarray, size: tuple[int, ...], part: Any) -> np.ndarray:
    """x's values as a part of an array of that size."""
    whole = np.full(size, 77, x.dtype)
    view = whole[part].reshape(x.shape, copy=False)
    view[...] = x
    return view


def operands(name: str, dtype: str) -> list[np.ndarray]:
    """A row's arrays, the same in every run."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return [_array(spec, np.dtype(dtype), rng) for spec in ROWS[name][1:]]


def _array(spec: str, dtype: np.dtype, rng: np.random.Generator) -> np.ndarray:
    marks, sizes = re.fullmatch(r"((?:i\d+ )|[^0-9]*)([0-9x]+)", spec).groups()
    shape = tuple(map(int, sizes.split("x")))
    if marks.startswith("i"):
        return rng.integers(0, int(marks[1:]), shape)
    if "?" in marks or dtype.kind == "b":
        return rng.random(shape) < 0.3
    if dtype.kind in "iu":
        low = 0 if dtype.kind == "u" else 1 if "+" in marks else -100
        return rng.integers(low, 100, shape).astype(dtype)
    x = rng.random(shape) if "u" in marks else rng.standard_normal(shape)
    x = np.round(2 * x) / 2 if "r" in marks else np.abs(x) + 0.1 if "+" in marks else x
    x = x.astype(dtype)
    if "*" in marks:
        with np.errstate(over="ignore", under="ignore"):
            for value in SPECIAL:
                x[rng.random(shape) < 0.002] = value
    return x


def outcome(name: str, arrays: list[np.ndarray]) -> list[np.ndarray] | str:
    """A row's results for these arrays, and the gradients of all floats that have one; or the name of its error."""
    ek.manual_seed(1)
    leaves = [wrap(x) for x in arrays]  # from_numpy takes no negative strides
    for leaf in leaves:
        leaf.requires_grad_(leaf.dtype.is_floating_point)
    try:
        out = ROWS[name][0](*leaves)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        return type(error).__name__
    outs = list(out) if isinstance(out, tuple | list) else [out]
    found = [o.detach().raw for o in outs]
    if outs[0].requires_grad:
        g = np.random.default_rng(7).standard_normal(outs[0].shape).astype(found[0].dtype)
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        grads = ek.autograd.grad(outs[0], wanted, ek.from_numpy(g), allow_unused=True)
        found += [g.raw for g in grads if g is not None]
    return found
