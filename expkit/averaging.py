"""Means of a model's weights over training: torch.optim.swa_utils' names. Found as `ek.optim.swa_utils` too.

It needs both nn and optim, so it stands above them.
"""

import copy
from collections.abc import Callable, Iterable
from typing import Any

from expkit.autograd.handle import Value
from expkit.autograd.mode import MODE, open_trace
from expkit.errors import ConfigError
from expkit.nn.module import Module
from expkit.nn.norm import _BatchNorm
from expkit.optim.schedulers import SWALR
from expkit.tensor import Tensor, full, int64, no_grad
from expkit.tensor.generated.update import apply_all
from expkit.tensor.ops.segments import record_all

__all__ = [
    "SWALR", "AveragedModel", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn",
    "update_bn",
]  # fmt: skip

Tensors = list[Tensor]


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Tensors, Tensors, Any], None]:
    """mean = decay * mean + (1 - decay) * now, in place, for lists: an exponential moving average."""
    _check_decay(decay)
    return lambda means, now, _count: _move(means, now, 1 - decay)


def get_swa_multi_avg_fn() -> Callable[[Tensors, Tensors, Any], None]:
    """The equally weighted mean of all values so far, in place, for lists.   Izmailov et al., arXiv:1803.05407."""
    return lambda means, now, count: _move(means, now, _share(count))


def _share(count: Any) -> Any:
    """1 / (count + 1): a number, or a 0-d tensor under a trace, where the count has no value."""
    return (count.double() + 1).reciprocal() if _traced() and isinstance(count, Tensor) else 1 / (int(count) + 1)


def _traced() -> bool:
    return MODE.special > 0 and open_trace() is not None


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """As get_ema_multi_avg_fn, for one tensor, which is returned."""
    _check_decay(decay)
    return lambda mean, now, _count: decay * mean + (1 - decay) * now


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """As get_swa_multi_avg_fn, for one tensor, which is returned."""
    return lambda mean, now, count: mean + (now - mean) / (count + 1)


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ConfigError(f"decay={decay} cannot be: it is between 0 and 1.")


def _move(means: Tensors, now: Tensors, share: Any) -> None:
    """Moves means by a share of the way, a number or 0-d tensor: those of one dtype together."""
    with no_grad():
        alike: dict[Any, tuple[Tensors, Tensors]] = {}
        for mean, value in zip(means, now, strict=True):
            value = value.detach().to(mean.device)
            if mean.is_floating_point() or mean.is_complex():
                mine, theirs = alike.setdefault(mean.dtype, ([], []))
                mine.append(mean)
                theirs.append(value.to(mean.dtype))
            else:  # whole numbers (counters) follow in whole numbers
                mean.copy_(mean + (value - mean) * (share.float() if isinstance(share, Tensor) else share))
        for dtype, pair in alike.items():
            if isinstance(share, Tensor):
                done = record_all("lerp", pair, share)
            else:
                done = apply_all("lerp", pair, share) or record_all("lerp", pair, share)
            if not done:
                for mean, value in zip(*pair, strict=True):
                    mean.lerp_(value, share.to(dtype) if isinstance(share, Tensor) else share)


class AveragedModel(Module):
    """A copy of a model whose weights are the mean of those that `update_parameters` has seen.

    avg_fn(mean, now, count) returns the new mean of one tensor; multi_avg_fn(means, nows, count) changes them in place;
    neither: the equally weighted mean. use_buffers: buffers are averaged too, otherwise copied. forward is the copy's.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Callable[[Tensors, Tensors, Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ConfigError("AveragedModel: give avg_fn or multi_avg_fn, not both.")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", full((), 0, dtype=int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Takes the present weights of `model` into the mean; the first time they are the mean."""
        means, now = self._averaged(self.module), self._averaged(model)
        with no_grad():
            if self._is_first():
                for mean, value in zip(means, now, strict=True):
                    mean.copy_(value.detach())
            else:
                self._update(means, now)
            if not self.use_buffers:
                for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                    mine.copy_(theirs.detach())
            self.n_averaged.add_(1)

    def _is_first(self) -> bool:
        """Whether nothing has been averaged yet, which a trace takes for granted."""

        def now() -> bool:
            return not self.n_averaged.raw.item()

        trace = open_trace() if MODE.special else None
        if trace is None:
            return now()
        if isinstance(self.n_averaged.raw, Value):  # the trace has counted already
            return False
        trace.guard(now)
        return now()

    def _update(self, means: Tensors, now: Tensors) -> None:
        if self.avg_fn is None:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(means, now, self.n_averaged)
            return
        for mean, value in zip(means, now, strict=True):
            mean.copy_(self.avg_fn(mean, value.detach().to(mean.device), self.n_averaged.to(mean.device)))

    def _averaged(self, model: Module) -> Tensors:
        buffers = list(model.buffers()) if self.use_buffers else []
        return [p.detach() for p in (*model.parameters(), *buffers)]


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Runs over the data once, so that the running statistics of batch norms become those of the model's weights.

    A batch is the input, or a list or tuple that begins with it.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = {norm: norm.momentum for norm in norms}
    training = model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # their mean over all batches
    model.train()
    try:
        with no_grad():
            for batch in loader:
                given = batch[0] if isinstance(batch, list | tuple) else batch
                model(given if device is None else given.to(device))
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        model.train(training)
