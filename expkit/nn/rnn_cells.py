"""Recurrent cells, one step at a time; whole sequences are quicker with the layers in `rnn.py`."""

from __future__ import annotations

import math
from typing import Any

import expkit.tensor as T
from expkit.errors import ShapeError
from expkit.kernels.cells import CELLS
from expkit.nn import init
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.nn.rnn import NONLINEARITIES
from expkit.tensor import Tensor
from expkit.tensor.ops.recurrent import recurrent


class RNNCellBase(Module):
    """What the cells share.   input: (B, input_size) or (input_size,), states (B, hidden_size) or (hidden_size,)"""

    def __init__(
        self, kind: str, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.kind, self.input_size, self.hidden_size, self.bias = kind, input_size, hidden_size, bias
        gates = CELLS[kind].gates * hidden_size
        for name, shape in {"weight_ih": (gates, input_size), "weight_hh": (gates, hidden_size)}.items():
            setattr(self, name, Parameter(T.empty(shape, device=device, dtype=dtype)))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(T.empty(gates, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, uniform in ±1/sqrt(hidden_size)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for param in self.parameters():
            init.uniform_(param, -bound, bound)

    def _step(self, input: Tensor, given: list[Tensor] | None) -> list[Tensor]:
        """The new states."""
        name, count = self._get_name(), 1 + CELLS[self.kind].carries
        for v in (input, *(given or ())):
            if not isinstance(v, Tensor):
                raise TypeError(f"{name}: expected Tensors, got a {type(v).__name__}")
        if given is not None and len(given) != count:
            raise TypeError(f"{name}: hx must be a pair of Tensors, (h, c), got {len(given)}")
        if input.ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        x = input if input.ndim == 2 else input.unsqueeze(0)
        if x.shape[1] != self.input_size:
            raise ShapeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}")
        if given is None:
            shape = x.shape[0], self.hidden_size
            states = [T.zeros(shape, dtype=x.dtype, device=x.device)] * count
        else:
            states = [self._state(k, v, input, x.shape[0]) for k, v in enumerate(given)]
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, None)
        c = states[1] if len(states) > 1 else None
        _, *made = recurrent(self.kind, x, weights, states[0], c, (x.shape[0],))
        return [v if input.ndim == 2 else v.squeeze(0) for v in made if v is not None]

    def _state(self, k: int, state: Tensor, input: Tensor, batch: int) -> Tensor:
        name = f"hx[{k}]" if CELLS[self.kind].carries else "hidden"
        if state.ndim not in (1, 2):
            raise ValueError(f"{self._get_name()}: Expected {name} to be 1D or 2D, got {state.ndim}D instead")
        h = state if input.ndim == 2 else state.unsqueeze(0)
        if tuple(h.shape) != (batch, self.hidden_size):
            raise ShapeError(
                f"{self._get_name()}: {name} has shape {tuple(state.shape)}, expected {(batch, self.hidden_size)}"
            )
        if h.dtype != input.dtype:
            raise ValueError(f"{self._get_name()}: {name} is {h.dtype}, the input {input.dtype}")
        return h

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}{'' if self.bias else ', bias=False'}"


class RNNCell(RNNCellBase):
    """h' = act(W x + b + V h + d), act tanh or relu."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(NONLINEARITIES[nonlinearity], input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, None if hx is None else [hx])[0]

    def extra_repr(self) -> str:
        extra = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        return super().extra_repr() + extra


class LSTMCell(RNNCellBase):
    """One step of an LSTM: input, (h, c) -> (h', c')"""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = self._step(input, None if hx is None else list(hx))
        return h, c


class GRUCell(RNNCellBase):
    """One step of a GRU: input, h -> h'"""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("gru", input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, None if hx is None else [hx])[0]
