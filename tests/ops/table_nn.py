"""Sample rows of convolution, pooling, normalisation and the fused composites; PyTorch is their oracle."""

from typing import Any

import numpy as np

from expkit.nn.functional import embedding, fold, scaled_dot_product_attention, unfold
from expkit.tensor.ops.interpolate import interpolate
from tests.ops.rows import FLOATS, Bad, Row
from tests.ops.rows import Sample as S

SINGLE = "float64 float32"


def functional(name: str) -> Any:
    return lambda torch: getattr(torch.nn.functional, name)


def row(name: str, samples: Any, **kw: Any) -> Row:
    return Row(name, samples, **{"torch": functional(name), "dtypes": FLOATS, **kw})


CONV = [
    row("conv1d", lambda g: [
        S(g(2, 3, 6), g(4, 3, 3)),
        S(g(2, 4, 7), g(4, 2, 2), g(4), stride=2, padding=1, groups=2),
        S(g(3, 5), g(2, 3, 2), padding="same", dilation=2),
        S(g(1, 2, 5), g(2, 2, 3), None, 1, 3),
        S(g(2, 2, 6), g(4, 1, 3), g(4), 1, "valid", 2, 2),
        Bad(g(2, 3, 6), g(4, 2, 3)), Bad(g(6), g(4, 2, 3)), Bad(g(2, 2, 2), g(4, 2, 3)), Bad(g(2, 3, 6), g(4, 3, 3), g(3)),
        Bad(g(2, 3, 6), g(4, 3, 3), stride=0), Bad(g(2, 3, 6), g(4, 3, 3), padding="full"), Bad(g(2, 3, 6), g(3, 3)),
        Bad(g(2, 3, 6), g(4, 3, 3), padding="same", stride=2), Bad(g(2, 4, 6), g(3, 2, 3), groups=2),
        Bad(g(2, 3, 6), g(4, 3, 3), padding=-1), Bad(g(2, 3, 6), g(4, 3, 3), stride=(1, 2)),
    ]),
    row("conv2d", lambda g: [
        S(g(2, 2, 4, 5), g(3, 2, 3, 2), g(3), padding=1),
        S(g(1, 2, 5, 4), g(2, 1, 2, 2), None, (2, 1), (0, 1), (1, 2), 2),
        S(g(2, 3, 3), g(2, 2, 1, 1), g(2)),
        S(g(1, 1, 4, 4), g(3, 1, 3, 3), padding="same"),
        S(g(1, 2, 6, 5), g(1, 2, 2, 3), stride=3),
        S(g(0, 2, 4, 4), g(3, 2, 3, 3), g(3)),
        Bad(g(2, 3, 4, 4), g(3, 2, 3, 3)), Bad(g(3, 4), g(3, 2, 3, 3)), Bad(g(1, 2, 2, 4), g(3, 2, 3, 3)),
    ]),
    row("conv3d", lambda g: [S(g(1, 2, 3, 3, 2), g(2, 1, 2, 2, 1), g(2), padding=(1, 0, 0), groups=2), S(g(1, 2, 3, 2), g(2, 1, 2, 2, 2), None, 2, 1)]),
    row("conv_transpose1d", lambda g: [
        S(g(2, 3, 4), g(3, 2, 3), g(2)),
        S(g(1, 4, 3), g(4, 1, 2), g(2), 2, 1, 1, 2),
        S(g(2, 3), g(2, 3, 3), None, 3, 0, 2, 1, 2),
        S(g(1, 2, 3), g(2, 1, 3), padding=1, output_padding=1, dilation=2),
        Bad(g(2, 3, 4), g(2, 3, 3)), Bad(g(2, 3, 4), g(3, 2, 3), stride=2, output_padding=2), Bad(g(2, 3, 4), g(3, 2, 3), g(3)),
        Bad(g(1, 3, 1), g(3, 2, 2), padding=1),
    ]),
    row("conv_transpose2d", lambda g: [S(g(2, 2, 3, 2), g(2, 2, 2, 3), g(2), (2, 1), 1, (1, 0)), S(g(4, 2, 3), g(4, 1, 2, 2), None, 2, 0, 0, 2)]),
    row("conv_transpose3d", lambda g: [S(g(1, 2, 2, 2, 2), g(2, 1, 2, 1, 2), g(1), 2, 0, (0, 1, 0))]),
]  # fmt: skip

