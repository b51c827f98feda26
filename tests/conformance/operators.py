"""Checks of one operator of PyTorch's database (an OpInfo) in one dtype."""

import warnings
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db

import expkit as ek
from tests.conformance.convert import (
    Unconvertible,
    attempt,
    compare,
    leaves,
    must_be_refused,
    options_to_ek,
    replaced,
    smooth,
    tensor_to_ek,
    tensor_to_torch,
    to_ek,
)

FILLS = ("uniform", "exponential", "cauchy", "log_normal", "geometric")  # the in-place methods without their underscore
DROPS = [f"nn.functional.{n}" for n in ("rrelu", "dropout", "dropout2d", "dropout3d", "alpha_dropout")]
RANDOM = {
    "bernoulli", "multinomial", "normal", "randn", "randn_like", "rand_like", "randint", "randint_like", "empty",
    "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", *FILLS, *DROPS,
}  # fmt: skip
METHODS = set("T item to float long bool new_zeros expand expand_as contiguous view unfold repeat".split())  # noqa: SIM905


def _same(x: Any) -> Any:
    return x


def _svd(r: Any) -> tuple[Any, Any]:
    k = r[1].shape[-1]
    return r[0][..., :k] @ r[2][..., :k].conj().mT, r[1]


GAUGE: dict[str, Callable[[Any], Any]] = {  # what is unique of a factorisation
    "linalg.eigh": lambda r: (r[0], abs(r[1])),
    "linalg.eig": lambda r: (r[0], abs(r[1])),
    **dict.fromkeys(("svd", "svd_lowrank", "pca_lowrank"), _svd),
    "linalg.svd": lambda r: (r[0][..., : r[1].shape[-1]] @ r[2][..., : r[1].shape[-1], :], r[1]),
}


RANKED = {"sort": 1, "argsort": 1, "mode": 1, "median": 1, "nanmedian": 1, "topk": 2, "kthvalue": 2}  # where dim stands


def _at_places(s: "Sample", result: Any) -> Any:
    """The result with the elements at its indices in their place: which of equal ones is named is nobody's promise."""
    if s.op.name not in RANKED or (s.op.name != "argsort" and not isinstance(result, tuple)):
        return result
    x = s.args[0] if leaves(result, torch.Tensor) else s.ours()[0][0]
    index = result if s.op.name == "argsort" else result[1]
    at = RANKED[s.op.name]
    dim = s.args[at] if len(s.args) > at else s.kw.get("dim", -1)
    if not isinstance(dim, bool) and x.ndim:
        index = index if index.ndim == x.ndim else index.unsqueeze(dim)
        found = x.take_along_dim(index, dim)
        return found if s.op.name == "argsort" else (result[0], found)
    return result


@cache
def operators() -> dict[str, list[Any]]:
    """The database by name: an operator may have several variants."""
    found: dict[str, list[Any]] = {}
    for op in op_db:
        found.setdefault(op.name, []).append(op)
        for alias in op.aliases:
            found.setdefault(alias.name, [])
    return found


ORDER: dict[tuple[str, str], Callable[[Callable[..., Any]], Callable[..., Any]]] = {  # where the samples' order differs
    **{(name, "any"): lambda fn: lambda x, n: fn(n, x) for name in ("polygamma", "special.polygamma")},
    ("where", ""): lambda fn: lambda x, condition, *rest, **kw: fn(condition, x, *rest, **kw),
    ("einsum", ""): lambda fn: lambda tensors, equation: fn(equation, tensors),
    ("normal", "number_mean"): lambda fn: lambda std, mean, *rest, **kw: fn(mean, std, *rest, **kw),
    ("linalg.pinv", "singular"): lambda fn: lambda a, b: fn(a @ b.mT),
    ("linalg.lstsq", "grad_oriented"): lambda fn: lambda a, b, driver: fn(a, b, driver=driver)[:2],
    ("svd_lowrank", ""): lambda fn: lambda a, b, **kw: fn(a @ b.mT, **kw),
    ("pca_lowrank", ""): lambda fn: lambda a, b, **kw: fn(a @ b.mT, **kw),
    **{(f"nn.functional.embedding{k}", ""): lambda fn: lambda x, index, **kw: fn(index, x, **kw) for k in ("", "_bag")},
}


def _method(name: str) -> Callable[..., Any]:
    if isinstance(getattr(ek.Tensor, name, None), property):
        return lambda x: getattr(x, name)
    return lambda x, *args, **kw: getattr(x, name)(*args, **kw)


def function_of(name: str, variant: str = "") -> Callable[..., Any]:
    """expkit's function (or method) of PyTorch's name."""
    if name == "normal" and variant == "in_place":
        return ek.Tensor.normal_
    if name in FILLS:
        return _method(f"{name}_")
    if name.startswith("__") or name in METHODS:
        return _method(name)
    found: Any = ek
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found) and hasattr(ek.Tensor, name):
        return _method(name)
    if found is None:
        raise NotImplementedError(f"there is no expkit.{name}")
    return ORDER.get((name, variant), ORDER.get((name, "any"), _same))(found)


