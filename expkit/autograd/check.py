"""gradcheck and gradgradcheck: derivatives against differences, as torch.autograd.gradcheck."""

from collections.abc import Callable, Sequence
from typing import Any

from expkit.autograd.handle import ARRAYS, Handle, aval_of, wrap
from expkit.autograd.mode import no_grad
from expkit.autograd.reverse import grad
from expkit.autograd.transforms import jvp
from expkit.autograd.vmap import vmap
from expkit.errors import AutogradError


class GradcheckError(AutogradError):
    """A derivative is not what the differences say."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
) -> bool:
    """Whether the derivatives of func(*inputs) agree with central differences of width `eps`.

    inputs: tensors, of which those that require grad are checked; float64 or complex128, since differences of float32
    are too rough. Complex numbers are checked as pairs of real ones.
    fast_mode: one random projection instead of all elements. nondet_tol: how much two backward runs may differ.
    GradcheckError, or False where raise_exception=False.
    """
    check = _Check(func, inputs, eps, atol, rtol)
    try:
        if check_backward_ad:
            check.reverse(fast_mode, nondet_tol)
            if check_grad_dtypes:
                check.dtypes()
            if check_undefined_grad:
                check.undefined()
            if check_batched_grad:
                check.batched()
        if check_forward_ad:
            check.forward(fast_mode)
            if check_batched_forward_grad:
                check.batched_forward()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, gen_non_contig_grad_outputs: bool = False,
    check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True, **options: Any,
) -> bool:  # fmt: skip
    """gradcheck of the gradients of func by its inputs and by `grad_outputs` (random ones where None are given).

    gen_non_contig_grad_outputs: the random ones are not contiguous in memory. check_fwd_over_rev, check_rev_over_rev:
    the gradients are differentiated in forward, in reverse mode. The other options are gradcheck's.
    """
    ways = {"check_forward_ad": check_fwd_over_rev, "check_backward_ad": check_rev_over_rev}
    given = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
    if grad_outputs is None:
        outs = _outputs(func(*given))
        seeds = [_random(o, spread=gen_non_contig_grad_outputs) for o in outs]
    else:
        seeds = list(grad_outputs) if isinstance(grad_outputs, list | tuple) else [grad_outputs]
    for seed in seeds:
        if not isinstance(seed, Handle):
            raise TypeError(f"gradgradcheck: grad_outputs must be Tensors, not {type(seed).__name__}")
        seed.requires_grad_()
    count = len(given)
    places = [i for i, x in enumerate(given) if isinstance(x, Handle) and x.requires_grad]

    def derivative(*both: Any) -> tuple[Any, ...]:
        xs = both[:count]
        wanted = [xs[i].requires_grad_() for i in places]  # forward mode brings tensors without a history
        found = grad(_outputs(func(*xs)), wanted, list(both[count:]), create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(derivative, (*given, *seeds), **ways, **options)


def _outputs(out: Any) -> list[Any]:
    """The differentiable tensors among a function's results."""
    outs = out if isinstance(out, list | tuple) else [out]
    found = [o for o in outs if isinstance(o, Handle) and o.requires_grad]
    if not found:
        raise ValueError("gradcheck: no Tensor among the function's results requires grad")
    return found


def _random(like: Any, *, spread: bool = False) -> Any:
    """Random numbers in like's shape and dtype; `spread` out in memory."""
    shape = tuple(like.shape)
    if like.dtype.is_complex:
        return _random(like.real, spread=spread) + _random(like.real, spread=spread) * 1j
    if spread and shape:
        x = like.new_zeros(*shape[:-1], shape[-1] * 2).uniform_(0, 1)
        return x[..., ::2].detach()
    return like.detach().new_zeros(*shape).uniform_(0, 1)


def _flat(x: Any) -> Any:
    """The real numbers that x consists of, in one dimension."""
    if x.dtype.is_complex:
        return ARRAYS.tensor.cat([x.real.reshape(-1), x.imag.reshape(-1)], 0)
    return x.reshape(-1)


