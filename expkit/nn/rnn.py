"""Recurrent layers: RNN, LSTM, GRU, over whole sequences in one or both directions, several layers deep.

Their cells, one step at a time, are in `rnn_cells.py`; the computation is `tensor/ops/recurrent.py`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.kernels.cells import CELLS
from expkit.nn import init
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.nn.utils.rnn import PackedSequence
from expkit.tensor import Tensor
from expkit.tensor.ops.recurrent import recurrent

States = list[tuple[Tensor, ...]]  # h, and c: of each layer and direction
NONLINEARITIES = {"tanh": "rnn_tanh", "relu": "rnn_relu"}


class RNNBase(Module):
    """What RNN, LSTM and GRU share.   input: (T, B, input_size) -> (output (T, B, D * H), last states (L * D, B, H))

    D is 2 if bidirectional, else 1; H is hidden_size (proj_size, where that is given); B comes first if batch_first;
    without B the input is one sequence. A PackedSequence comes out as one. `kind`: the cell, see kernels/cells.py.
    """

    def __init__(
        self,
        kind: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.kind, self.input_size, self.hidden_size, self.num_layers = kind, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        gates, out = CELLS[kind].gates * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            for suffix in self._suffixes(layer):
                features = out * (1 + bidirectional) if layer else input_size
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, features), "weight_hh": (gates, out)}
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)} if bias else {}
                shapes |= {"weight_hr": (out, hidden_size)} if proj_size else {}
                for name, shape in shapes.items():
                    setattr(self, name + suffix, Parameter(T.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def _suffixes(self, layer: int) -> list[str]:
        """What the names of a layer's weights end with, for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def reset_parameters(self) -> None:
        """Draw all weights anew, uniform in ±1/sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for param in self.parameters():
            init.uniform_(param, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: PyTorch's way to prepare the weights for cuDNN."""

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights, a list for each layer and direction."""
        suffixes = [suffix for layer in range(self.num_layers) for suffix in self._suffixes(layer)]
        return [[v for v in self._weights(suffix) if v is not None] for suffix in suffixes]

    def _weights(self, suffix: str) -> list[Any]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [getattr(self, name + suffix, None) for name in names]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """input, and the first states (L * D, B, H), zeros where they are not given -> (output, last states)."""
        if isinstance(input, PackedSequence):
            sizes = _sizes(input)
            self._check_input(input.data, 2)
            states = self._first(input.data, sizes[0], hx, 3, input.sorted_indices)
            data, last = self._run(input.data, states, sizes)
            out: Any = PackedSequence(data, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
            return out, self._given_back(_permuted(last, input.unsorted_indices))
        if not isinstance(input, Tensor):
            raise TypeError(f"{self._get_name()}: expected a Tensor or a PackedSequence, got a {type(input).__name__}")
        if input.ndim not in (2, 3):
            raise ValueError(f"{self._get_name()}: Expected input to be 2D or 3D, got {input.ndim}D tensor instead")
        rank = input.ndim
        batch_dim = 0 if self.batch_first else 1
        x = input if rank == 3 else input.unsqueeze(batch_dim)
        self._check_input(x, 3)
        states = self._first(x, x.shape[batch_dim], hx, rank)
        x = x.transpose(0, 1) if self.batch_first else x
        steps, batch = x.shape[:2]
        data, last = self._run(x.reshape(steps * batch, x.shape[2]), states, (batch,) * steps)
        out = data.reshape(steps, batch, data.shape[1])
        out = out.transpose(0, 1) if self.batch_first else out
        if rank == 2:
            return out.squeeze(batch_dim), self._given_back([v.squeeze(1) for v in last])
        return out, self._given_back(last)

    def _run(self, data: Tensor, states: States, sizes: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
        """All layers, over flat rows of time."""
        last: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            made = []
            for reverse, suffix in enumerate(self._suffixes(layer)):
                at = len(last[0])
                first = [v[at] for v in states]
                h, c = first if len(first) == 2 else (first[0], None)
                out, *ends = recurrent(self.kind, data, self._weights(suffix), h, c, sizes, bool(reverse))
                made.append(out)
                for held, end in zip(last, ends, strict=False):
                    held.append(end)
            data = T.cat(made, -1) if len(made) > 1 else made[0]
            if self.dropout and layer < self.num_layers - 1:
                data = F.dropout(data, self.dropout, self.training)
        return data, [T.stack(held) if len(held) > 1 else held[0].unsqueeze(0) for held in last]

    # ---- states ------------------------------------------------------------------------------------------------------

    def _taken(self, hx: Any) -> list[Tensor]:
        """The states that a caller gave, as a list."""
        return [hx]

    def _given_back(self, states: list[Tensor]) -> Any:
        """The states as a caller gets them."""
        return states[0]

    def _first(self, x: Tensor, batch: int, hx: Any, rank: int, order: Tensor | None = None) -> States:
        """The first states, with a batch axis, in the order of the sequences; checked. rank: of the caller's input."""
        layers = self.num_layers * (1 + self.bidirectional)
        sizes = [self.proj_size or self.hidden_size, self.hidden_size][: 1 + CELLS[self.kind].carries]
        wanted = [(layers, batch, n) for n in sizes]
        if hx is None:
            return [(T.zeros(shape[1:], dtype=x.dtype, device=x.device),) * layers for shape in wanted]
        given = self._taken(hx)
        if len(given) != len(wanted) or not all(isinstance(v, Tensor) for v in given):
            expected = "a Tensor" if len(wanted) == 1 else "a pair of Tensors, (h, c)"
            raise TypeError(f"{self._get_name()}: hx must be {expected}, got a {type(hx).__name__}")
        ranks = [v.ndim for v in given]
        if ranks != [rank] * len(ranks):
            names, found = " and ".join(("hx", "cx")[: len(given)]), " and ".join(f"{n}-D" for n in ranks)
            what = "batched" if rank == 3 else "unbatched"
            raise ShapeError(f"For {what} {rank}-D input, {names} should also be {rank}-D but got {found}")
        if rank == 2:
            given = [v.unsqueeze(1) for v in given]
        for k, (v, shape) in enumerate(zip(given, wanted, strict=True)):
            if tuple(v.shape) != shape:
                name = f"hidden[{k}]" if len(given) > 1 else "hidden"
                raise ShapeError(f"Expected {name} size {shape}, got {list(v.shape)}")
            if v.dtype != x.dtype:
                raise ValueError(
                    "Input and hidden tensors are not the same dtype, found input tensor with "
                    f"{x.dtype} and hidden tensor with {v.dtype}"
                )
        return [v.unbind(0) for v in _permuted(given, order)]

    def _check_input(self, x: Tensor, rank: int) -> None:
        weight = self.weight_ih_l0
        if x.dtype != weight.dtype:
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if x.ndim != rank:
            raise ShapeError(f"input must have {rank} dimensions, got {x.ndim}")
        if x.shape[-1] != self.input_size:
            raise ShapeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )
        if not x.shape[0 if rank == 2 or not self.batch_first else 1]:
            raise ShapeError("Expected sequence length to be larger than 0 in RNN")

    def extra_repr(self) -> str:
        usual = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
        }  # fmt: skip
        said = [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *said])


