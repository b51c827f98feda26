"""Checks of one operator of PyTorch's database (an OpInfo) in one dtype."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

import expkit as ek
from tests.conformance.convert import (
    Unconvertible,
    attempt,
    compare,
    leaves,
    must_be_refused,
    replaced,
    smooth,
    tensor_to_ek,
    tensor_to_torch,
)
from tests.conformance.forms import METHODS, Sample, at_places, operators, samples


def cotangents(ys: list[Any]) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return [torch.randn(y.shape, generator=rng, dtype=y.dtype) for y in ys]


# ---- checks: each raises AssertionError, or returns False where PyTorch has nothing to compare with ------------------


def check_value(s: Sample) -> bool:
    expected, refused = attempt(s.theirs)
    args, kw = s.ours()
    if refused is not None:
        return False
    compare(at_places(s, s.gauge(s.fn(*args, **kw))), at_places(s, expected), values=not s.random)
    return True


def check_method(s: Sample) -> bool:
    """The Tensor method of the name, where PyTorch has it."""
    variant = s.op.method_variant
    if variant is None or not isinstance(s.args[0], torch.Tensor) or s.op.name in METHODS:
        return False
    name = variant.__name__ if variant.__name__.isidentifier() else s.op.name  # the database seeds some in a lambda
    expected, refused = attempt(lambda: s.gauge(variant(*s.args, **s.kw)))
    args, kw = s.ours()
    if refused is not None:
        return False
    got = s.gauge(getattr(args[0], name)(*args[1:], **kw))
    compare(at_places(s, got), at_places(s, expected), values=not s.random)
    return True


def check_inplace(s: Sample) -> bool:
    variant = s.op.inplace_variant
    name = getattr(variant, "__name__", "<partial>")  # of a function with inplace=True, say: no method's
    if variant is None or not isinstance(s.args[0], torch.Tensor) or not name.isidentifier():
        return False
    args, kw = s.ours()
    mine = args[0].clone()
    expected, refused = attempt(lambda: variant(s.args[0].clone(), *s.args[1:], **s.kw))
    if refused is not None:
        return False
    got = getattr(mine, name)(*args[1:], **kw)
    assert got is mine, "an in-place method returned something else"
    compare(got, expected, values=not s.random)
    return True


def check_grad(s: Sample) -> bool:
    return _gradients(s, order=1)


def check_grad2(s: Sample) -> bool:
    if s.kw.get("options") is not None:  # linear_cross_entropy in chunks: PyTorch has none of its own
        return False
    return s.op.supports_gradgrad and _gradients(s, order=2)


def _gradients(s: Sample, order: int) -> bool:
    places = s.smooth_places()
    if s.random or not places or not s.op.supports_autograd:
        return False
    f, xs = s.over(torch.Tensor, places)
    expected, refused = attempt(lambda: weighted_slopes(torch, f, xs, order))
    if refused is not None or expected is None:
        return False
    g, mine = s.over(ek.Tensor, places)
    got = weighted_slopes(ek, g, mine, order)
    assert got is not None, "no result that depends on the inputs"
    for a, b in zip(got, expected, strict=True):  # no gradient and zeros are the same
        if b is None and a is not None:
            b = torch.zeros(tuple(a.shape), dtype=_torch_dtype(a))
        elif a is None and b is not None:
            a = tensor_to_ek(torch.zeros_like(b))
        compare(a, b, scale=10.0 if order == 2 else 1.0)
    return True


def weighted_slopes(library: Any, f: Callable[..., Any], xs: list[Any], order: int) -> list[Any] | None:
    """Gradients of the results with fixed weights; of the second order: of those, in the inputs and the weights."""
    ys = [y for y in f(*xs) if y.requires_grad]
    if not ys or order == 1:
        return _weighted(library, ys, xs, _weights(library, ys))
    weights = [w.requires_grad_() for w in _weights(library, ys)]
    first = _weighted(library, ys, xs, weights, create_graph=True) or []
    ys = [g for g in first if g is not None and g.requires_grad]
    return _weighted(library, ys, [*xs, *weights], _weights(library, ys))


def _weights(library: Any, ys: list[Any]) -> list[Any]:
    like = [torch.empty(tuple(y.shape), dtype=_torch_dtype(y)) for y in ys]
    return cotangents(like) if library is torch else list(map(tensor_to_ek, cotangents(like)))


def _weighted(library: Any, ys: list[Any], xs: list[Any], weights: list[Any], **options: Any) -> list[Any] | None:
    return list(library.autograd.grad(ys, xs, weights, allow_unused=True, **options)) if ys else None


def _torch_dtype(y: Any) -> torch.dtype:
    return y.dtype if isinstance(y, torch.Tensor) else getattr(torch, str(y.dtype).rpartition(".")[2])


def check_jvp(s: Sample) -> bool:
    places = s.smooth_places()
    if s.random or not places or not s.op.supports_forward_ad:
        return False
    f, xs = s.over(torch.Tensor, places)
    xs = [x.detach() for x in xs]
    directions = cotangents(xs)
    expected, refused = attempt(lambda: torch.func.jvp(lambda *v: tuple(f(*v)), tuple(xs), tuple(directions)))
    if refused is not None:
        return False
    g, mine = s.over(ek.Tensor, places)
    mine = [x.detach() for x in mine]
    got = ek.func.jvp(lambda *v: tuple(g(*v)), tuple(mine), tuple(map(tensor_to_ek, directions)))
    compare(got[0], expected[0])
    compare(got[1], expected[1])
    return True


def check_vmap(s: Sample) -> bool:
    """vmap over all tensors, over each alone, against a loop; only where PyTorch's vmap can do it."""
    every = leaves([s.args, s.kw], torch.Tensor)
    if s.random or not every or s.op.name in ("item", "__getitem__"):
        return False
    args, kw = s.ours()
    mine = leaves([args, kw], ek.Tensor)
    compared = False
    for mapped in {(True,) * len(mine), *(tuple(i == k for i in range(len(mine))) for k in range(len(mine)))}:
        theirs = _run_vmap(torch, s.op.op, s, [s.args, s.kw], torch.Tensor, [x.detach() for x in every], mapped)
        if attempt(theirs)[1] is not None:
            continue
        got = _run_vmap(ek, s.fn, s, [args, kw], ek.Tensor, [x.detach() for x in mine], mapped)()
        loop = _loop(s, [args, kw], [x.detach() for x in mine], mapped)
        for y, parts in zip(got, zip(*loop, strict=True), strict=True):
            for k, part in enumerate(parts):
                compare(y[k], tensor_to_torch(part))
        compared = True
    return compared


