"""Autocast: which functions run in lower precision, which in float32, while `ek.autocast` is on.

The lists are PyTorch's, one column for each kind of device. A listed function casts its floating-point tensors (float64
stays) and then runs as if autocast were off, so what it is made of is not cast again. With autocast off a public
function pays one look at `MODE.autocast`; Tensor's methods pay nothing until autocast is first switched on.
"""

import threading
from collections.abc import Callable, Mapping
from functools import wraps
from types import FunctionType
from typing import Any

import numpy as np

from expkit.autograd.handle import ARRAYS, Handle
from expkit.autograd.mode import MODE
from expkit.autograd.node import Leaf
from expkit.tensor import dtypes
from expkit.tensor.devices import device_of
from expkit.tensor.ops.convert import as_dtype

LOWER, FLOAT32, WIDEST, BANNED = "lower", "float32", "widest", "banned"
ONE = "one"  # not cast, nor what it is made of here
DEVICES = ("cpu", "cuda")


def _padding(_input: Any, _pad: Any = None, mode: str = "constant", *_rest: Any, **_kw: Any) -> str | None:
    return FLOAT32 if mode in ("reflect", "replicate") else None


def _einsum(equation: Any, *operands: Any, **_kw: Any) -> str:
    """A product of matrices where a letter of several operands is summed over."""
    inputs, arrow, output = equation.replace(" ", "").partition("->") if isinstance(equation, str) else ("", "", "")
    terms = [set(term) - {"."} for term in inputs.split(",")]
    shared = {c for i, term in enumerate(terms) for other in terms[:i] for c in term & other}
    return LOWER if (shared - set(output) if arrow else shared) else ONE


def _tensordot(a: Any, b: Any, dims: Any = 2, **_kw: Any) -> str:
    """A product of matrices, unless nothing but the contracted dimensions is there."""
    n = dims if isinstance(dims, int) else 0
    first, second = (range(-n, 0), range(n)) if n or isinstance(dims, int) else dims
    free = [
        size
        for x, taken in ((a, first), (b, second))
        for d, size in enumerate(x.shape)
        if d not in {t % x.ndim for t in taken}
    ]
    return LOWER if any(size != 1 for size in free) else ONE


_BOTH = {
    LOWER: """addbmm addmm baddbmm bmm matmul mm conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
        linear prelu scaled_dot_product_attention linalg.multi_dot""",
    FLOAT32: """binary_cross_entropy_with_logits cdist cosine_embedding_loss cross_entropy hinge_embedding_loss
        huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss
        poisson_nll_loss prod smooth_l1_loss soft_margin_loss triplet_margin_loss""",
    WIDEST: "cat concat concatenate stack index_copy",
    ONE: """det logdet matrix_exp slogdet linalg.det linalg.lu linalg.lu_factor linalg.lu_factor_ex linalg.lu_solve
        linalg.matrix_exp linalg.slogdet linalg.solve_ex linalg.solve_triangular""",
}
_CPU = {
    LOWER: "linalg.vecdot",
    FLOAT32: """adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy cholesky cholesky_inverse
        cholesky_solve ctc_loss fractional_max_pool2d fractional_max_pool3d geqrf grid_sample inverse lu lu_solve
        max_unpool1d max_unpool2d max_unpool3d nanquantile ormqr pinverse polar qr quantile stft svd trace
        triangular_solve view_as_complex
        fft.fft fft.fft2 fft.fftn fft.hfft fft.ifft fft.ifft2 fft.ifftn fft.ihfft fft.irfft fft.irfft2 fft.irfftn
        fft.rfft fft.rfft2 fft.rfftn
        linalg.cholesky linalg.cholesky_ex linalg.cond linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh
        linalg.householder_product linalg.inv linalg.inv_ex linalg.lstsq linalg.matrix_rank linalg.qr linalg.solve
        linalg.svd linalg.svdvals linalg.tensorinv linalg.tensorsolve""",
    ONE: "addmv addr dot ger inner mv outer vdot linalg.matrix_norm linalg.norm linalg.vector_norm norm",
}
_CUDA = {
    LOWER: "addmv addr chain_matmul mv gru_cell lstm_cell rnn_relu_cell rnn_tanh_cell",
    FLOAT32: """__pow__ __rpow__ __rtruediv__ acos arccos arcsin asin cosh cosine_similarity cumprod cumsum dist erfinv
        exp expm1 group_norm layer_norm log log10 log1p log2 log_softmax logsumexp nansum norm normalize pdist pow
        reciprocal renorm rsqrt sinh softmax softmin softplus sum tan linalg.matrix_norm linalg.norm
        linalg.vector_norm""",
    WIDEST: "addcdiv addcmul atan2 arctan2 bilinear cross dot vdot grid_sample index_put scatter_add",
    BANNED: "binary_cross_entropy",
}
Kind = str | Callable[..., str | None]


def _table() -> dict[str, dict[str, Kind]]:
    table: dict[str, dict[str, Kind]] = {
        "pad": {"cpu": _padding},
        "einsum": dict.fromkeys(DEVICES, _einsum),
        "tensordot": dict.fromkeys(DEVICES, _tensordot),
    }
    for columns, where in ((_BOTH, DEVICES), (_CPU, ("cpu",)), (_CUDA, ("cuda",))):
        for kind, names in columns.items():
            for name in names.split():
                table.setdefault(name, {}).update(dict.fromkeys(where, kind))
    return table


TABLE = _table()  # name of a public function -> what it does, for each kind of device it is listed for


