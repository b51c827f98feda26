"""Normalisation layers: batch, instance, layer, group, RMS and local response norm."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import expkit.nn.functional as F
import expkit.tensor as T
from expkit.autograd import no_grad
from expkit.errors import ShapeError
from expkit.nn import init
from expkit.nn.function_module import FunctionModule, module_of
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor


def _affine(module: Module, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any) -> None:
    """Register weight (ones) and bias (zeros) of `shape`, None where one is not wanted."""
    module.register_parameter("weight", Parameter(T.ones(shape, device=device, dtype=dtype)) if weight else None)
    module.register_parameter("bias", Parameter(T.zeros(shape, device=device, dtype=dtype)) if bias else None)


def _reset_affine(module: Module) -> None:
    if module.weight is not None:
        init.ones_(module.weight)
    if getattr(module, "bias", None) is not None:
        init.zeros_(module.bias)


class RunningNorm(Module):
    """What batch and instance norm share: weight, bias and running statistics of channels. `dims`: what they take."""

    dims: ClassVar[tuple[int, ...]]
    picture: ClassVar[str]
    _version = 2

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _affine(self, (num_features,), affine, affine and bias, device, dtype)
        tracked = track_running_stats
        self.register_buffer("running_mean", T.zeros(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", T.ones(num_features, device=device, dtype=dtype) if tracked else None)
        count = T.tensor(0, dtype=T.int64, device=device) if tracked else None
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Forget the statistics of the batches seen so far."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Forget the statistics, weight to 1 and bias to 0."""
        self.reset_running_stats()
        _reset_affine(self)

    def _load_from_state_dict(self, given: Any, prefix: str, metadata: dict[str, Any], *rest: Any) -> None:
        """State from before batches were counted, or without a version, may lack the count."""
        key = f"{prefix}num_batches_tracked"
        if self.track_running_stats and key not in given and (metadata.get("version") or 1) < 2:
            given[key] = T.zeros_like(self.num_batches_tracked)
        super()._load_from_state_dict(given, prefix, metadata, *rest)

    def _check_dims(self, input: Tensor) -> None:
        if input.ndim not in self.dims:
            expected = " or ".join(map(str, self.dims))
            raise ShapeError(f"expected {expected} dimensions {self.picture}, got {input.ndim}: {tuple(input.shape)}")

    def channel_axis(self, input: Tensor) -> int:
        """Where the channels of an input are."""
        self._check_dims(input)
        return 1

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(RunningNorm):
    """Everything about batch norm but the shapes that it takes."""

    def forward(self, input: Tensor) -> Tensor:
        self._check(input)
        use_batch = self.training or (self.running_mean is None and self.running_var is None)
        update = self.training and self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if update or not use_batch else None,
            self.running_var if update or not use_batch else None,
            self.weight,
            self.bias,
            use_batch,
            self._count() if update else 0.0,
            self.eps,
        )

    def _check(self, input: Tensor) -> None:
        self._check_dims(input)
        if input.shape[1] != self.num_features:
            raise ShapeError(f"expected {self.num_features} features in dim 1, got input {tuple(input.shape)}")

    def _count(self) -> float:
        """Count one more batch; returns how far the running statistics move (momentum None: their mean so far)."""
        if self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.num_batches_tracked is None else 1.0 / int(self.num_batches_tracked)


class BatchNorm1d(_BatchNorm):
    """Each feature to mean 0 and variance 1 over the batch.   (N, C) or (N, C, L)

    Training uses the batch's statistics and moves running_mean and running_var by `momentum` (None: their cumulative
    average); evaluation uses the running ones.
    """

    dims = (2, 3)
    picture = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Each channel to mean 0 and variance 1 over the batch.   (N, C, H, W); otherwise as BatchNorm1d"""

    dims = (4,)
    picture = "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """Each channel to mean 0 and variance 1 over the batch.   (N, C, D, H, W); otherwise as BatchNorm1d"""

    dims = (5,)
    picture = "(N, C, D, H, W)"


class _InstanceNorm(RunningNorm):
    """Everything about instance norm but the shapes that it takes."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def channel_axis(self, input: Tensor) -> int:
        """Where the channels of an input are: before its spatial dimensions."""
        self._check_dims(input)
        return input.ndim - self.dims[0]

    def forward(self, input: Tensor) -> Tensor:
        axis = self.channel_axis(input)
        if input.shape[axis] != self.num_features:
            text = f"expected {self.num_features} features in dim {axis}, got input {tuple(input.shape)}"
            if self.affine:
                raise ShapeError(text)
            warnings.warn(f"{text}: num_features is not used here, as affine=False", stacklevel=2)
        out = F.instance_norm(
            input if axis else input.unsqueeze(0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum if self.momentum is not None else 0.0,
            self.eps,
        )
        return out if axis else out.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sample to mean 0 and variance 1.   (N, C, L) or (C, L)

    With `track_running_stats`, evaluation goes by running statistics, which training moves by `momentum`.
    """

    dims = (2, 3)
    picture = "(C, L) or (N, C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each sample to mean 0 and variance 1.   (N, C, H, W) or (C, H, W); else as InstanceNorm1d"""

    dims = (3, 4)
    picture = "(C, H, W) or (N, C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """Each channel of each sample to mean 0 and variance 1.   (N, C, D, H, W) or unbatched; else as InstanceNorm1d"""

    dims = (4, 5)
    picture = "(C, D, H, W) or (N, C, D, H, W)"


class LayerNorm(Module):
    """The trailing dimensions `normalized_shape` of each sample to mean 0 and variance 1, then weight and bias."""

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        _affine(self, self.normalized_shape, elementwise_affine, elementwise_affine and bias, device, dtype)

    def reset_parameters(self) -> None:
        """Weight to 1 and bias to 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """The trailing dimensions `normalized_shape` over their root mean square, times weight; eps None: the dtype's."""

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        weight = Parameter(T.ones(self.normalized_shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)

    def reset_parameters(self) -> None:
        """Weight to 1."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Each of `num_groups` groups of channels of each sample to mean 0 and variance 1.   (N, C, ...)"""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels must be divisible by num_groups: {num_channels} by {num_groups}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        _affine(self, (num_channels,), affine, affine and bias, device, dtype)

    def reset_parameters(self) -> None:
        """Weight to 1 and bias to 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


def _shape(normalized_shape: int | list[int] | tuple[int, ...]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


class _LocalResponseNorm(FunctionModule):
    size: int

    def extra_repr(self) -> str:
        return super().extra_repr().removeprefix("size=")


LocalResponseNorm = module_of("LocalResponseNorm", F.local_response_norm, __name__, _LocalResponseNorm)