def _batch(x: Any, library: Any) -> Any:
    return library.stack([x, x * 0.9 if smooth(x) else x])


def _run_vmap(
    library: Any, call: Any, s: Sample, tree: Any, kind: type, xs: list[Any], mapped: tuple[bool, ...]
) -> Callable[[], Any]:
    def f(*values: Any) -> tuple[Any, ...]:
        args, kw = replaced(tree, kind, iter(values))
        return tuple(leaves(s.gauge(call(*args, **kw)), kind))

    values = [_batch(x, library) if m else x for x, m in zip(xs, mapped, strict=True)]
    return lambda: library.vmap(f, in_dims=tuple(0 if m else None for m in mapped))(*values)


def _loop(s: Sample, tree: Any, xs: list[Any], mapped: tuple[bool, ...]) -> Iterator[list[Any]]:
    for k in range(2):
        values = [_batch(x, ek)[k].clone() if m else x for x, m in zip(xs, mapped, strict=True)]
        args, kw = replaced(tree, ek.Tensor, iter(values))
        yield leaves(s.gauge(s.fn(*args, **kw)), ek.Tensor)


CHECKS: dict[str, Callable[[Sample], bool]] = {
    "value": check_value, "method": check_method, "inplace": check_inplace, "grad": check_grad,
    "grad2": check_grad2, "jvp": check_jvp, "vmap": check_vmap,
}  # fmt: skip
NEEDS_GRAD = {"grad", "grad2", "jvp"}


def check_refusal(op: Any, error_input: Any) -> None:
    """A wrong call is refused with one of the errors that users can expect."""
    s = Sample(op, error_input.sample_input)
    args, kw = s.ours()
    if attempt(s.theirs)[1] is not None:  # else PyTorch takes it after all
        must_be_refused(*attempt(lambda: s.fn(*args, **kw)))


def run(
    name: str, check: str, dtype: torch.dtype, limit: int = 0, reference: bool = False
) -> Iterator[tuple[str, str]]:
    """("pass" | "fail" | "skip", what) for every sample of every variant of an operator."""
    for op in operators()[name]:
        if check == "error":
            yield from _run_errors(op)
            continue
        if dtype not in op.dtypes:
            continue
        found, refused = attempt(lambda: samples(op, dtype, grad=check in NEEDS_GRAD, reference=reference, limit=limit))  # noqa: B023
        if refused is not None:
            yield "skip", f"no samples: {refused}"
            continue
        for s in found:
            yield outcome(lambda: CHECKS[check](s), f"{name}.{op.variant_test_name}{s!r}"[:300])  # noqa: B023


def _run_errors(op: Any) -> Iterator[tuple[str, str]]:
    if op.error_inputs_func is None:
        return
    for wrong in op.error_inputs("cpu"):
        if op.name.startswith("__") and not isinstance(wrong.sample_input.input, torch.Tensor):
            continue  # a method of something else
        what = f"{op.name}.{op.variant_test_name}{Sample(op, wrong.sample_input)!r}"[:300]
        yield outcome(lambda: check_refusal(op, wrong) is None, what)  # noqa: B023


def outcome(check: Callable[[], bool], what: str) -> tuple[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ("pass" if check() else "skip"), what
        except Unconvertible as reason:
            return "skip", f"{what}: {reason}"
        except Exception as error:  # whatever it is, it is a failure to report
            return "fail", f"{what}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
