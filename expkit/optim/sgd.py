"""Stochastic gradient descent."""

from collections.abc import Iterable
from typing import Any, Unpack

from expkit.errors import ConfigError
from expkit.optim.optimizer import Optimizer
from expkit.optim.switches import Switches
from expkit.registry import register
from expkit.tensor import Tensor, zeros_like


@register("optim", "sgd")
class SGD(Optimizer):
    """Gradient descent, with momentum or Nesterov's if asked for.

    g += weight_decay * p;  m = momentum * m + (1 - dampening) * g;  p -= lr * m
    (nesterov: p -= lr * (g + momentum * m)). The first m is g itself, as in PyTorch.
    Momentum: Polyak 1964; Sutskever et al. 2013.
    """

    fusible = True
    switches = ("foreach", "differentiable", "fused")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        if nesterov and (momentum == 0 or dampening != 0):
            raise ConfigError("SGD: nesterov needs a momentum above zero and no dampening.")
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "nesterov": nesterov, "maximize": maximize}, switches)

    def init_one(self, p: Tensor, *, momentum: float, dampening: float) -> dict[str, Any]:
        # From zeros the first update leaves m = g, as it should be; with dampening only a copy of g does.
        return {"momentum_buffer": zeros_like(p)} if momentum and not dampening else {}

    def update_one(
        self,
        p: Tensor,
        g: Tensor,
        state: dict[str, Any],
        *,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
    ) -> None:
        if weight_decay:
            g = g.add(p, alpha=weight_decay)
        if momentum:
            m = state.get("momentum_buffer")
            if m is None:
                m = state["momentum_buffer"] = g.detach().clone()
            else:
                m.mul_(momentum).add_(g, alpha=1 - dampening)
            g = g.add(m, alpha=momentum) if nesterov else m
        p.add_(g, alpha=-lr)