def _dot(x: Any, y: Any) -> Any:
    """The inner product of x and y as vectors of real numbers."""
    return (_flat(x) * _flat(y)).sum()


class _Check:
    """One function at one point."""

    def __init__(self, func: Callable[..., Any], inputs: Any, eps: float, atol: float, rtol: float) -> None:
        self.func = func
        self.inputs = tuple(inputs) if isinstance(inputs, list | tuple) else (inputs,)
        self.eps, self.atol, self.rtol = eps, atol, rtol
        self.wanted = [
            i for i, x in enumerate(self.inputs)
            if isinstance(x, Handle) and x.requires_grad
        ]  # fmt: skip
        if not self.wanted:
            raise ValueError("gradcheck expects at least one input tensor to require gradient, but none of them do")
        for i in self.wanted:
            if self.inputs[i].dtype.itemsize < (16 if self.inputs[i].dtype.is_complex else 8):
                raise ValueError(
                    f"gradcheck: input {i} is {self.inputs[i].dtype}, too rough for differences. Use .double()."
                )

    def outputs(self) -> list[Any]:
        return _outputs(self.func(*self.inputs))

    def values(self) -> list[Any]:
        """The outputs without history, of as many as have one."""
        out = self.func(*self.inputs)
        outs = out if isinstance(out, list | tuple) else [out]
        return [o.detach().clone() for o in outs if isinstance(o, Handle) and o.requires_grad]

    def slope(self, i: int, direction: Any) -> list[Any]:
        """The central difference of all outputs along a direction of input i."""
        x = self.inputs[i].detach()
        before = x.clone()
        found = []
        for sign in (1.0, -1.0):
            with no_grad():
                x.copy_(before + direction * (sign * self.eps))
            found.append(self.values())
        with no_grad():
            x.copy_(before)
        return [(a - b) / (2 * self.eps) for a, b in zip(*found, strict=True)]

    def gradients(self, outs: Sequence[Any], seeds: Sequence[Any]) -> list[Any]:
        """The gradients of all wanted inputs; zeros where there is none."""
        xs = [self.inputs[i] for i in self.wanted]
        return list(grad(list(outs), xs, list(seeds), retain_graph=True, allow_unused=True, materialize_grads=True))

    # ---- the checks --------------------------------------------------------------------------------------------------

    def reverse(self, fast: bool, nondet_tol: float) -> None:
        for o in range(len(self.outputs())):
            out = self.outputs()[o]  # anew: taking differences writes into the inputs
            if fast:
                seed = _random(out)
                analytic = self.gradients([out], [seed])
                for k, i in enumerate(self.wanted):
                    along = _random(self.inputs[i])
                    self.compare(_dot(analytic[k], along), _dot(self.slope(i, along)[o], seed), "", o, i)
                continue
            rows = [self.gradients([out], [seed]) for seed in _units(out)]
            again = [self.gradients([out], [seed]) for seed in _units(out)]
            for k, i in enumerate(self.wanted):
                analytic = _stack([_flat(row[k]) for row in rows], self.inputs[i])
                second = _stack([_flat(row[k]) for row in again], self.inputs[i])
                if _largest(analytic - second) > nondet_tol:
                    raise GradcheckError(
                        f"Backward is not reentrant: two runs for input {i} and output {o} differ by "
                        f"{_largest(analytic - second)}."
                    )
                self.compare(analytic, self.jacobian(i, o), "", o, i)

    def jacobian(self, i: int, o: int) -> Any:
        """(elements of output o, elements of input i), by differences."""
        columns = [_flat(self.slope(i, unit)[o]) for unit in _units(self.inputs[i])]
        return _stack(columns, self.outputs()[o]).transpose(0, 1)

    def pushed(self, i: int, along: Any) -> list[Any]:
        """The tangents of all differentiable outputs along a direction of input i."""

        def one(x: Any) -> Any:
            out = self.func(*self.inputs[:i], x, *self.inputs[i + 1 :])
            outs = out if isinstance(out, list | tuple) else [out]
            return tuple(o for o in outs if isinstance(o, Handle) and (o.dtype.is_floating_point or o.dtype.is_complex))

        return [t.detach() for t in jvp(one, (self.inputs[i],), (along,))[1]]

    def forward(self, fast: bool) -> None:
        for i in self.wanted:
            for along in [_random(self.inputs[i])] if fast else _units(self.inputs[i]):
                for o, (t, numeric) in enumerate(zip(self.pushed(i, along), self.slope(i, along), strict=False)):
                    self.compare(t, numeric, " in forward mode", o, i)

    def batched_forward(self) -> None:
        """vmap of forward mode is the tangent of each."""
        for i in self.wanted:
            along = _stacked([_random(self.inputs[i]) for _ in range(2)])
            together = vmap(lambda t, i=i: tuple(self.pushed(i, t)))(along)
            for n in range(2):
                for o, (a, b) in enumerate(zip(together, self.pushed(i, along[n]), strict=True)):
                    self.compare(a[n], b, " in forward mode under vmap", o, i)

    def dtypes(self) -> None:
        outs = self.outputs()
        for i, g in zip(self.wanted, self.gradients(outs, [_random(o) for o in outs]), strict=True):
            if g.dtype is not self.inputs[i].dtype:
                raise GradcheckError(f"the gradient of input {i} is {g.dtype}, the input {self.inputs[i].dtype}")

    def undefined(self) -> None:
        """An output that nothing depends on counts as one with a gradient of zeros."""
        outs = self.outputs()
        if len(outs) < 2:
            return
        seeds = [_random(o) for o in outs]
        for skip in range(len(outs)):
            some = [k for k in range(len(outs)) if k != skip]
            zeroed = [wrap(ARRAYS.zeros(aval_of(s.raw))) if k == skip else s for k, s in enumerate(seeds)]
            without = self.gradients([outs[k] for k in some], [seeds[k] for k in some])
            for i, a, b in zip(self.wanted, without, self.gradients(outs, zeroed), strict=True):
                self.compare(a, b, " with an undefined gradient", skip, i)

    def batched(self) -> None:
        """vmap of the gradient is the gradient of each."""
        outs = self.outputs()
        for o, out in enumerate(outs):
            seeds = _stacked([_random(out) for _ in range(2)])
            together = vmap(lambda seed, out=out: tuple(self.gradients([out], [seed])))(seeds)
            for n in range(2):
                for i, a, b in zip(self.wanted, together, self.gradients([out], [seeds[n]]), strict=True):
                    self.compare(a[n], b, " under vmap", o, i)

    def compare(self, analytic: Any, numeric: Any, how: str, o: int, i: int) -> None:
        analytic, numeric = analytic.detach(), numeric.detach()
        close = (analytic - numeric).abs() <= numeric.abs() * self.rtol + self.atol
        same = (analytic == numeric).logical_or((analytic != analytic).logical_and(numeric != numeric))
        if not close.logical_or(same).all().item():
            raise GradcheckError(
                f"Jacobian mismatch{how} for output {o} with respect to input {i},\n"
                f"numerical: {numeric}\nanalytical: {analytic}"
            )


def _units(x: Any) -> list[Any]:
    """The unit tensors of x's shape; for complex numbers, these and i times these."""
    n = x.numel()
    if not n:
        return []
    units = list(x.detach().new_eye(n).reshape(n, *x.shape).unbind(0))
    return units + [u * 1j for u in units] if x.dtype.is_complex else units


def _stack(rows: list[Any], inner: Any) -> Any:
    return _stacked(rows) if rows else _flat(inner.detach()).new_zeros(0, _flat(inner.detach()).numel())


def _stacked(rows: list[Any]) -> Any:
    return ARRAYS.tensor.cat([row.unsqueeze(0) for row in rows], 0)


def _largest(x: Any) -> float:
    return float(x.abs().max().item()) if x.numel() else 0.0
