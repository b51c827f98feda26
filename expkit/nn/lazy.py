"""Lazy modules: layers that learn the size of their input from the first one that they see.

Until then their parameters have no shape (`UninitializedParameter`). The first call, or a state dict that is loaded,
gives them one, and the module becomes an ordinary one of the class `becomes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from expkit.errors import ShapeError
from expkit.nn import conv, linear, norm
from expkit.nn.module import Module
from expkit.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from expkit.tensor import Tensor, int64, tensor


class LazyModuleMixin(Module):
    """What lazy modules add to their class; `initialize_parameters(*inputs)` gives the parameters their shapes."""

    becomes: ClassVar[type[Module] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy_hooks = (
            self.register_forward_pre_hook(_infer, with_kwargs=True),
            self.register_load_state_dict_pre_hook(_take_shapes),
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialize the parameters for these inputs; a subclass writes it."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer of this module has no shape yet."""
        return any(is_lazy(v) for v in (*self._parameters.values(), *self._buffers.values()))


def _infer(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Before the first forward: shapes from its inputs; then the module is no longer lazy."""
    module.initialize_parameters(*args, **kwargs)
    if module.has_uninitialized_params():
        raise RuntimeError(f"{type(module).__name__}: initialize_parameters left a parameter without a shape")
    for hook in module.__dict__.pop("_lazy_hooks"):
        hook.remove()
    if module.becomes is not None:
        module.__class__ = module.becomes


def _take_shapes(module: Any, given: Any, prefix: str, *_: Any) -> None:
    """Before a state dict is loaded: shapes from its tensors."""
    for name, target in (*module._parameters.items(), *module._buffers.items()):
        value = given.get(prefix + name)
        if is_lazy(target) and isinstance(value, Tensor) and not is_lazy(value):
            target.materialize(tuple(value.shape))


def _forget(module: Any, names: tuple[str, ...], device: Any, dtype: Any) -> None:
    """Uninitialized parameters and buffers in place of those that there are."""
    options = {"device": device, "dtype": dtype}
    for name in names:
        if module._parameters.get(name) is not None:
            module._parameters[name] = UninitializedParameter(**options)
        elif module._buffers.get(name) is not None:
            module._buffers[name] = UninitializedBuffer(**options)


def _materialized(module: Any, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        value = getattr(module, name)
        if is_lazy(value):
            value.materialize(shape)


# ---- linear ----------------------------------------------------------------------------------------------------------


class LazyLinear(LazyModuleMixin, linear.Linear):
    """`Linear` that takes in_features from its first input's last dimension."""

    becomes = linear.Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, bias, device, dtype)
        self.out_features = out_features
        _forget(self, ("weight", "bias"), device, dtype)

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, where they have a shape."""
        if not self.has_uninitialized_params() and self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        if self.has_uninitialized_params():
            self.in_features = input.shape[-1]
            shape = (self.out_features, self.in_features)
            _materialized(self, {"weight": shape, **({} if self.bias is None else {"bias": shape[:1]})})
            self.reset_parameters()
        elif not self.in_features:  # the weights came from a state dict
            self.in_features = self.weight.shape[-1]


# ---- convolutions ----------------------------------------------------------------------------------------------------


class _LazyConv(LazyModuleMixin, conv.ConvNd):
    """Takes in_channels from the first input."""

    def __init__(self, out_channels: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(0, 0, kernel_size, *args, **kwargs)
        self.out_channels = out_channels
        self._check()
        options = self.weight.device, self.weight.dtype
        _forget(self, ("weight", "bias"), *options)

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, where they have a shape."""
        if not self.has_uninitialized_params() and self.in_channels:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor, *_: Any, **__: Any) -> None:
        fresh = self.has_uninitialized_params()
        if not fresh and self.in_channels:
            return
        if input.ndim not in (self.spatial + 1, self.spatial + 2):
            raise ShapeError(
                f"{self._get_name()}: expected {self.spatial + 1} (unbatched) or {self.spatial + 2} (batched) "
                f"dimensions, got an input of shape {tuple(input.shape)}"
            )
        self.in_channels = input.shape[-self.spatial - 1]
        self._check()
        if fresh:
            bias = {} if self.bias is None else {"bias": (self.out_channels,)}
            _materialized(self, {"weight": self._weight_shape(), **bias})
            self.reset_parameters()


class _LazyNorm(LazyModuleMixin, norm.RunningNorm):
    """Takes num_features from the first input. As in PyTorch, weights and statistics are there by default."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        _forget(self, ("weight", "bias", "running_mean", "running_var"), device, dtype)
        if track_running_stats:
            self.num_batches_tracked = tensor(0, dtype=int64, device=device)

    def reset_parameters(self) -> None:
        """Forget the statistics, weight to 1 and bias to 0, where they have a shape."""
        if not self.has_uninitialized_params() and self.num_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        fresh = self.has_uninitialized_params()
        if fresh or not self.num_features:
            self.num_features = input.shape[self.channel_axis(input)]
        if fresh:
            names = ("weight", "bias", "running_mean", "running_var")
            shapes = {name: (self.num_features,) for name in names if getattr(self, name) is not None}
            _materialized(self, shapes)
            self.reset_parameters()


def _lazy(base: type[Module], kind: type[LazyModuleMixin]) -> Any:
    body = {"becomes": base, "__doc__": f"`{base.__name__}` without its first argument. {kind.__doc__}"}
    return type(f"Lazy{base.__name__}", (kind, base), {**body, "__module__": __name__})


LazyConv1d, LazyConv2d, LazyConv3d = (_lazy(c, _LazyConv) for c in (conv.Conv1d, conv.Conv2d, conv.Conv3d))
LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d = (
    _lazy(c, _LazyConv) for c in (conv.ConvTranspose1d, conv.ConvTranspose2d, conv.ConvTranspose3d)
)
LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d = (
    _lazy(c, _LazyNorm) for c in (norm.BatchNorm1d, norm.BatchNorm2d, norm.BatchNorm3d)
)
LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d = (
    _lazy(c, _LazyNorm) for c in (norm.InstanceNorm1d, norm.InstanceNorm2d, norm.InstanceNorm3d)
)
