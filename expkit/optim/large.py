"""Optimizers for large models: Lion, LAMB, Adafactor, Muon."""

from collections.abc import Iterable
from typing import Any, Literal, Unpack

from expkit.errors import ConfigError
from expkit.optim.adaptive import Betas, State, decayed
from expkit.optim.optimizer import Optimizer, number
from expkit.optim.switches import Switches
from expkit.registry import register
from expkit.tensor import Tensor, bfloat16, finfo, float32, matmul, where, zeros, zeros_like


@register("optim", "lion")
class Lion(Optimizer):
    """p -= lr (sign(β₁ m + (1 - β₁) g) + weight_decay p);  m = β₂ m + (1 - β₂) g.   Chen et al., arXiv:2302.06675."""

    fusible = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize})

    def init_one(self, p: Tensor) -> State:
        return {"exp_avg": zeros_like(p)}

    def update_one(self, p: Tensor, g: Tensor, state: State, *, lr: float, betas: Betas, weight_decay: float) -> None:
        decayed(p, g, lr, weight_decay, True)
        m = state["exp_avg"]
        p.add_((m * betas[0] + g * (1 - betas[0])).sign_(), alpha=-lr)
        m.lerp_(g, 1 - betas[1])


@register("optim", "lamb")
class LAMB(Optimizer):
    """Adam whose step of each tensor has the length of the tensor: r = m̂ / (√v̂ + eps) + wd p;  p -= lr ‖p‖ / ‖r‖ r.

    You et al., arXiv:1904.00962.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def init_one(self, p: Tensor) -> State:
        return {"step": zeros(()), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, betas: Betas, eps: float, weight_decay: float
    ) -> None:
        beta1, beta2 = betas
        t = number(state["step"].add_(1))
        m = state["exp_avg"].lerp_(g, 1 - beta1)
        v = state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        r = (m / (1 - beta1**t)).div_((v / (1 - beta2**t)).sqrt_().add_(eps)).add_(p * weight_decay)
        length, step = p.norm(), r.norm()
        trust = where((length > 0).logical_and(step > 0), length / step, 1.0)
        p.sub_(r.mul_(trust * lr))


@register("optim", "adafactor")
class Adafactor(Optimizer):
    """Second moments of a matrix kept as those of its rows and columns.   Shazeer and Stern, arXiv:1804.04235.

    eps: (least second moment; None: the dtype's, least scale of the parameters); d: the largest RMS of an update.
    """

    switches = ("foreach",)
    granted = ("eps",)
    takes_complex = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **switches: Unpack[Switches],
    ) -> None:
        defaults = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "maximize": maximize}, switches)

    def init_one(self, p: Tensor) -> State:
        if p.ndim < 2:
            return {"step": zeros(()), "variance": zeros_like(p)}
        rows, columns = (*p.shape[:-1], 1), (*p.shape[:-2], 1, p.shape[-1])
        return {"step": zeros(()), "row_var": p.new_zeros(*rows), "col_var": p.new_zeros(*columns)}

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, beta2_decay: float,
        eps: tuple[float | None, float], d: float, weight_decay: float,
    ) -> None:  # fmt: skip
        if not p.numel():
            return
        least = finfo(p.dtype).eps if eps[0] is None else eps[0]
        t = number(state["step"].add_(1))
        share = t**beta2_decay
        size = p.numel() ** 0.5
        pace = t**-0.5  # below: a clamp would fix lr
        pace = lr * (pace / lr).clamp_max(1.0) if isinstance(pace, Tensor) else min(pace, lr)
        rate = (p.norm() / size).clamp_min(eps[1]) * pace
        decayed(p, g, lr, weight_decay, True)
        if p.ndim < 2:
            estimate = state["variance"].lerp_(g * g, share).clone()
        else:
            rows = state["row_var"].lerp_((g * g).mean(-1, True), share)
            columns = state["col_var"].lerp_((g * g).mean(-2, True), share)
            estimate = matmul(rows, columns) / rows.mean(-2, True).clamp_min(least)
        step = estimate.clamp_min(least * least).rsqrt_().mul_(g)
        p.sub_(step.mul_(rate / (step.norm() / (size * d)).clamp_min(1.0)))


@register("optim", "muon")
class Muon(Optimizer):
    """Momentum, made orthogonal by Newton and Schulz's iteration; for matrices only.   Jordan et al., 2024.

    adjust_lr_fn: how the learning rate follows the shape: "original" (√max(1, rows / columns)), "match_rms_adamw"
    (0.2 √max(rows, columns)). Give other parameters (biases, embeddings) to an AdamW.
    """

    takes_complex = False
    takes_tensors = True
    granted = ("eps",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
    ) -> None:
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        if adjust_lr_fn not in (None, *_SCALES):
            raise ConfigError(f"Muon: adjust_lr_fn={adjust_lr_fn!r} is none of {', '.join(_SCALES)}.")
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ConfigError(f"Muon: only matrices can be optimized, got a parameter of {tuple(p.shape)}.")

    def init_one(self, p: Tensor) -> State:
        return {"momentum_buffer": zeros_like(p)}

    def update_one(
        self, p: Tensor, g: Tensor, state: State, *, lr: float, weight_decay: float, momentum: float, nesterov: bool,
        ns_coefficients: tuple[float, float, float], eps: float, ns_steps: int, adjust_lr_fn: str | None,
    ) -> None:  # fmt: skip
        m = state["momentum_buffer"].lerp_(g, 1 - momentum)
        step = orthogonal(g.lerp(m, momentum) if nesterov else m, ns_coefficients, ns_steps, eps)
        p.mul_(1 - lr * weight_decay)
        p.add_(step, alpha=-lr * _SCALES[adjust_lr_fn or "original"](*p.shape))


_SCALES = {
    "original": lambda rows, columns: max(1.0, rows / columns) ** 0.5,
    "match_rms_adamw": lambda rows, columns: 0.2 * max(rows, columns) ** 0.5,
}


def orthogonal(x: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """About the orthogonal factor of a matrix: a quintic iteration that brings its singular values near 1.

    It reckons with bfloat16's precision, as PyTorch does: each result is rounded once.
    """
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    y = _rounded(x.t() if tall else x)
    y = _rounded(y / _rounded(y.norm()).clamp_min(eps))
    for _ in range(steps):
        square = _rounded(y @ y.t())
        y = _rounded(y * a + _rounded(square * b + (square @ square) * c) @ y)
    return y.t() if tall else y


def _rounded(x: Tensor) -> Tensor:
    return x.to(bfloat16).to(float32)
