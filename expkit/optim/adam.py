"""Adam and AdamW."""

from collections.abc import Iterable
from typing import Any, Unpack

from expkit.optim.optimizer import Optimizer, number
from expkit.optim.switches import BASIC, Switches
from expkit.registry import register
from expkit.tensor import Tensor, maximum, zeros, zeros_like


@register("optim", "adam")
class Adam(Optimizer):
    """Adaptive moments: each weight has a step size of its own.

    g += weight_decay * p;  m = β₁ m + (1 - β₁) g;  v = β₂ v + (1 - β₂) g²
    p -= lr * m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + eps);  amsgrad: the largest v so far instead of v.
    decoupled_weight_decay: as AdamW's.
    Kingma and Ba, arXiv:1412.6980; amsgrad: Reddi et al. 2018.
    """

    fusible = True
    switches = (*BASIC, "fused")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults, switches)

    def init_one(self, p: Tensor, *, amsgrad: bool) -> dict[str, Any]:
        moments = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if amsgrad else ("exp_avg", "exp_avg_sq")
        return {"step": zeros(())} | {name: zeros_like(p) for name in moments}

    def update_one(
        self,
        p: Tensor,
        g: Tensor,
        state: dict[str, Any],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        amsgrad: bool,
        decoupled_weight_decay: bool,
    ) -> None:
        beta1, beta2 = betas
        t = number(state["step"].add_(1))
        if weight_decay and decoupled_weight_decay:
            p.mul_(1 - lr * weight_decay)
        elif weight_decay:
            g = g.add(p, alpha=weight_decay)
        m = state["exp_avg"].lerp_(g, 1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        if amsgrad:
            v = state["max_exp_avg_sq"].copy_(maximum(state["max_exp_avg_sq"], v))
        scale = v.sqrt() * (1 - beta2**t) ** -0.5 + eps
        p.addcdiv_(m, scale, value=-lr / (1 - beta1**t))


@register("optim", "adamw")
class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr * weight_decay before the update.

    Loshchilov and Hutter, arXiv:1711.05101.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            maximize=maximize, decoupled_weight_decay=True, **switches,
        )  # fmt: skip
