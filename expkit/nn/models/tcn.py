"""tcn: causal dilated convolutions over a sequence."""

from __future__ import annotations

import expkit.nn.functional as F
from expkit.nn import init
from expkit.nn.activation import Identity
from expkit.nn.containers import Sequential
from expkit.nn.conv import Conv1d
from expkit.nn.dropout import Dropout
from expkit.nn.linear import Linear
from expkit.nn.models.parts import choice, probability, size, sizes
from expkit.nn.models.sequences import POOLINGS, Pooling, SequenceInput, pool
from expkit.nn.module import Module
from expkit.nn.utils.parametrizations import weight_norm
from expkit.registry import register
from expkit.tensor import Tensor


class TemporalBlock(Module):
    """Twice: a convolution that sees no later step, ReLU, dropout; beside x.   (N, ins, T) -> (N, outs, T)"""

    def __init__(self, ins: int, outs: int, kernel: int, dilation: int, dropout: float, normed: bool) -> None:
        super().__init__()
        self.before = (kernel - 1) * dilation  # steps that the first output reaches back
        self.conv1 = _convolution(ins, outs, kernel, dilation, normed)
        self.dropout1 = Dropout(dropout)
        self.conv2 = _convolution(outs, outs, kernel, dilation, normed)
        self.dropout2 = Dropout(dropout)
        self.downsample: Module = Identity() if ins == outs else _small(Conv1d(ins, outs, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout1(F.relu(self.conv1(F.pad(x, (self.before, 0)))))
        y = self.dropout2(F.relu(self.conv2(F.pad(y, (self.before, 0)))))
        return F.relu(y + self.downsample(x))


def _convolution(ins: int, outs: int, kernel: int, dilation: int, normed: bool) -> Module:
    conv = _small(Conv1d(ins, outs, kernel, dilation=dilation))
    return weight_norm(conv) if normed else conv


def _small(conv: Conv1d) -> Conv1d:
    init.normal_(conv.weight, 0, 0.01)
    return conv


@register("model", "tcn")
class TCN(Module):
    """Temporal convolutional network (Bai et al., 2018, arXiv:1803.01271): block i has a dilation of 2^i.

    The last of L blocks with kernels of k sees 1 + 2 (k - 1) (2^L - 1) steps. Samples: see `models/sequences.py`.
    (N, *input_shape) -> (N, output_size)
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        output_size: int,
        channels: list[int] | tuple[int, ...] = (32, 32, 32, 32),
        kernel_size: int = 3,
        weight_norm: bool = True,
        pooling: Pooling = "last",
        dropout: float = 0.0,
        vocab_size: int | None = None,
        embedding_dim: int = 64,
        padding_idx: int | None = None,
    ) -> None:
        super().__init__()
        self.pooling = choice("model.pooling", pooling, POOLINGS)
        self.input = SequenceInput("tcn", input_shape, vocab_size, embedding_dim, padding_idx)
        kernel, drop = size("model.kernel_size", kernel_size), probability("model.dropout", dropout)
        self.network = Sequential()
        ins = self.input.features
        for level, outs in enumerate(sizes("model.channels", channels)):
            self.network.append(TemporalBlock(ins, outs, kernel, 2**level, drop, weight_norm))
            ins = outs
        self.linear = Linear(ins, size("output_size", output_size))

    def forward(self, input: Tensor) -> Tensor:
        steps = self.network(self.input(input).transpose(1, 2)).transpose(1, 2)
        return self.linear(pool(steps, self.pooling, self.input.padding(input)))
