"""Optimizers with a step size for each weight, beside Adam: Adagrad, Adadelta, Adamax, NAdam, RAdam; Rprop and ASGD."""

import math
from collections.abc import Iterable
from typing import Any, Unpack

from expkit.errors import ConfigError
from expkit.optim.optimizer import Optimizer, number
from expkit.optim.switches import BASIC, Switches
from expkit.registry import register
from expkit.tensor import Tensor, full, full_like, maximum, ones, where, zeros, zeros_like

Betas = tuple[float, float]
State = dict[str, Any]


def decayed(p: Tensor, g: Tensor, lr: float, weight_decay: float, decoupled: bool) -> Tensor:
    """The gradient with weight decay; decoupled: the weights shrink at once instead."""
    if not weight_decay:
        return g
    if decoupled:
        p.mul_(1 - lr * weight_decay)
        return g
    return g.add(p, alpha=weight_decay)


def bounded(x: Any, low: float = -math.inf, high: float = math.inf) -> Any:
    """x between both, a number or (under a trace) a tensor."""
    return x.clamp(low, high) if isinstance(x, Tensor) else min(max(x, low), high)


@register("optim", "adagrad")
class Adagrad(Optimizer):
    """s += g²;  p -= lr / (1 + (t - 1) lr_decay) * g / (√s + eps).   Duchi, Hazan and Singer, JMLR 12 (2011)."""

    fusible = True
    switches = ("foreach", "differentiable", "fused")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
        }  # fmt: skip
        super().__init__(params, {**defaults, "maximize": maximize}, switches)

    def init_one(self, p: Tensor, *, initial_accumulator_value: float) -> State:
        return {"step": zeros(()), "sum": full_like(p, initial_accumulator_value)}

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, lr_decay: float, eps: float, weight_decay: float
    ) -> None:
        t = number(state["step"].add_(1))
        g = decayed(p, g, lr, weight_decay, False)
        s = state["sum"].addcmul_(g, g)
        p.addcdiv_(g, s.sqrt() + eps, value=-lr / (1 + (t - 1) * lr_decay))


@register("optim", "adadelta")
class Adadelta(Optimizer):
    """s = ρ s + (1 - ρ) g²;  d = √(a + eps) / √(s + eps) g;  a = ρ a + (1 - ρ) d²;  p -= lr d.

    Zeiler, arXiv:1212.5701.
    """

    fusible = True
    switches = BASIC

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults, switches)

    def init_one(self, p: Tensor) -> State:
        return {"step": zeros(()), "square_avg": zeros_like(p), "acc_delta": zeros_like(p)}

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, rho: float, eps: float, weight_decay: float
    ) -> None:
        state["step"].add_(1)
        g = decayed(p, g, lr, weight_decay, False)
        s = state["square_avg"].mul_(rho).addcmul_(g, g, value=1 - rho)
        a = state["acc_delta"]
        d = (a + eps).sqrt() / (s + eps).sqrt() * g
        a.mul_(rho).addcmul_(d, d, value=1 - rho)
        p.sub_(d * lr)


@register("optim", "adamax")
class Adamax(Optimizer):
    """m = β₁ m + (1 - β₁) g;  u = max(β₂ u, |g| + eps);  p -= lr / (1 - β₁ᵗ) * m / u.   Kingma and Ba, section 7.1."""

    fusible = True
    switches = BASIC

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults, switches)

    def init_one(self, p: Tensor) -> State:
        return {"step": zeros(()), "exp_avg": zeros_like(p), "exp_inf": zeros_like(p)}

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, betas: Betas, eps: float, weight_decay: float
    ) -> None:
        t = number(state["step"].add_(1))
        g = decayed(p, g, lr, weight_decay, False)
        m = state["exp_avg"].lerp_(g, 1 - betas[0])
        u = state["exp_inf"]
        u.copy_(maximum(u * betas[1], g.abs().add_(eps)))
        p.addcdiv_(m, u, value=-lr / (1 - betas[0] ** t))


