"""Operators by name in both libraries, their samples, and which results are unique."""

import warnings
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo import core

import expkit as ek
from tests.conformance.convert import call_to_ek, leaves, replaced, smooth

FILLS = ("uniform", "exponential", "cauchy", "log_normal", "geometric")  # the in-place methods without their underscore
DROPPING = "rrelu dropout dropout2d dropout3d alpha_dropout feature_alpha_dropout".split()  # noqa: SIM905
DROPS = [f"nn.functional.{n}" for n in DROPPING]
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


def at_places(s: "Sample", result: Any) -> Any:
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
    ("zero_", ""): lambda fn: lambda x: fn(x.clone()),
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
        found = _method(name)
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
        dropped = self.kw.get("dropout_p", 0.0)
        if op.name == "nn.functional.multi_head_attention_forward" and self.kw["training"]:
            dropped = self.args[10]
        self.random = drawn or op.name in RANDOM or float(dropped) > 0

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
        return call_to_ek(self.args, self.kw)

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

        return f, [every[i].detach().requires_grad_() for i in places]

    def smooth_places(self) -> list[int]:
        return [i for i, x in enumerate(leaves([self.args, self.kw], torch.Tensor)) if smooth(x) and x.requires_grad]


core.extract_test_fn = lambda: None  # no unittest is around: looking for one takes longer than the test

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
