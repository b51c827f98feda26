"""@fused: a composite written once in plain tensor code, which runs as one generated kernel, and so do its gradients.

    @fused
    def softsign(input):
        return input / (1 + T.abs(input))

On large arrays a call is one operation on the tape: its value and its gradient are kernels, made of traces of the
function and of its backward pass. Small arrays, two-byte floats, GPUs, transforms and what no kernel has run the
function as it stands. Tensors come first among the arguments, then numbers; see `one_pass` for what they may not do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from inspect import signature
from typing import Any

from expkit.autograd.handle import Aval, Handle, wrap
from expkit.autograd.mode import MODE, enable_grad, no_grad, taken_apart
from expkit.autograd.primitive import Primitive
from expkit.autograd.reverse import grad
from expkit.autograd.tape import apply
from expkit.autograd.trace import trace
from expkit.tensor.generated.one_pass import LONG, long_pass
from expkit.tensor.precision import switched_off

OPERANDS = 4  # the most tensors that a composite takes


class Fused:
    """The function, and its kernels."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.plain = fn
        self.value = long_pass(self._value)
        self.slopes = [long_pass(partial(self._slope, i)) for i in range(OPERANDS)]
        self._names = tuple(signature(fn).parameters)
        update_wrapper(self, fn)

    def __call__(self, *args: Any, **kw: Any) -> Any:
        if MODE.autocast is not None:
            with switched_off():  # one operation, whatever it is made of
                return self(*args, **kw)
        if (MODE.special and taken_apart()) or not args or not isinstance(args[0], Handle) or args[0].raw.size < LONG:
            return self.plain(*args, **kw)
        count = sum(isinstance(a, Handle) for a in args)
        numbers = {**dict(zip(self._names[count:], args[count:], strict=False)), **kw}
        if any(isinstance(v, Handle) for v in kw.values()):
            return self.plain(*args, **kw)
        raws = tuple([a.raw for a in args[:count]])
        if not MODE.special and self.value.kernel(raws, numbers) is None:
            return self.plain(*args, **kw)
        return apply(fused_p, *args[:count], of=self, **numbers)

    def _value(self, *raws: Any, **kw: Any) -> Any:
        with no_grad():
            return self.plain(*map(wrap, raws), **kw).raw

    def _slope(self, i: int, g: Any, *raws: Any, **kw: Any) -> Any:
        return slope(self.plain, i, g, raws, kw)


def slope(fn: Callable[..., Any], i: int, g: Any, operands: Sequence[Any], kw: dict[str, Any]) -> Any:
    """The gradient of operand i of the plain function, by a backward pass through it: of raw values, or of Tensors."""
    boxed = any(isinstance(v, Handle) for v in (g, *operands))
    seed, *leaves = (v if isinstance(v, Handle) else wrap(v) for v in (g, *operands))
    with enable_grad():
        # a copy: other operands may have been made of this one, and only the direct path counts here
        leaves[i] = wrap(leaves[i].raw).requires_grad_() if leaves[i].node is None else leaves[i].clone()
        (out,) = grad(fn(*leaves, **kw), leaves[i], seed, create_graph=boxed, materialize_grads=True)
    return out if boxed else out.raw


def fused(fn: Callable[..., Any]) -> Fused:
    """See above."""
    return Fused(fn)


def _rule(i: int) -> Callable[..., Any]:
    return lambda g, _out, *operands, of, **kw: of.slopes[i](g, *operands, **kw)


def _shape(*avals: Aval, of: Fused, **kw: Any) -> Aval:
    made = trace(lambda *xs: of.plain(*xs, **kw), *map(wrap, avals)).outputs[0]
    return Aval(made.shape, made.dtype, made.device)


fused_p = Primitive(
    "fused",
    lambda *raws, of, **kw: of.value(*raws, **kw),
    _shape,
    [_rule(i) for i in range(OPERANDS)],
)