POOL = [
    row("max_pool1d", lambda g: [
        S(g.distinct(2, 3, 7), 2), S(g.distinct(2, 7), 3, 2, 1, 1, True), S(g.distinct(1, 2, 8), 2, 1, 1, 2),
        S(g.distinct(2, 2, 5), 1, 2),
        Bad(g(7), 2), Bad(g(2, 3), 4), Bad(g(2, 3, 7), 2, padding=2), Bad(g(2, 3, 7), 0), Bad(g(2, 3, 7), 2, 0),
    ]),
    row("max_pool2d", lambda g: [
        S(g.distinct(2, 2, 4, 4), 2), S(g.distinct(1, 5, 5), 3, 2, 1), S(g.distinct(1, 2, 5, 4), (2, 3), (2, 1), (0, 1), 1, True),
    ]),
    row("max_pool2d", lambda g: [S(g.distinct(2, 2, 4, 4), 2, return_indices=True), S(g.distinct(1, 5, 5), 3, 2, 1, return_indices=True)]),
    row("max_pool3d", lambda g: [S(g.distinct(1, 2, 3, 4, 2), 2, 1, 1), S(g.distinct(2, 3, 3, 3), (1, 2, 3), 2, 0, 1, True)]),
    row("avg_pool1d", lambda g: [
        S(g(2, 3, 7), 2), S(g(2, 7), 3, 2, 1, True), S(g(2, 2, 7), 3, 2, 1, True, False), S(g(1, 2, 6), 1, 2),
        Bad(g(7), 2), Bad(g(2, 3), 4), Bad(g(2, 3, 7), 2, padding=2),
    ]),
    row("avg_pool2d", lambda g: [
        S(g(2, 2, 4, 4), 2), S(g(1, 5, 5), 3, 2, 1), S(g(1, 2, 5, 4), (2, 3), (2, 1), (0, 1), True, False), S(g(1, 1, 4, 5), 2, 1, 1, False, True, 3),
        Bad(g(1, 1, 4, 5), 2, divisor_override=0),
    ]),
    row("avg_pool3d", lambda g: [S(g(1, 2, 3, 4, 2), 2, 1, 1), S(g(2, 3, 3, 3), (1, 2, 3), 2, 0, True)], dtypes=SINGLE),
    row("adaptive_avg_pool1d", lambda g: [S(g(2, 3, 7), 3), S(g(2, 6), 2), S(g(1, 2, 3), 1), S(g(1, 2, 3), 5), Bad(g(7), 2), Bad(g(2, 7), (2, 3))], dtypes=SINGLE),
    row("adaptive_avg_pool2d", lambda g: [S(g(2, 2, 4, 6), (2, 3)), S(g(2, 5, 3), (None, 2)), S(g(1, 2, 3, 3), 1), S(g(1, 1, 3, 5), (2, 4))], dtypes=SINGLE),
    row("adaptive_max_pool1d", lambda g: [S(g.distinct(2, 3, 7), 3), S(g.distinct(2, 6), 2), S(g.distinct(1, 2, 3), 5)], dtypes=SINGLE),
    row("adaptive_max_pool2d", lambda g: [
        S(g.distinct(2, 2, 4, 6), (2, 3), return_indices=True), S(g.distinct(2, 5, 3), (None, 2)), S(g.distinct(1, 1, 3, 5), (2, 4), return_indices=True),
    ], dtypes=SINGLE),
    row("adaptive_avg_pool3d", lambda g: [S(g(2, 4, 3, 2), (2, 3, 1)), S(g(1, 1, 3, 2, 2), (None, 1, 3))], dtypes=SINGLE),
    row("adaptive_max_pool3d", lambda g: [S(g.distinct(2, 4, 3, 2), (2, 3, 1)), S(g.distinct(1, 1, 3, 2, 2), (None, 1, 3))], dtypes=SINGLE),
    row("interpolate", lambda g: [
        S(g(2, 3, 4), 7), S(g(1, 2, 7), 3, mode="nearest-exact"), S(g(1, 2, 3, 2), scale_factor=2), S(g(1, 2, 5), 3, mode="linear"),
        S(g(1, 2, 3, 4), (5, 6), mode="bilinear"), S(g(1, 1, 3, 4), None, (1.7, 0.6), "bilinear", True), S(g(1, 2, 3, 4), (5, 3), mode="area"),
        S(g(1, 1, 3, 4), scale_factor=1.5, mode="bicubic"), S(g(1, 1, 2, 2, 3), (3, 2, 4), mode="trilinear"),
        S(g(1, 1, 5), scale_factor=1.3, mode="linear", recompute_scale_factor=True),
        Bad(g(3, 4), 2), Bad(g(1, 1, 4)), Bad(g(1, 1, 4), 2, 2.0), Bad(g(1, 1, 4), 0), Bad(g(1, 1, 4), 2, mode="bilinear"), Bad(g(1, 1, 4), 2, mode="cubic"),
        Bad(g(1, 1, 4), 2, align_corners=True), Bad(g(1, 1, 4), (2, 3)), Bad(g(1, 1, 4), 2.0), Bad(g(1, 1, 4), 2, recompute_scale_factor=True),
    ], call=interpolate),
]  # fmt: skip


