"""What a Tensor has to do with gradients: whether it needs one, where it came from, `.grad`, hooks, `backward`."""

from collections.abc import Callable
from typing import Any, Self

from expkit.autograd import reverse
from expkit.autograd.callbacks import RETAIN
from expkit.autograd.handle import Handle
from expkit.autograd.hooks import RemovableHandle, hooks_of, put
from expkit.autograd.mode import MODE, open_trace
from expkit.autograd.node import Leaf, Pick
from expkit.autograd.views import refresh
from expkit.errors import AutogradError, DeviceError, ShapeError


class Differentiable(Handle):
    """The part of Tensor that the tape is seen through."""

    __slots__ = ()

    @property
    def requires_grad(self) -> bool:
        view = self.chain
        if view is not None and view.root.written > view.stamp:
            refresh(self)
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Makes it a leaf whose gradient is collected (or not)."""
        if not self.is_leaf:
            if requires_grad:
                return self
            raise AutogradError("you can only change requires_grad flags of leaf variables; use .detach()")
        if requires_grad and not (self.dtype.is_floating_point or self.dtype.is_complex):
            raise AutogradError(
                f"only Tensors of floating point and complex dtype can require gradients, this one is {self.dtype}"
            )
        if requires_grad and self.node is None:
            self.node = Leaf(self)
        elif not requires_grad:
            self.node = None
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        self.requires_grad  # noqa: B018  (brings a stale view up to date)
        return self.node is None or self.node.__class__ is Leaf

    @property
    def grad_fn(self) -> Any:
        """The node of the operation that made it; None for a leaf."""
        return None if self.is_leaf else self.node.node if self.node.__class__ is Pick else self.node

    @property
    def output_nr(self) -> int:
        """Which of its operation's outputs it is."""
        self.requires_grad  # noqa: B018
        return self.node.index if self.node.__class__ is Pick else 0

    @property
    def grad(self) -> Any:
        """The gradient collected by backward(), or None. Assigning needs the tensor's shape, dtype and device."""
        if MODE.special:
            trace = open_trace()
            if trace is not None and trace.owns_grad(self):
                trace.asked_grad(self)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            _require_fit(self, value)
        if MODE.special:
            trace = open_trace()
            if trace is not None and trace.owns_grad(self):
                trace.remember_grad(self)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def retains_grad(self) -> bool:
        """Whether retain_grad() was asked of a tensor that is no leaf."""
        hooks = None if self.is_leaf else self.node.hooks
        return hooks is not None and RETAIN in hooks

    def retain_grad(self) -> None:
        """Keeps the gradient of a tensor that is no leaf in `.grad`."""
        if not self.requires_grad:
            raise AutogradError("can't retain_grad on Tensor that has requires_grad=False")
        if self.node.__class__ is not Leaf:
            reverse.retain(self)

    def detach_(self) -> Self:
        """Cuts this tensor itself off from its history. AutogradError for a view."""
        if self.chain is not None and self.chain.tracked is not False:
            raise AutogradError("can't detach views in-place; use detach() instead")
        self.node = None
        return self

    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Adds the gradients of this tensor to `.grad` of the leaves."""
        reverse.backward(self, gradient, retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """hook(grad) is called when this tensor's gradient is known; what it returns, if anything, replaces it."""
        if not self.requires_grad:
            raise AutogradError("cannot register a hook on a tensor that doesn't require gradient")
        return put(hooks_of(self.node), hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """hook(tensor) is called after a leaf's .grad has been added to."""
        if self.node.__class__ is not Leaf:
            raise AutogradError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self.node.after is None:
            self.node.after = {}
        return put(self.node.after, hook)


def _require_fit(tensor: Any, grad: Any) -> None:
    """An error where `grad` cannot be the gradient of `tensor`."""
    if not isinstance(grad, Handle):
        raise TypeError(f"assigned grad must be a Tensor or None, not {type(grad).__name__}")
    if grad is tensor:
        raise AutogradError("a tensor cannot be assigned as its own grad")
    if tuple(grad.raw.shape) != tuple(tensor.raw.shape):
        raise ShapeError(
            f"assigned grad has shape {list(grad.raw.shape)}, the tensor {list(tensor.raw.shape)}: they must be equal"
        )
    if grad.raw.dtype != tensor.raw.dtype:
        raise AutogradError(f"assigned grad has dtype {grad.dtype}, the tensor {tensor.dtype}: they must be equal")
    if grad.device != tensor.device:
        raise DeviceError(f"assigned grad is on {grad.device}, the tensor on {tensor.device}")
