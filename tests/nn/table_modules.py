"""One row (or more) for each module of expkit.nn: arguments, inputs, state dict keys, and its NumPy formula.

Rows of modules that are one function (activations, pooling) and of the losses come from table_functions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from expkit import nn
from expkit.nn.function_module import FunctionModule
from tests.nn import reference as ref
from tests.nn import table_functions as functions
from tests.nn import table_margin as margin
from tests.nn import table_padding as padding
from tests.nn import table_sampling as sampling
from tests.nn.table_functions import classes, wide, x


class Row(NamedTuple):
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[np.ndarray, ...]
    keys: tuple[str, ...]  # of the state dict
    oracle: Callable[..., np.ndarray]  # (state, *inputs) -> output while training

    @property
    def id(self) -> str:
        extra = ",".join(f"{k}={v.shape if isinstance(v, np.ndarray) else v}" for k, v in self.kwargs.items())
        return "-".join([self.name, *map(str, self.args), *([extra] if extra else [])])


def row(name: str, oracle: Any, inputs: Any, *args: Any, keys: str = "weight bias", **kwargs: Any) -> Row:
    return Row(name, args, kwargs, inputs if isinstance(inputs, tuple) else (inputs,), tuple(keys.split()), oracle)


def batch_norm(s: dict[str, Any], a: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    return ref.batch_norm(a, None, None, s.get("weight"), s.get("bias"), training=True, eps=eps)


def instance_norm(s: dict[str, Any], a: np.ndarray) -> np.ndarray:
    return sampling.instance_norm(a, s["weight"], s["bias"])


def conv(function: Callable[..., np.ndarray], **kw: Any) -> Callable[..., np.ndarray]:
    return lambda s, a: function(a, s["weight"], s.get("bias"), **kw)


STATISTICS = "running_mean running_var num_batches_tracked"

LAYERS = [
    row("Linear", lambda s, a: a @ s["weight"].T + s["bias"], x(4, 3), 3, 5),
    row("Linear", lambda s, a: a @ s["weight"].T, x(2, 4, 3), 3, 5, bias=False, keys="weight"),
    row(
        "Bilinear", lambda s, a, b: np.einsum("ni,oij,nj->no", a, s["weight"], b) + s["bias"],
        (x(4, 3), x(4, 2)), 3, 2, 5,
    ),
    row("Embedding", lambda s, i: s["weight"][i], classes(6, 3, 2), 6, 4, keys="weight"),
    row("Embedding", lambda s, i: s["weight"][i], classes(6, 3, 2), 6, 4, padding_idx=-2, keys="weight"),
    row("Flatten", lambda s, a: a.reshape(2, 12), x(2, 3, 4), keys=""),
    row("Flatten", lambda s, a: a.reshape(6, 4, 5), x(2, 3, 4, 5), start_dim=0, end_dim=1, keys=""),
    row("Unflatten", lambda s, a: a.reshape(2, 3, 4), x(2, 12), 1, (3, 4), keys=""),
    row("Unflatten", lambda s, a: a.reshape(2, 3, 4), x(2, 12), -1, (-1, 4), keys=""),
    row("Identity", lambda s, a: a, x(2, 3), 54, anything=True, keys=""),
    row("PReLU", lambda s, a: ref.prelu(a, s["weight"]), wide(4, 3), keys="weight"),
    row("PReLU", lambda s, a: ref.prelu(a, s["weight"]), wide(2, 3, 4), 3, init=0.1, keys="weight"),
    row("Conv1d", conv(ref.conv1d), x(2, 3, 7), 3, 4, 3),
    row("Conv1d", conv(ref.conv1d, padding="same", dilation=2), x(2, 3, 7), 3, 4, 3, padding="same", dilation=2),
    row("Conv2d", conv(ref.conv2d), x(2, 3, 5, 6), 3, 4, 3),
    row("Conv2d", conv(ref.conv2d, padding="same"), x(2, 3, 5, 6), 3, 4, (3, 2), padding="same"),
    row("Conv2d", conv(ref.conv2d), x(2, 3, 5, 6), 3, 4, 2, padding="valid", bias=False, keys="weight"),
    row(
        "Conv2d", conv(ref.conv2d, stride=(2, 1), padding=1, dilation=(1, 2), groups=2), x(2, 4, 7, 7), 4, 6, 3,
        stride=(2, 1), padding=1, dilation=(1, 2), groups=2,
    ),
    row("Conv3d", conv(sampling.convolution, padding=1, stride=(1, 2, 1)), x(1, 2, 3, 4, 3), 2, 3, 2, stride=(1, 2, 1), padding=1),
    *(
        row("Conv2d", conv(lambda a, w, b, m=mode: sampling.convolution(padding.pad(a, (2, 2, 1, 1), m), w, b)), x(2, 2, 4, 5), 2, 3, 3, padding=(1, 2), padding_mode=mode)
        for mode in padding.MODES
    ),
    row("Conv1d", conv(lambda a, w, b: sampling.convolution(padding.pad(a, (1, 2), "reflect"), w, b)), x(2, 2, 5), 2, 3, 4, padding="same", padding_mode="reflect"),
    row("ConvTranspose1d", conv(sampling.transposed, stride=2, padding=1, output_padding=1), x(2, 3, 4), 3, 2, 3, 2, 1, 1),
    row("ConvTranspose2d", conv(sampling.transposed, groups=2, dilation=(2, 1)), x(2, 4, 3, 2), 4, 2, 2, groups=2, dilation=(2, 1), bias=False, keys="weight"),
    row("ConvTranspose3d", conv(sampling.transposed, stride=2), x(1, 2, 2, 3, 2), 2, 1, 2, stride=2),
    row("EmbeddingBag", lambda s, i: sampling.embedding_bag(i, s["weight"], mode="max"), classes(6, 3, 2), 6, 4, mode="max", keys="weight"),
    row("EmbeddingBag", lambda s, i: sampling.embedding_bag(i, s["weight"], padding_idx=2), classes(6, 3, 2), 6, 4, padding_idx=2, keys="weight"),
    row("InstanceNorm1d", lambda s, a: sampling.instance_norm(a), x(3, 2, 5), 2, keys=""),
    row("InstanceNorm2d", instance_norm, x(3, 2, 3, 2), 2, affine=True, track_running_stats=True, keys=f"weight bias {STATISTICS}"),
    row("InstanceNorm3d", lambda s, a: sampling.instance_norm(a[None], s["weight"], s["bias"])[0], x(2, 3, 2, 2), 2, affine=True),
    row("BatchNorm1d", batch_norm, x(5, 3), 3, keys=f"weight bias {STATISTICS}"),
    row("BatchNorm3d", batch_norm, x(2, 2, 2, 3, 1), 2, keys=f"weight bias {STATISTICS}"),
    row("BatchNorm1d", batch_norm, x(5, 3, 2), 3, momentum=None, keys=f"weight bias {STATISTICS}"),
    row("BatchNorm1d", batch_norm, x(5, 3), 3, affine=False, momentum=0.3, keys=STATISTICS),
    row("BatchNorm2d", batch_norm, x(3, 2, 4, 4), 2, keys=f"weight bias {STATISTICS}"),
    row("BatchNorm2d", lambda s, a: batch_norm(s, a, 0.1), x(3, 2, 4, 4), 2, eps=0.1, track_running_stats=False),
    row("SyncBatchNorm", batch_norm, x(3, 2, 4, 4), 2, keys=f"weight bias {STATISTICS}"),
    row("LayerNorm", lambda s, a: ref.layer_norm(a, (6,), s["weight"], s["bias"]), x(4, 6), 6),
    row("LayerNorm", lambda s, a: ref.layer_norm(a, (3,), s["weight"]), x(2, 3), (3,), bias=False, keys="weight"),
    row("LayerNorm", lambda s, a: ref.layer_norm(a, (6,)), x(4, 6), 6, elementwise_affine=False, keys=""),
    row("RMSNorm", lambda s, a: ref.rms_norm(a, (6,), s["weight"]), x(4, 6), 6, keys="weight"),
    row("RMSNorm", lambda s, a: ref.rms_norm(a, (6,), eps=0.1), x(4, 6), 6, eps=0.1, elementwise_affine=False, keys=""),
    row("GroupNorm", lambda s, a: ref.group_norm(a, 2, s["weight"], s["bias"]), x(2, 4, 3), 2, 4),
    row("GroupNorm", lambda s, a: ref.group_norm(a, 4), x(2, 4, 3), 4, 4, affine=False, keys=""),
    row("TripletMarginWithDistanceLoss", lambda s, *abc: margin.triplet(*abc, margin=2.0, swap=True), (x(4, 3), x(4, 3), x(4, 3)), margin=2.0, swap=True, keys=""),
    row("Dropout", lambda s, a: a, x(4, 3), 0.0, keys=""),
    row("Dropout1d", lambda s, a: a, x(4, 3, 2), p=0.0, keys=""),
    row("Dropout2d", lambda s, a: a * 0, x(4, 3, 2, 2), p=1.0, keys=""),
    row("Dropout3d", lambda s, a: a * 0, x(4, 3, 2, 2, 1), p=1.0, keys=""),
    row("AlphaDropout", lambda s, a: a * 0, x(4, 3), p=1.0, keys=""),
    row("FeatureAlphaDropout", lambda s, a: a, x(4, 3, 2), p=0.0, inplace=True, keys=""),
    row("Hardtanh", lambda s, a: np.clip(a, -3, 0.5), wide(4, 5), -3.0, 0.5, keys=""),
    row("RReLU", lambda s, a: np.where(a > 0, a, a * 0.25), wide(4, 5), 0.25, 0.25, keys=""),
    row("Softmax2d", lambda s, a: ref.softmax(a, -3), wide(4, 5, 2, 3), keys=""),
]  # fmt: skip


FUNCTIONS_ALONE = {"divisor_override", "_random_samples", "antialias"}  # arguments that modules lack, or keep as state


def _modules_of_functions() -> list[Row]:
    """A row for each pair of a FunctionModule and a row of its function."""
    found = []
    for name, cls in vars(nn).items():
        if isinstance(cls, type) and issubclass(cls, FunctionModule):
            for r in functions.ROWS:
                if r.name == cls.function.__name__ and not FUNCTIONS_ALONE & set(r.kwargs):
                    n = cls.inputs
                    found.append(Row(name, r.args[n:], r.kwargs, r.args[:n], (), _without_state(r, n)))
    return found


def _without_state(r: functions.Row, inputs: int) -> Callable[..., np.ndarray]:
    return lambda state, *given: r.oracle(*given, *r.args[inputs:], **r.kwargs)


# Module, registered name, function.
LOSSES = [
    ("CrossEntropyLoss", "cross_entropy", "cross_entropy"),
    ("NLLLoss", "nll", "nll_loss"),
    ("MSELoss", "mse", "mse_loss"),
    ("L1Loss", "l1", "l1_loss"),
    ("SmoothL1Loss", "smooth_l1", "smooth_l1_loss"),
    ("HuberLoss", "huber", "huber_loss"),
    ("BCELoss", "bce", "binary_cross_entropy"),
    ("BCEWithLogitsLoss", "bce_with_logits", "binary_cross_entropy_with_logits"),
    ("KLDivLoss", "kl_div", "kl_div"),
    ("MultiMarginLoss", "multi_margin", "multi_margin_loss"),
    ("MultiLabelSoftMarginLoss", "multilabel_soft_margin", "multilabel_soft_margin_loss"),
]

PADDING = [
    row(name, lambda s, a, oracle=oracle: oracle(a), a, *args, keys="") for name, args, oracle, a in padding.MODULES
]
ROWS = [*LAYERS, *PADDING, *_modules_of_functions()]

# What expkit.nn exports that is no layer, and where it is tested.
ELSEWHERE = {
    "Module": "test_module.py", "Parameter": "test_parameter.py", "Buffer": "test_parameter.py",
    "Sequential": "test_containers.py", "ModuleList": "test_containers.py", "ModuleDict": "test_containers.py",
    "ParameterList": "test_containers.py", "ParameterDict": "test_containers.py",
    "CTCLoss": "test_ctc.py",
    "UninitializedParameter": "test_lazy.py", "UninitializedBuffer": "test_lazy.py", "LazyLinear": "test_lazy.py",
    **{f"Lazy{kind}{n}d": "test_lazy.py" for kind in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm") for n in (1, 2, 3)},
    "FractionalMaxPool2d": "test_pooling.py", "FractionalMaxPool3d": "test_pooling.py",
    **{f"MaxUnpool{n}d": "test_pooling.py" for n in (1, 2, 3)},
    **dict.fromkeys(("LinearCrossEntropyLoss", "LinearCrossEntropyOptions"), "test_linear_loss.py"),
    "AdaptiveLogSoftmaxWithLoss": "test_adaptive.py",
    **dict.fromkeys(("MultiheadAttention", "Transformer", "TransformerEncoder", "TransformerDecoder"), "test_attention.py"),
    **dict.fromkeys(("TransformerEncoderLayer", "TransformerDecoderLayer"), "test_attention.py"),
    **dict.fromkeys(("RNNBase", "RNN", "LSTM", "GRU", "RNNCellBase", "RNNCell", "LSTMCell", "GRUCell"), "test_rnn.py"),
}  # fmt: skip