@register("optim", "nadam")
class NAdam(Optimizer):
    """Adam with Nesterov's momentum, whose weight grows with the steps.   Dozat, 2016."""

    switches = BASIC

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, {**defaults, "maximize": maximize}, switches)

    def init_one(self, p: Tensor) -> State:
        return {
            "step": zeros(()), "mu_product": ones(()), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p),
        }  # fmt: skip

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, betas: Betas, eps: float, weight_decay: float,
        momentum_decay: float, decoupled_weight_decay: bool,
    ) -> None:  # fmt: skip
        beta1, beta2 = betas
        t = number(state["step"].add_(1))
        g = decayed(p, g, lr, weight_decay, decoupled_weight_decay)
        mu, after = (beta1 * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1))
        product = number(state["mu_product"].mul_(mu))
        m = state["exp_avg"].lerp_(g, 1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        scale = (v / (1 - beta2**t)).sqrt() + eps
        p.addcdiv_(g, scale, value=-lr * (1 - mu) / (1 - product))
        p.addcdiv_(m, scale, value=-lr * after / (1 - product * after))


@register("optim", "radam")
class RAdam(Optimizer):
    """Adam whose step sizes are rectified while their variance is high, which replaces a warm-up.

    Liu et al., arXiv:1908.03265.
    """

    switches = BASIC

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, {**defaults, "maximize": maximize}, switches)

    def init_one(self, p: Tensor) -> State:
        return {"step": zeros(()), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, betas: Betas, eps: float, weight_decay: float,
        decoupled_weight_decay: bool,
    ) -> None:  # fmt: skip
        beta1, beta2 = betas
        t = number(state["step"].add_(1))
        g = decayed(p, g, lr, weight_decay, decoupled_weight_decay)
        m = state["exp_avg"].lerp_(g, 1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        first, second = 1 - beta1**t, 1 - beta2**t
        most = 2 / (1 - beta2) - 1
        length = most - 2 * t * beta2**t / second
        settled = length > 5
        if settled is False:
            p.sub_(m * (lr / first))
            return
        rectified = ((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) ** 0.5
        step = m / (v.sqrt().add_(eps)) * (rectified * second**0.5 / first)
        p.sub_((step if settled is True else where(settled, step, m / first)) * lr)


@register("optim", "rprop")
class Rprop(Optimizer):
    """Steps by the sign of the gradient alone, longer while it stays, shorter when it turns.

    Riedmiller and Braun, 1993. For full batches.
    """

    granted = ("step_sizes",)
    switches = BASIC

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ConfigError(f"Rprop: etas={etas!r} cannot be: two factors, the first in (0, 1), the second above 1.")
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}, switches)

    def init_one(self, p: Tensor, *, lr: float) -> State:
        return {"step": zeros(()), "prev": zeros_like(p), "step_size": full_like(p, lr)}

    def update_one(self, p: Tensor, g: Tensor, state: State, *, etas: Betas, step_sizes: Betas) -> None:
        state["step"].add_(1)
        turn = state["prev"].mul(g)
        size = state["step_size"]
        size.copy_(where(turn > 0, size * etas[1], where(turn < 0, size * etas[0], size))).clamp_(*step_sizes)
        g = where(turn < 0, 0.0, g)
        p.sub_(g.sign().mul_(size))
        state["prev"].copy_(g)


@register("optim", "asgd")
class ASGD(Optimizer):
    """Stochastic gradient descent and the mean of its weights (`ax` in the state) from step t0 on.

    p *= 1 - λ η;  p -= η g;  η = lr / (1 + λ lr t)^alpha.   Polyak and Juditsky, 1992.
    """

    switches = BASIC

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "maximize": maximize}, switches)

    def init_one(self, p: Tensor, *, lr: float) -> State:
        return {"step": zeros(()), "eta": full((), float(lr)), "mu": ones(()), "ax": zeros_like(p)}

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, lambd: float, alpha: float, t0: float,
        weight_decay: float,
    ) -> None:  # fmt: skip
        t, eta, mu = number(state["step"].add_(1)), number(state["eta"]), number(state["mu"])
        g = decayed(p, g, lr, weight_decay, False)
        p.mul_(1 - lambd * eta)
        p.sub_(g * eta)
        mean = state["ax"]
        mean.add_(p.sub(mean).mul_(mu))
        state["eta"].fill_(lr / ((1 + lambd * lr * t) ** alpha))
        state["mu"].fill_(1 / bounded(t - t0, low=1.0))