class Sample:
    """One call in both libraries: torch's arguments, and the same as expkit's."""

    def __init__(self, op: Any, sample: Any) -> None:
        self.op, self.raw = op, sample
        self.args, self.kw = (sample.input, *sample.args), dict(sample.kwargs)
        self.gauge = GAUGE.get(op.name, _same)
        drawn = "fractional" in op.name and "_random_samples" not in self.kw
        self.random = drawn or op.name in RANDOM or float(self.kw.get("dropout_p", 0.0)) > 0

    @property
    def fn(self) -> Callable[..., Any]:
        return function_of(self.op.name, self.op.variant_test_name)

    def __repr__(self) -> str:
        def short(x: Any) -> str:
            if isinstance(x, torch.Tensor):
                return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
            if isinstance(x, list | tuple):
                return f"[{', '.join(map(short, x))}]"
            return repr(x)

        parts = [short(a) for a in self.args] + [f"{k}={short(v)}" for k, v in self.kw.items()]
        return f"({', '.join(parts)})"

    def theirs(self, args: Any = None, kw: Any = None) -> Any:
        args, kw = (self.args, self.kw) if args is None else (args, kw)
        return self.gauge(self.op.op(*args, **kw))

    def ours(self) -> tuple[Any, Any]:
        return to_ek(self.args), options_to_ek(self.kw)

    def over(self, kind: type, places: list[int]) -> tuple[Callable[..., Any], list[Any]]:
        """(f, xs): the call as a function of some of its tensors, returning the smooth results as a list."""
        args, kw = (self.args, self.kw) if kind is torch.Tensor else self.ours()
        call = self.op.op if kind is torch.Tensor else self.fn
        every = leaves([args, kw], kind)

        def f(*xs: Any) -> list[Any]:
            values = list(every)
            for i, x in zip(places, xs, strict=True):
                values[i] = x
            new_args, new_kw = replaced([args, kw], kind, iter(values))
            return [y for y in leaves(self.gauge(call(*new_args, **new_kw)), kind) if smooth(y)]

        return f, [every[i] for i in places]

    def smooth_places(self) -> list[int]:
        return [i for i, x in enumerate(leaves([self.args, self.kw], torch.Tensor)) if smooth(x) and x.requires_grad]


_BY_ID = {id(op): op for op in op_db}  # an OpInfo cannot be a key itself


@lru_cache(maxsize=4)
def _all_samples(key: int, dtype: torch.dtype, grad: bool, reference: bool) -> list[Any]:
    op = _BY_ID[key]
    make = op.reference_inputs if reference else op.sample_inputs
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(make("cpu", dtype, requires_grad=grad))


def samples(
    op: Any, dtype: torch.dtype, *, grad: bool = False, reference: bool = False, limit: int = 0
) -> list[Sample]:
    """At most `limit` samples (0: all), evenly spread."""
    found = _all_samples(id(op), dtype, grad, reference)
    step = max(1, -(-len(found) // limit)) if limit else 1
    return [Sample(op, s) for s in found[::step]]


def cotangents(ys: list[Any]) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    return [torch.randn(y.shape, generator=rng, dtype=y.dtype) for y in ys]


# ---- checks: each raises AssertionError, or returns False where PyTorch has nothing to compare with ------------------


def check_value(s: Sample) -> bool:
    expected, refused = attempt(s.theirs)
    args, kw = s.ours()
    if refused is not None:
        return False
    compare(_at_places(s, s.gauge(s.fn(*args, **kw))), _at_places(s, expected), values=not s.random)
    return True


def check_method(s: Sample) -> bool:
    """The Tensor method of the name, where PyTorch has it."""
    if s.op.method_variant is None or not isinstance(s.args[0], torch.Tensor) or s.op.name in METHODS:
        return False
    expected, refused = attempt(lambda: s.gauge(s.op.method_variant(*s.args, **s.kw)))
    args, kw = s.ours()
    if refused is not None:
        return False
    got = s.gauge(getattr(args[0], s.op.method_variant.__name__)(*args[1:], **kw))
    compare(_at_places(s, got), _at_places(s, expected), values=not s.random)
    return True


def check_inplace(s: Sample) -> bool:
    variant = s.op.inplace_variant
    if variant is None or not isinstance(s.args[0], torch.Tensor) or not variant.__name__.isidentifier():
        return False
    args, kw = s.ours()
    mine = args[0].clone()
    expected, refused = attempt(lambda: variant(s.args[0].clone(), *s.args[1:], **s.kw))
    if refused is not None:
        return False
    got = getattr(mine, variant.__name__)(*args[1:], **kw)
    assert got is mine, "an in-place method returned something else"
    compare(got, expected, values=not s.random)
    return True


def check_grad(s: Sample) -> bool:
    return _gradients(s, order=1)


def check_grad2(s: Sample) -> bool:
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
        values = [_batch(x, ek)[k] if m else x for x, m in zip(xs, mapped, strict=True)]
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