class State(threading.local):
    """What this thread has set. It is `MODE.autocast` while autocast is on for some device."""

    def __init__(self) -> None:
        self.enabled = dict.fromkeys(DEVICES, False)
        self.dtypes = {"cpu": dtypes.bfloat16, "cuda": dtypes.float16}
        self.cache_enabled = True
        self.nesting = 0  # contexts that are open
        self.cache: dict[int, tuple[Any, ...]] = {}

    def enable(self, device_type: str, enabled: bool) -> None:
        self.enabled[device_type] = bool(enabled)
        if enabled:
            arm()
        MODE.autocast = self if any(self.enabled.values()) else None

    def run(self, kinds: Mapping[str, Kind], fn: Callable[..., Any], args: tuple[Any, ...], kw: dict[str, Any]) -> Any:
        """A listed function, with its tensors cast."""
        where = _place((*args, *kw.values()))
        kind: Any = kinds.get(where) if where is not None and self.enabled[where] else None
        if callable(kind):
            kind = kind(*args, **kw)
        if kind is None or kw.get("out") is not None or (kind is FLOAT32 and kw.get("dtype") is not None):
            return fn(*args, **kw)
        if kind is ONE:
            with switched_off():
                return fn(*args, **kw)
        if kind is BANNED:
            raise RuntimeError(
                f"{fn.__name__} is unsafe in lower precision: its input may round to 0 or 1. Inside autocast use "
                f"{fn.__name__}_with_logits on what goes into the sigmoid, or disable autocast around it."
            )
        to = self._target(kind, where, (*args, *kw.values()))
        args = tuple(self.cast(x, where, to) for x in args)
        kw = {name: self.cast(x, where, to) for name, x in kw.items()}
        with switched_off():
            return fn(*args, **kw)

    def _target(self, kind: str, where: Any, values: tuple[Any, ...]) -> dtypes.dtype:
        if kind is LOWER:
            return self.dtypes[where]
        if kind is FLOAT32:
            return dtypes.float32
        found = {x.dtype for x in _tensors(values) if _eligible(x, where)}
        return found.pop() if len(found) == 1 else dtypes.float32

    def cast(self, x: Any, where: Any, to: dtypes.dtype) -> Any:
        """A tensor, or those in a list, in dtype `to` where autocast is concerned with it; the rest as it is."""
        if isinstance(x, list | tuple) and any(isinstance(part, Handle) for part in x):
            return type(x)([self.cast(part, where, to) for part in x])
        if not isinstance(x, Handle) or not _eligible(x, where) or x.dtype is to:
            return x
        kept = self.cache_enabled and self.nesting and to is self.dtypes[where] and x.dtype is dtypes.float32
        return self._kept(x, to) if kept and x.node.__class__ is Leaf else as_dtype(x, to)

    def _kept(self, x: Any, to: dtypes.dtype) -> Any:
        """The cast of a weight, made once for as long as the weight is what it was."""
        mark = (x._version, MODE.grad, to)
        found = self.cache.get(id(x))
        if found is not None and found[0] is x and found[1] is x.raw and found[2] == mark:
            return found[3]
        made = as_dtype(x, to)
        if not MODE.special:
            self.cache[id(x)] = (x, x.raw, mark, made)
        return made


STATE = State()


class switched_off:
    """Autocast off inside, whatever was on."""

    def __enter__(self) -> None:
        self.before, MODE.autocast = MODE.autocast, None

    def __exit__(self, *_exc: object) -> None:
        MODE.autocast = self.before


def _tensors(values: Any) -> Any:
    for x in values:
        if isinstance(x, Handle):
            yield x
        elif isinstance(x, list | tuple):
            yield from _tensors(x)


def _place(values: Any) -> str | None:
    """The kind of device of the first tensor."""
    x = next(_tensors(values), None)
    return None if x is None else _type_of(x)


def _type_of(x: Any) -> str:
    raw = x.raw
    return "cpu" if raw.__class__ is np.ndarray else device_of(raw).type


def _eligible(x: Any, where: str) -> bool:
    d = x.dtype
    return d.is_floating_point and d is not dtypes.float64 and _type_of(x) == where


def lowered(*operands: Any) -> tuple[Any, ...]:
    """The operands of a function that runs in lower precision, cast; for functions that look at MODE themselves."""
    where = _place(operands)
    if where is None or not STATE.enabled[where]:
        return operands
    return tuple(STATE.cast(x, where, STATE.dtypes[where]) for x in operands)


def casting(name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
    """The public function `name` with what TABLE says of it; fn itself where it says nothing."""
    kinds = TABLE.get(name)
    if kinds is None or getattr(fn, "autocasts", False):
        return fn

    @wraps(fn)
    def call(*args: Any, **kw: Any) -> Any:
        state = MODE.autocast
        return fn(*args, **kw) if state is None else state.run(kinds, fn, args, kw)

    call.autocasts = True  # type: ignore[attr-defined]
    return call


def cast_public(namespace: dict[str, Any], prefix: str = "", but: frozenset[str] = frozenset()) -> None:
    """Wraps the listed functions of a module in place; `but` some, which look at MODE themselves."""
    for name, fn in list(namespace.items()):
        plain = isinstance(fn, FunctionType) or hasattr(fn, "plain")
        if plain and name not in but:
            namespace[name] = casting(prefix + name, fn)


SELF_CASTING = frozenset({"matmul", "linear"})
_ARMED: list[type] = []


def arm() -> None:
    """Exchanges Tensor's listed methods for those that look at MODE; once, for all threads."""
    if _ARMED:
        return
    _ARMED.append(ARRAYS.tensor)
    made: dict[Any, Any] = {}  # one for a method under all its names
    for name in TABLE:
        method = getattr(ARRAYS.tensor, name, None)
        if method is not None and name not in SELF_CASTING:
            setattr(ARRAYS.tensor, name, made.setdefault(method, casting(name, method)))
