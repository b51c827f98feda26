"""RMSprop."""

from collections.abc import Iterable
from typing import Any, Unpack

from expkit.optim.optimizer import Optimizer
from expkit.optim.switches import BASIC, Switches
from expkit.registry import register
from expkit.tensor import Tensor, zeros, zeros_like


@register("optim", "rmsprop")
class RMSprop(Optimizer):
    """Gradient descent, scaled by a running root mean square of the gradient.

    g += weight_decay * p;  v = alpha * v + (1 - alpha) * g²;  p -= lr * g / (√v + eps)
    centered: √(v - mean(g)²) instead of √v. momentum: of the scaled gradient.
    Hinton, lecture 6 of "Neural networks for machine learning", 2012; centered: Graves, arXiv:1308.0850.
    """

    fusible = True
    switches = BASIC

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, {**defaults, "centered": centered, "maximize": maximize}, switches)

    def init_one(self, p: Tensor, *, momentum: float, centered: bool) -> dict[str, Any]:
        kept = {"square_avg": True, "momentum_buffer": momentum > 0, "grad_avg": centered}
        return {"step": zeros(())} | {name: zeros_like(p) for name, needed in kept.items() if needed}

    def update_one(
        self,
        p: Tensor,
        g: Tensor,
        state: dict[str, Any],
        *,
        lr: float,
        alpha: float,
        eps: float,
        weight_decay: float,
        momentum: float,
        centered: bool,
    ) -> None:
        state["step"].add_(1)
        if weight_decay:
            g = g.add(p, alpha=weight_decay)
        v = state["square_avg"].mul_(alpha).addcmul_(g, g, value=1 - alpha)
        if centered:
            mean = state["grad_avg"].lerp_(g, 1 - alpha)
            scale = v.addcmul(mean, mean, value=-1).sqrt() + eps
        else:
            scale = v.sqrt() + eps
        if momentum:
            p.add_(state["momentum_buffer"].mul_(momentum).addcdiv_(g, scale), alpha=-lr)
        else:
            p.addcdiv_(g, scale, value=-lr)
