"""One row (or more) for each function of expkit.nn.functional: arguments, and the NumPy formula of the same arguments.

Rows are checked for value against NumPy, for gradients against central differences, and for both against PyTorch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.nn import reference as ref
from tests.nn import table_images as images
from tests.nn import table_margin as margin
from tests.nn import table_padding as padding
from tests.nn import table_sampling as sampling

R = np.random.default_rng(7)


class Row(NamedTuple):
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    oracle: Callable[..., Any]

    @property
    def id(self) -> str:
        shapes = "x".join(str(a.shape).replace(" ", "") for a in self.args if isinstance(a, np.ndarray))
        extra = ",".join(f"{k}={v.shape if isinstance(v, np.ndarray) else v}" for k, v in self.kwargs.items())
        rest = ",".join(str(a) for a in self.args if not isinstance(a, np.ndarray))
        return "-".join(part for part in (self.name, shapes, rest, extra) if part)


def row(name: str, oracle: Callable[..., Any], *args: Any, **kwargs: Any) -> Row:
    return Row(name, args, kwargs, oracle)


def x(*shape: int) -> np.ndarray:
    return R.standard_normal(shape)


def wide(*shape: int) -> np.ndarray:
    """Values on both sides of every bend of the activations, none on one."""
    return R.uniform(-8, 8, shape)


def p(*shape: int) -> np.ndarray:
    return R.uniform(0.05, 0.95, shape)


def classes(n: int, *shape: int) -> np.ndarray:
    return R.integers(0, n, shape)


def shares(*shape: int) -> np.ndarray:
    return ref.softmax(R.standard_normal(shape), 1)


IGNORED = np.array([2, -100, 0, 1, -100])

ACTIVATIONS = [
    row("celu", ref.celu, wide(4, 5)),
    row("celu", ref.celu, wide(4, 5), alpha=0.4),
    row("elu", ref.elu, wide(4, 5)),
    row("elu", ref.elu, wide(4, 5), alpha=0.4),
    row("gelu", ref.gelu, wide(4, 5)),
    row("gelu", ref.gelu, wide(4, 5), approximate="tanh"),
    row("glu", ref.glu, wide(4, 6)),
    row("glu", ref.glu, wide(4, 6), dim=0),
    row("hardshrink", lambda a, lambd=0.5: np.where(abs(a) > lambd, a, 0), wide(4, 5), lambd=2.0),
    row("hardsigmoid", lambda a: np.clip((a + 3) / 6, 0, 1), wide(4, 5)),
    row("hardswish", lambda a: a * np.clip((a + 3) / 6, 0, 1), wide(4, 5)),
    row("hardtanh", lambda a, lo=-1, hi=1: np.clip(a, lo, hi), wide(4, 5)),
    row("hardtanh", lambda a, min_val, max_val: np.clip(a, min_val, max_val), wide(4, 5), min_val=-3.0, max_val=0.5),
    row("leaky_relu", lambda a, negative_slope=0.01: np.where(a > 0, a, negative_slope * a), wide(4, 5)),
    row("leaky_relu", lambda a, negative_slope: np.where(a > 0, a, negative_slope * a), wide(4, 5), negative_slope=0.3),
    row("log_softmax", ref.log_softmax, wide(4, 5), dim=1),
    row("log_softmax", ref.log_softmax, wide(2, 3, 4), dim=0),
    row("logsigmoid", lambda a: np.log(ref.sigmoid(a)), wide(4, 5)),
    row("mish", lambda a: a * np.tanh(ref.softplus(a)), wide(4, 5)),
    row("prelu", ref.prelu, wide(2, 3, 4), x(3)),
    row("prelu", ref.prelu, wide(4, 5), x(1)),
    row("relu", lambda a: np.maximum(a, 0), wide(4, 5)),
    row("relu6", lambda a: np.clip(a, 0, 6), wide(4, 5)),
    row("rrelu", lambda a: np.where(a > 0, a, a * 11 / 48), wide(4, 5)),
    row("selu", ref.selu, wide(4, 5)),
    row("sigmoid", ref.sigmoid, wide(4, 5)),
    row("silu", lambda a: a * ref.sigmoid(a), wide(4, 5)),
    row("softmax", ref.softmax, wide(4, 5), dim=-1),
    row("softmax", ref.softmax, wide(2, 3, 4), dim=1),
    row("softmin", lambda a, dim: ref.softmax(-a, dim), wide(4, 5), dim=1),
    row("softplus", ref.softplus, wide(4, 5)),
    row("softplus", ref.softplus, wide(4, 5), beta=2.0, threshold=5.0),
    row("softshrink", lambda a, lambd=0.5: np.sign(a) * np.maximum(abs(a) - lambd, 0), wide(4, 5)),
    row("softsign", lambda a: a / (1 + abs(a)), wide(4, 5)),
    row("tanh", np.tanh, wide(4, 5)),
    row("tanhshrink", lambda a: a - np.tanh(a), wide(4, 5)),
    row("threshold", lambda a, t, value: np.where(a > t, a, value), wide(4, 5), 1.0, value=9.0),
]

LOSSES = [
    row("cross_entropy", ref.cross_entropy, x(5, 3), classes(3, 5)),
    row("cross_entropy", ref.cross_entropy, x(5, 3), IGNORED),
    row("cross_entropy", ref.cross_entropy, x(5, 3), IGNORED, weight=p(3)),
    row("cross_entropy", ref.cross_entropy, x(5, 3), IGNORED, weight=p(3), label_smoothing=0.2),
    row("cross_entropy", ref.cross_entropy, x(5, 3), classes(3, 5), ignore_index=1, reduction="sum"),
    row("cross_entropy", ref.cross_entropy, x(5, 3), IGNORED, reduction="none", label_smoothing=0.1),
    row("cross_entropy", ref.cross_entropy, x(5, 3), IGNORED, label_smoothing=0.1),
    row("cross_entropy", ref.cross_entropy, x(2, 3, 4), classes(3, 2, 4), weight=p(3)),
    row("cross_entropy", ref.cross_entropy, x(3), np.array(1)),
    row("cross_entropy", ref.cross_entropy, x(5, 3), shares(5, 3)),
    row("cross_entropy", ref.cross_entropy, x(5, 3), shares(5, 3), weight=p(3), label_smoothing=0.2),
    row("cross_entropy", ref.cross_entropy, x(5, 3), shares(5, 3), reduction="none"),
    row("cross_entropy", ref.cross_entropy, x(2, 3, 4), shares(2, 3, 4), reduction="sum"),
    row("nll_loss", ref.nll_loss, x(5, 3), classes(3, 5)),
    row("nll_loss", ref.nll_loss, x(5, 3), IGNORED, weight=p(3)),
    row("nll_loss", ref.nll_loss, x(5, 3), IGNORED, reduction="none"),
    row("binary_cross_entropy", ref.binary_cross_entropy, p(4, 3), p(4, 3)),
    row("binary_cross_entropy", ref.binary_cross_entropy, p(4, 3), p(4, 3), weight=p(3), reduction="sum"),
    row("binary_cross_entropy_with_logits", ref.binary_cross_entropy_with_logits, wide(4, 3), p(4, 3)),
    row(
        "binary_cross_entropy_with_logits", ref.binary_cross_entropy_with_logits, wide(4, 3), p(4, 3),
        weight=p(3), pos_weight=p(3), reduction="none",
    ),
    row("kl_div", ref.kl_div, np.log(shares(4, 3)), shares(4, 3), reduction="batchmean"),
    row("kl_div", ref.kl_div, np.log(shares(4, 3)), shares(4, 3)),
    row("kl_div", ref.kl_div, np.log(shares(4, 3)), np.log(shares(4, 3)), log_target=True, reduction="sum"),
    row("mse_loss", lambda a, b: ((a - b) ** 2).mean(), x(4, 3), x(4, 3)),
    row("mse_loss", lambda a, b, reduction: ((a - b) ** 2), x(4, 3), x(4, 3), reduction="none"),
    row("l1_loss", lambda a, b: abs(a - b).mean(), x(4, 3), x(4, 3)),
    row("l1_loss", lambda a, b, reduction: abs(a - b).sum(), x(4, 3), x(4, 3), reduction="sum"),
    row("smooth_l1_loss", ref.smooth_l1_loss, wide(4, 3), x(4, 3)),
    row("smooth_l1_loss", ref.smooth_l1_loss, wide(4, 3), x(4, 3), beta=3.0, reduction="sum"),
    row("smooth_l1_loss", ref.smooth_l1_loss, wide(4, 3), x(4, 3), beta=0.0),
    row("huber_loss", ref.huber_loss, wide(4, 3), x(4, 3)),
    row("huber_loss", ref.huber_loss, wide(4, 3), x(4, 3), delta=3.0, reduction="none"),
]  # fmt: skip

LAYERS = [
    row("linear", lambda a, w, b: a @ w.T + b, x(4, 3), x(5, 3), x(5)),
    row("linear", lambda a, w: a @ w.T, x(2, 4, 3), x(5, 3)),
    row("linear", lambda a, w, b: a @ w.T + b, x(3), x(5, 3), x(5)),
    row("bilinear", lambda a, b, w, c: np.einsum("ni,oij,nj->no", a, w, b) + c, x(4, 3), x(4, 2), x(5, 3, 2), x(5)),
    row("embedding", lambda i, w: w[i], classes(5, 2, 3), x(5, 4)),
    row("one_hot", lambda i, n: np.eye(n, dtype=np.int64)[i], classes(4, 3, 2), 4),
    row("scaled_dot_product_attention", ref.attention, x(2, 3, 4), x(2, 5, 4), x(2, 5, 3), is_causal=True),
    row("scaled_dot_product_attention", ref.attention, x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), x(3, 5), scale=0.7),
    row("dropout", lambda a, p: a, x(4, 3), p=0.0),
    row("dropout", lambda a, training: a, x(4, 3), training=False),
    row("dropout1d", lambda a, p: a * 0, x(4, 3, 2), p=1.0),
    row("dropout2d", lambda a, training: a, x(4, 3, 2, 2), training=False),
    row("dropout3d", lambda a, training: a, x(4, 3, 2, 2, 1), training=False),
    row("alpha_dropout", lambda a: a, x(4, 3)),
    row("alpha_dropout", lambda a, p, training: a * 0, x(4, 3), p=1.0, training=True),
    row("feature_alpha_dropout", lambda a: a, x(4, 3, 2)),
    row("batch_norm", ref.batch_norm, x(4, 3), x(3), p(3), x(3), x(3)),
    row("batch_norm", ref.batch_norm, x(4, 3, 2, 2), x(3), p(3), x(3), x(3)),
    row("batch_norm", ref.batch_norm, x(4, 3), None, None, x(3), x(3), training=True),
    row("batch_norm", ref.batch_norm, x(2, 3, 2, 2), None, None, x(3), x(3), training=True, eps=0.1),
    row("batch_norm", ref.batch_norm, x(4, 3, 2), None, None, training=True),
    row("layer_norm", ref.layer_norm, x(4, 6), (6,), x(6), x(6)),
    row("layer_norm", ref.layer_norm, x(2, 3, 4), (3, 4), x(3, 4), eps=0.1),
    row("layer_norm", ref.layer_norm, x(4, 6), (6,)),
    row("rms_norm", ref.rms_norm, x(4, 6), (6,), x(6)),
    row("rms_norm", ref.rms_norm, x(2, 3, 4), (3, 4), eps=0.1),
    row("group_norm", ref.group_norm, x(2, 4, 3), 2, x(4), x(4)),
    row("group_norm", ref.group_norm, x(2, 4, 2, 2), 4),
]

CONVOLUTIONS = [
    row("conv2d", ref.conv2d, x(2, 3, 5, 6), x(4, 3, 3, 3), x(4)),
    row("conv2d", ref.conv2d, x(2, 3, 5, 6), x(4, 3, 3, 2), stride=(2, 1), padding=(1, 0)),
    row("conv2d", ref.conv2d, x(2, 4, 6, 6), x(6, 2, 3, 3), x(6), padding=1, groups=2),
    row("conv2d", ref.conv2d, x(2, 3, 7, 7), x(2, 3, 3, 3), dilation=2, stride=2),
    row("conv2d", ref.conv2d, x(2, 3, 5, 6), x(2, 3, 3, 3), x(2), padding="same"),
    row("conv2d", ref.conv2d, x(2, 3, 5, 6), x(2, 3, 4, 2), x(2), padding="same"),
    row("conv2d", ref.conv2d, x(1, 2, 5, 6), x(2, 2, 3, 3), padding="valid"),
    row("conv2d", ref.conv2d, x(3, 5, 6), x(4, 3, 3, 3), x(4)),
    row("conv1d", ref.conv1d, x(2, 3, 7), x(4, 3, 3), x(4)),
    row("conv1d", ref.conv1d, x(2, 4, 9), x(4, 2, 3), padding=2, stride=2, dilation=2, groups=2),
    row("conv1d", ref.conv1d, x(2, 3, 7), x(4, 3, 4), x(4), padding="same"),
    row("conv1d", ref.conv1d, x(3, 7), x(4, 3, 3)),
    row("max_pool2d", ref.max_pool2d, x(2, 3, 6, 6), 2),
    row("max_pool2d", ref.max_pool2d, x(2, 3, 6, 7), (3, 2), stride=2, padding=1),
    row("max_pool2d", ref.max_pool2d, x(2, 3, 7, 7), 2, dilation=2, stride=1),
    row("max_pool2d", ref.max_pool2d, x(2, 3, 6, 7), 2, ceil_mode=True),
    row("max_pool2d", ref.max_pool2d, x(3, 6, 6), 3),
    row("avg_pool2d", ref.avg_pool2d, x(2, 3, 6, 6), 2),
    row("avg_pool2d", ref.avg_pool2d, x(2, 3, 6, 7), (3, 2), stride=2, padding=1),
    row("avg_pool2d", ref.avg_pool2d, x(2, 3, 6, 6), 3, padding=1, count_include_pad=False),
    row("avg_pool2d", ref.avg_pool2d, x(2, 3, 6, 6), 2, divisor_override=3),
    row("max_pool1d", ref.on_lines(ref.max_pool2d), x(2, 3, 7), 3, stride=2, padding=1),
    row("avg_pool1d", ref.on_lines(ref.avg_pool2d), x(2, 3, 7), 2),
    row("avg_pool1d", ref.on_lines(ref.avg_pool2d), x(3, 7), 3, padding=1),
    row("adaptive_avg_pool2d", ref.adaptive_avg_pool2d, x(2, 3, 5, 7), 1),
    row("adaptive_avg_pool2d", ref.adaptive_avg_pool2d, x(2, 3, 6, 8), (3, 2)),
    row("adaptive_avg_pool2d", ref.adaptive_avg_pool2d, x(2, 3, 5, 7), (3, 2)),
    row("adaptive_avg_pool2d", ref.adaptive_avg_pool2d, x(3, 5, 7), (None, 3)),
    row("adaptive_avg_pool1d", ref.adaptive_on_lines(ref.adaptive_avg_pool2d), x(2, 3, 7), 3),
    row("adaptive_max_pool2d", ref.adaptive_max_pool2d, x(2, 3, 6, 8), (3, 2)),
    row("adaptive_max_pool2d", ref.adaptive_max_pool2d, x(2, 3, 5, 7), (3, 2)),
    row("adaptive_max_pool1d", ref.adaptive_on_lines(ref.adaptive_max_pool2d), x(2, 3, 7), 3),
]  # fmt: skip

ELSEWHERE = (*images.FUNCTIONS, *margin.FUNCTIONS, *padding.FUNCTIONS, *sampling.FUNCTIONS)
MORE = [Row(name, args, kwargs, oracle) for name, oracle, args, kwargs in ELSEWHERE]

ROWS = [*ACTIVATIONS, *LOSSES, *LAYERS, *CONVOLUTIONS, *MORE]

MARGINS = [Row(name, args, kwargs, oracle) for name, oracle, args, kwargs in margin.FUNCTIONS]

# Functions that fit no row, and where they are tested.
UNLIKE_ROWS = {"ctc_loss": "test_ctc.py", "gumbel_softmax": "test_activation.py", "linear_cross_entropy": "test_linear_loss.py", "multi_head_attention_forward": "test_attention.py"}