def _torch_batch_norm(torch: Any) -> Any:
    """(result, mean, variance) as expkit returns them."""

    def fn(x: Any, mean: Any, var: Any, weight: Any = None, bias: Any = None, training: bool = False, eps: float = 1e-5) -> Any:
        out = torch.nn.functional.batch_norm(x, mean, var, weight, bias, training, 0.1, eps)
        dims = [i for i in range(x.ndim) if i != 1]
        return (out, x.mean(dims), x.var(dims, correction=0)) if training else (out, mean, var)

    return fn


NORM = [
    Row("batch_norm", lambda g: [
        S(g(3, 2, 4), None, None, g.positive(2), g(2), True), S(g(5, 3), None, None, None, None, True, 1e-3),
        S(g(2, 2, 3, 4), None, None, g.positive(2), None, True), S(g(3, 2), None, None, None, g(2), True),
        S(g(3, 2, 2), g(2), g.positive(2), g(2), g(2)), S(g(3, 2), g(2), g.positive(2)), S(g(2, 2, 3), g(2), g.positive(2), None, g(2)),
        Bad(g(1, 2), None, None, None, None, True), Bad(g(3, 2), g(3), g(3)), Bad(g(3), None, None, None, None, True),
        Bad(g(3, 2), None, None), Bad(g(3, 2), None, None, g(3), None, True),
    ], torch=_torch_batch_norm, dtypes=SINGLE, tolerance=3, gaps={"versions": "mean and variance are results here, and needed"}),
    row("layer_norm", lambda g: [
        S(g(3, 5), (5,), g.positive(5), g(5)), S(g(2, 3, 9), (3, 9), g(3, 9), g(3, 9)), S(g(4, 3), [3]), S(g(2, 10), (10,), g(10)),
        S(g(6), (6,), None, g(6), 0.1), S(g(0, 4), (4,), g(4), g(4)),
        Bad(g(3, 5), (4,)), Bad(g(3, 5), ()), Bad(g(3, 5), (5,), g(4)), Bad(g(5), (3, 5)),
    ], tolerance=3),
    row("group_norm", lambda g: [
        S(g(2, 4, 3), 2, g(4), g(4)), S(g(2, 3, 2, 2), 1), S(g(3, 4), 2, g(4)), Bad(g(2, 3, 2), 2), Bad(g(3), 1), Bad(g(2, 4, 3), 2, g(3)),
    ], tolerance=3),
]  # fmt: skip


def _torch_nll(torch: Any) -> Any:
    def fn(x: Any, y: Any, ignore_index: int = -100, reduction: str = "mean") -> Any:
        return torch.nn.functional.cross_entropy(x, y, ignore_index=ignore_index, reduction=reduction)

    return fn


WINDOWS = [
    row("unfold", lambda g: [
        S(g(2, 2, 4, 5), 2), S(g(2, 5, 4), (2, 3), (2, 1), (1, 0), (1, 2)), S(g(1, 1, 3, 3), 3), S(g(0, 2, 3, 3), 2),
        Bad(g(3, 3), 2), Bad(g(1, 1, 3, 3), 4), Bad(g(1, 0, 3, 3), 2), Bad(g(1, 1, 3, 3), 2, -1),
    ], call=unfold),
    row("fold", lambda g: [
        S(g(2, 8, 12), (4, 5), 2), S(g(12, 6), 5, (2, 3), (2, 1), (1, 0), (2, 2)), S(g(1, 9, 1), 3, 3),
        Bad(g(2, 7, 12), (4, 5), 2), Bad(g(2, 8, 11), (4, 5), 2), Bad(g(8), (4, 5), 2),
    ], call=fold),
]  # fmt: skip