def _check(
    input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool, dropout: float, proj_size: int
) -> None:
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    for flag, value in {"bias": bias, "batch_first": batch_first}.items():
        if not isinstance(value, bool):
            raise TypeError(f"{flag} should be of type bool, got: {type(value).__name__}")
    for name, size in {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}.items():
        if not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
            f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )


def _sizes(packed: PackedSequence) -> tuple[int, ...]:
    """How many sequences there are at each step; these must fit the data, and no sequence may begin later."""
    sizes = tuple(packed.batch_sizes.tolist())
    if sum(sizes) != len(packed.data) or list(sizes) != sorted(sizes, reverse=True) or (sizes and sizes[-1] < 1):
        raise ShapeError(
            f"batch_sizes of a PackedSequence must decrease and add up to the length of data, {len(packed.data)}; "
            f"got {list(sizes)}"
        )
    return sizes


def _permuted(states: list[Tensor], order: Tensor | None) -> list[Tensor]:
    return states if order is None else [T.index_select(v, 1, order) for v in states]


class RNN(RNNBase):
    """h' = act(W x + b + V h + d), act tanh or relu (Elman, 1990).   See RNNBase for the shapes."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        kind = NONLINEARITIES[nonlinearity]
        sizes = input_size, hidden_size, num_layers
        super().__init__(kind, *sizes, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997).   States come in pairs (h, c); see RNNBase.

    proj_size: h is projected to so many features (Sak et al., 2014, arXiv:1402.1128).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        super().__init__("lstm", *sizes, bias, batch_first, dropout, bidirectional, proj_size, device, dtype)

    def _taken(self, hx: Any) -> list[Tensor]:
        return list(hx) if isinstance(hx, tuple | list) else [hx]

    def _given_back(self, states: list[Tensor]) -> Any:
        return tuple(states)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014, arXiv:1406.1078).   See RNNBase for the shapes."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        super().__init__("gru", *sizes, bias, batch_first, dropout, bidirectional, 0, device, dtype)
