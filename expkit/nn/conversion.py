"""The part of Module that moves its parameters and buffers to other devices, dtypes and memory formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

from expkit.autograd import no_grad
from expkit.nn.parameter import is_lazy
from expkit.tensor import Tensor, bfloat16, empty_like, float16, float32, float64
from expkit.tensor import dtype as Dtype


class Converting:
    """Base of Module alone."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Tensor | None]
    modules: Callable[..., Iterator[Any]]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the values of parameters, their gradients and buffers by `fn` of them; Parameters keep identity."""
        with no_grad():
            replaced: dict[int, Tensor] = {}  # a buffer shared by two modules stays shared
            seen: set[int] = set()
            for module in self.modules() if recurse else (self,):
                for param in module._parameters.values():
                    if param is not None and id(param) not in seen:
                        seen.add(id(param))
                        param.data = fn(param.data)
                        if param.grad is not None:
                            param.grad = fn(param.grad)
                for name, buffer in module._buffers.items():
                    if buffer is not None:
                        if id(buffer) not in replaced:
                            replaced[id(buffer)] = _converted(buffer, fn)
                        module._buffers[name] = replaced[id(buffer)]
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """`to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)`; a dtype converts floating-point state only.

        memory_format=expkit.channels_last: the parameters and buffers with four dimensions in that format.
        """
        layout = kwargs.pop("memory_format", None)
        where, kind = _parse_to(*args, **kwargs)
        if kind is not None and not (kind.is_floating_point or kind.is_complex):
            raise TypeError(f"Module.to only accepts floating point or complex dtypes, but got desired dtype={kind}")
        return self._apply(
            lambda t: t.to(
                device=where or t.device,
                dtype=kind if kind and (t.is_floating_point() or t.is_complex()) else t.dtype,
                memory_format=layout if layout and t.ndim == len(layout.order) else None,
            )
        )

    def to_empty(self, *, device: Any = None, recurse: bool = True) -> Self:
        """Parameters and buffers on a device, with arbitrary values."""
        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def type(self, dst_type: Dtype) -> Self:
        """All parameters and buffers as `dst_type`."""
        return self._apply(lambda t: t.to(dst_type))

    def _floats(self, kind: Dtype) -> Self:
        return self._apply(lambda t: t.to(kind) if t.is_floating_point() else t)

    def float(self) -> Self:
        """Floating-point parameters and buffers as float32."""
        return self._floats(float32)

    def double(self) -> Self:
        """Floating-point parameters and buffers as float64."""
        return self._floats(float64)

    def half(self) -> Self:
        """Floating-point parameters and buffers as float16."""
        return self._floats(float16)

    def bfloat16(self) -> Self:
        """Floating-point parameters and buffers as bfloat16."""
        return self._floats(bfloat16)

    def cpu(self) -> Self:
        """Parameters and buffers on the CPU."""
        return self.to("cpu")

    def cuda(self, device: int | str | None = None) -> Self:
        """Parameters and buffers on a GPU (the current one, or the one given by number or name)."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device or "cuda")


def _converted(buffer: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """fn(buffer); an uninitialized buffer stays one."""
    if not is_lazy(buffer):
        return fn(buffer)
    buffer.data = fn(buffer.data)
    return buffer


def _parse_to(
    target: Any = None,
    dtype_: Dtype | None = None,
    non_blocking: bool = False,
    *,
    device: Any = None,
    dtype: Any = None,
) -> tuple[Any, Any]:
    """The (device, dtype) that the arguments of `to` mean; None where one is not given."""
    if isinstance(target, Tensor):
        return target.device, target.dtype
    if isinstance(target, Dtype):
        return device, target
    return (device if target is None else target), (dtype if dtype_ is None else dtype_)
