"""Jacobians, Hessians and their products with vectors on the tape, as torch.autograd.functional.

Inputs and outputs are a tensor or a tuple of tensors, and so are the results. create_graph: the results can be
differentiated further. strict: an output that does not depend on an input is an error instead of zeros.
"""

from collections.abc import Callable
from typing import Any

from expkit.autograd.handle import ARRAYS, Handle, aval_of, wrap
from expkit.autograd.jacobians import jacfwd
from expkit.autograd.mode import enable_grad
from expkit.autograd.reverse import grad, numel
from expkit.errors import AutogradError, ShapeError

Func = Callable[..., Any]


def _tuple(value: Any, what: str) -> tuple[tuple[Any, ...], bool]:
    """(tensors, was it a tuple?)"""
    many = isinstance(value, tuple | list)
    found = tuple(value) if many else (value,)
    for i, x in enumerate(found):
        if not isinstance(x, Handle):
            raise TypeError(f"{what} must be a Tensor or a tuple of Tensors, element {i} is {type(x).__name__}")
    return found, many


def _zeros(x: Any) -> Any:
    return wrap(ARRAYS.zeros(aval_of(x.raw)))


def _entered(inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    """The inputs to be differentiated by: on the tape that they are on already, or on one of their own."""
    return tuple(x.clone() if create_graph and x.requires_grad else x.detach().requires_grad_() for x in inputs)


class _Call:
    """func at one point, with what it returned."""

    def __init__(self, func: Func, inputs: Any, create_graph: bool, strict: bool, what: str) -> None:
        given, self.many_in = _tuple(inputs, f"{what}: the inputs")
        self.create_graph, self.strict, self.what = create_graph, strict, what
        self.inputs = _entered(given, create_graph)
        self.outputs, self.many_out = _tuple(func(*self.inputs), f"{what}: the outputs of the function")
        for i, out in enumerate(self.outputs):
            if strict and not out.requires_grad:
                raise AutogradError(f"{what}: output {i} of the function does not depend on the inputs (strict=True)")

    def pulled(self, outputs: Any, seeds: Any, create_graph: bool) -> list[Any]:
        """The gradients of the inputs, zeros where there is none (strict: an error)."""
        live = [(o, s) for o, s in zip(outputs, seeds, strict=True) if o.requires_grad]
        if not live:
            found: Any = [None] * len(self.inputs)
        else:
            outs, gs = zip(*live, strict=True)
            found = grad(outs, self.inputs, gs, retain_graph=True, create_graph=create_graph, allow_unused=True)
        if self.strict:
            self._check(found)
        return [_zeros(x) if g is None else g for g, x in zip(found, self.inputs, strict=True)]

    def _check(self, found: Any) -> None:
        for i, g in enumerate(found):
            if g is None:
                raise AutogradError(f"{self.what}: no output depends on input {i} (strict=True)")
            if self.create_graph and not g.requires_grad:
                raise AutogradError(
                    f"{self.what}: the derivative by input {i} does not depend on the inputs (strict=True with "
                    "create_graph=True)"
                )

    def left(self, values: Any, many: bool) -> Any:
        """Results as the caller sees them."""
        seen = tuple(v if self.create_graph else v.detach() for v in values)
        return seen if many else seen[0]


def _vector(v: Any, like: tuple[Any, ...], what: str, of: str) -> tuple[Any, ...]:
    if v is None:
        if len(like) != 1 or numel(tuple(like[0].shape)) != 1:
            raise AutogradError(f"{what}: v may be left out only where {of} is one tensor of one element")
        return tuple(wrap(ARRAYS.ones(aval_of(x.raw))) for x in like)
    given, _ = _tuple(v, f"{what}: v")
    if len(given) != len(like):
        raise AutogradError(f"{what}: v has {len(given)} tensors, {of} {len(like)}")
    for g, x in zip(given, like, strict=True):
        if tuple(g.shape) != tuple(x.shape):
            raise ShapeError(f"{what}: v has shape {tuple(g.shape)} where {of} has {tuple(x.shape)}")
    return given


def vjp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(*inputs), v times the Jacobian): v in the shape of the outputs, the product in that of the inputs."""
    with enable_grad():
        call = _Call(func, inputs, create_graph, strict, "vjp")
        products = call.pulled(call.outputs, _vector(v, call.outputs, "vjp", "the output"), create_graph)
        return call.left(call.outputs, call.many_out), call.left(products, call.many_in)


def jvp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(*inputs), the Jacobian times v): v in the shape of the inputs, the product in that of the outputs.

    By reverse mode, twice: the gradient is linear in its seed, and its derivative by the seed is the product.
    func.jvp does it in one pass.
    """
    with enable_grad():
        call = _Call(func, inputs, create_graph, strict, "jvp")
        along = _vector(v, call.inputs, "jvp", "the input")
        seeds = tuple(_zeros(o).requires_grad_() for o in call.outputs)
        slopes = call.pulled(call.outputs, seeds, True)
        return call.left(call.outputs, call.many_out), call.left(_by(slopes, seeds, along, call), call.many_out)