FUSED = [
    row("gelu", lambda g: [S(g(2, 3)), S(g(4), approximate="tanh"), S(g()), S(g(0)), S(g(5, lo=-30, hi=30)), Bad(g(3), "exact"), Bad(g.ints(3, 2))]),
    row("silu", lambda g: [S(g(2, 3)), S(g()), S(g(0)), S(g(5, lo=-100, hi=100)), Bad(g.ints(3, 2))]),
    Row("nll_from_logits", lambda g: [
        S(g(4, 3), g.ints(3, 4)), S(g(3), np.asarray(1)), S(g(2, 3, 2), g.ints(3, 2, 2)), S(g(4, 5, lo=-50, hi=50), g.ints(5, 4), reduction="sum"),
        S(g(4, 3), g.ints(3, 4), reduction="none"), S(g(4, 3), np.array([0, -100, 2, 1])), S(g(4, 3), np.array([0, 1, 2, 1]), 1), S(g(4, 3), np.array([0, 1, 2, 1]), 1, "sum"),
        S(g(2, 3, 2), g.ints(3, 2, 2), reduction="none"), S(g(3), np.asarray(1), reduction="none"),
        Bad(g(4, 3), g.ints(3, 3)), Bad(g(4, 3), np.array([0, 1, 3, 0])), Bad(g(4, 3), np.array([0, 1, -1, 0])), Bad(g(4, 3), g.ints(3, 4), reduction="max"),
    ], torch=_torch_nll, gaps={"versions": "PyTorch keeps the log-probabilities, not the logits"}),
    row("mse_loss", lambda g: [
        S(g(2, 3), g(2, 3)), S(g(2, 3), g(2, 3), reduction="sum"), S(g(2, 3), g(2, 3), reduction="none"), S(g(), g()), S(g(0), g(0), reduction="sum"),
        Bad(g(2, 3), g(2, 3), reduction="max"),
    ], dtypes=SINGLE),
]  # fmt: skip

ATTENTION = [
    row("embedding", lambda g: [
        S(g.ints(5, 2, 3), g(5, 4)), S(np.array([0, 2, 2, 0]), g(4, 3), 1), S(np.array(3), g(4, 2), padding_idx=-3), S(g.ints(3, 0), g(3, 2)),
        Bad(np.array([4]), g(4, 2)), Bad(np.array([-1]), g(4, 2)),
    ], call=embedding),
    row("scaled_dot_product_attention", lambda g: [
        S(g(2, 2, 3, 4), g(2, 2, 5, 4), g(2, 2, 5, 3)), S(g(3, 4), g(5, 4), g(5, 2), scale=0.3), S(g(2, 4, 3), g(2, 4, 3), g(2, 4, 3), is_causal=True),
        S(g(2, 2, 3, 4), g(1, 1, 5, 4), g(2, 1, 5, 2)), S(g(1, 2, 2, 3, 2), g(1, 2, 2, 4, 2), g(1, 2, 2, 4, 3), is_causal=True), S(g(2, 3, 4), g(5, 4), g(5, 2)),
        S(g(2, 2, 3, 4), g(2, 2, 5, 4), g(2, 2, 5, 3), g(3, 5)), S(g(2, 2, 3, 4), g(2, 2, 5, 4), g(2, 2, 5, 3), g(2, 1, 1, 5)),
        S(g(2, 3, 4), g(2, 5, 4), g(2, 5, 3), np.array([[True, False, True, True, False], [False] * 5, [True] * 5])),
        S(g(2, 4, 3, 4), g(2, 2, 5, 4), g(2, 2, 5, 3), enable_gqa=True), S(g(2, 3, 4), g(2, 0, 4), g(2, 0, 3)), S(g(2, 0, 4), g(2, 3, 4), g(2, 3, 2)),
        Bad(g(4), g(5, 4), g(5, 6)), Bad(g(3, 4), g(5, 3), g(5, 6)), Bad(g(3, 4), g(5, 4), g(4, 6)), Bad(g(3, 4), g(5, 4), g(5, 6), g(4, 5)),
        S(g(3, 4), g(5, 4), g(5, 6), g(5)), Bad(g(3, 4), g(5, 4), g(5, 6), g(3, 5), 0.0, True), Bad(g(3, 4), g(5, 4), g(5, 6), g.ints(2, 3, 5)),
        Bad(g(2, 4, 3, 4), g(2, 2, 5, 4), g(2, 2, 5, 3)), Bad(g(2, 3, 3, 4), g(2, 2, 5, 4), g(2, 2, 5, 3), enable_gqa=True), Bad(g(3, 4), g(5, 4), g(5, 6), dropout_p=1.5),
        Bad(g.ints(3, 3, 4), g.ints(3, 3, 4), g.ints(3, 3, 4)),
    ], call=scaled_dot_product_attention, tolerance=3, gaps={"versions": "PyTorch keeps the scaled query and key"}),
]  # fmt: skip

ROWS = [*ATTENTION, *CONV, *POOL, *NORM, *WINDOWS, *FUSED]