def _by(slopes: list[Any], seeds: tuple[Any, ...], along: tuple[Any, ...], call: _Call) -> list[Any]:
    """d (slopes . along) / d seeds"""
    live = [(s, a) for s, a in zip(slopes, along, strict=True) if s.requires_grad]
    if not live:
        return [_zeros(s) for s in seeds]
    outs, gs = zip(*live, strict=True)
    found = grad(outs, seeds, gs, create_graph=call.create_graph, allow_unused=True)
    return [_zeros(s) if g is None else g for g, s in zip(found, seeds, strict=True)]


def jacobian(
    func: Func,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian: for each output and input a tensor of shape (*output.shape, *input.shape).

    A tensor, or tuples by output, by input, where these are tuples. vectorize: all rows in one vmap instead of one by
    one. strategy="forward-mode" (with vectorize=True) goes column by column.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(f"jacobian: strategy must be 'reverse-mode' or 'forward-mode', not {strategy!r}")
    if vectorize and strict:
        raise AutogradError("jacobian: strict=True and vectorize=True do not go together")
    if strategy == "forward-mode":
        return _forward(func, inputs, create_graph, vectorize)
    with enable_grad():
        call = _Call(func, inputs, create_graph, strict, "jacobian")
        if any(out.dtype.is_complex for out in call.outputs):
            raise AutogradError("jacobian: the outputs must be real. Use view_as_real, or vjp or jvp")
        rows = [_rows(call, out, vectorize) for out in call.outputs]
        made = tuple(call.left(row, call.many_in) for row in rows)
    return made if call.many_out else made[0]


def _rows(call: _Call, out: Any, vectorize: bool) -> list[Any]:
    """The derivatives of one output by all inputs."""
    n = numel(tuple(out.shape))
    units = out.detach().new_eye(n).reshape(n, *out.shape)
    if not out.requires_grad or not n:
        return [x.new_zeros(*out.shape, *x.shape) for x in call.inputs]
    if vectorize:
        found = grad(
            out, call.inputs, units, create_graph=call.create_graph, retain_graph=True, allow_unused=True,
            is_grads_batched=True,
        )  # fmt: skip
        stacked = [x.new_zeros(n, *x.shape) if g is None else g for g, x in zip(found, call.inputs, strict=True)]
    else:
        each = [call.pulled([out], [unit], call.create_graph) for unit in units.unbind(0)]
        stacked = [ARRAYS.tensor.cat([g.unsqueeze(0) for g in column], 0) for column in zip(*each, strict=True)]
    return [j.reshape(*out.shape, *x.shape) for j, x in zip(stacked, call.inputs, strict=True)]


def _forward(func: Func, inputs: Any, create_graph: bool, vectorize: bool) -> Any:
    if not vectorize:
        raise NotImplementedError("jacobian: strategy='forward-mode' needs vectorize=True")
    if create_graph:
        raise NotImplementedError("jacobian: create_graph=True needs strategy='reverse-mode'")
    given, many = _tuple(inputs, "jacobian: the inputs")
    return jacfwd(func, tuple(range(len(given))) if many else 0)(*(x.detach() for x in given))


def _scalar(func: Func, what: str) -> Func:
    """func, with an error where it does not return one number."""

    def checked(*inputs: Any) -> Any:
        (out, *others), _ = _tuple(func(*inputs), f"{what}: the outputs of the function")
        if others or numel(tuple(out.shape)) != 1:
            raise AutogradError(f"{what}: the function must return one tensor of one element")
        return out.squeeze()

    return checked


def hessian(
    func: Func,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a function with one number as result, as jacobian arranges them."""
    _, many = _tuple(inputs, "hessian: the inputs")
    scalar = _scalar(func, "hessian")

    def slope(*xs: Any) -> Any:
        if outer_jacobian_strategy == "forward-mode":
            xs = tuple(x.requires_grad_() for x in xs)
        found = jacobian(scalar, xs, create_graph=True, strict=strict)
        return found if many else found[0]

    return jacobian(slope, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)


def vhp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(*inputs), v times the Hessian), v in the shape of the inputs."""
    with enable_grad():
        call = _Call(_scalar(func, "vhp"), inputs, create_graph, strict, "vhp")
        along = _vector(v, call.inputs, "vhp", "the input")
        (out,) = call.outputs
        slopes = call.pulled([out], [None], True)
        return call.left([out], False), call.left(call.pulled(slopes, along, create_graph), call.many_in)


def hvp(func: Func, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(func(*inputs), the Hessian times v). The Hessian is symmetric: this is vhp."""
    return vhp(func, inputs, v, create_graph, strict)
