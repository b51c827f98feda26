"""What a row of the op table is, and how its samples become tensors of the engine, of PyTorch, or arrays.

A row says how an operation is called and on what. Its samples hold NumPy arrays: float64 arrays stand for "the dtype
under test", integer arrays are indices and stay int64, bool arrays are masks and stay bool.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

import expkit as ek

FLOATS = "float64 float32 bfloat16 float16"
INTS = "int64 int32 uint8"
ALL = f"{FLOATS} {INTS} bool"


class Sample:
    """Positional and keyword arguments of one call; arrays may also stand in lists and tuples."""

    def __init__(self, *args: Any, **kw: Any) -> None:
        self.args = tuple(np.asarray(a) if isinstance(a, np.generic) else a for a in args)
        self.kw = kw

    def __repr__(self) -> str:
        parts = [_short(a) for a in self.args] + [f"{k}={_short(v)}" for k, v in self.kw.items()]
        return f"({', '.join(parts)})"

    def map(self, fn: Callable[[Any], Any]) -> "Sample":
        """The sample with fn applied to each array."""
        args = [_map(fn, a) for a in self.args]  # first: a call would evaluate its keywords before a generator
        return type(self)(*args, **{k: _map(fn, v) for k, v in self.kw.items()})

    def arrays(self) -> list[Any]:
        """All arrays (or tensors), in order."""
        return [x for a in [*self.args, *self.kw.values()] for x in _leaves(a)]

    def fill(self, values: Sequence[Any]) -> "Sample":
        """The sample with its arrays replaced, in order."""
        rest = iter(values)
        return self.map(lambda _: next(rest))


class Bad(Sample):
    """Arguments that must be refused, by PyTorch as well."""


def _is_array(x: Any) -> bool:
    return isinstance(x, np.ndarray | ek.Tensor) or type(x).__module__.startswith("torch")


def _map(fn: Callable[[Any], Any], x: Any) -> Any:
    if isinstance(x, list | tuple):
        return type(x)(_map(fn, y) for y in x)
    return fn(x) if _is_array(x) and type(x).__name__ != "dtype" else x


def _leaves(x: Any) -> Iterator[Any]:
    if isinstance(x, list | tuple):
        for y in x:
            yield from _leaves(y)
    elif _is_array(x):
        yield x


def _short(x: Any) -> str:
    if isinstance(x, list | tuple):
        return f"[{', '.join(map(_short, x))}]"
    return f"{x.dtype}{list(x.shape)}" if _is_array(x) else repr(x)


class Maker:
    """Random sample arrays, the same in every run. All are float64 unless their name says otherwise."""

    def __init__(self, name: str) -> None:
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def __call__(self, *shape: int, lo: float = -2.0, hi: float = 2.0) -> np.ndarray:
        return np.asarray(self.rng.uniform(lo, hi, shape))

    def positive(self, *shape: int) -> np.ndarray:
        return self(*shape, lo=0.3, hi=3.0)

    def off_zero(self, *shape: int) -> np.ndarray:
        """Magnitudes of at least 0.3: for functions with a kink at 0."""
        return np.asarray(self.positive(*shape) * self.rng.choice([-1.0, 1.0], shape))

    def off_integers(self, *shape: int) -> np.ndarray:
        """Far enough from whole and half numbers for numeric derivatives of rounding."""
        return np.asarray(self.rng.integers(-3, 4, shape) + self.rng.uniform(0.1, 0.4, shape))

    def distinct(self, *shape: int) -> np.ndarray:
        """No two elements closer than 0.2: for order statistics."""
        n = int(np.prod(shape))
        return np.asarray((self.rng.permutation(n).reshape(shape) - n / 2) * 0.5 + self.rng.uniform(-0.1, 0.1, shape))

    def ints(self, n: int, *shape: int) -> np.ndarray:
        """int64 indices below n."""
        return np.asarray(self.rng.integers(0, n, shape))

    def bools(self, *shape: int) -> np.ndarray:
        return np.asarray(self.rng.random(shape) < 0.5)


@dataclass(frozen=True)
class Row:
    """One public operation: how to call it, on what, and what to compare it with.

    `gaps` maps the name of a check (or "check:dtype") to the reason why it cannot hold; such a check must fail.
    """

    name: str
    samples: Callable[[Maker], list[Sample]]
    numpy: Callable[..., Any] | None = None  # oracle on float64 arrays; None: PyTorch alone is the oracle
    call: Callable[..., Any] | None = None  # on tensors of the engine; None: expkit.<name>
    torch: Callable[..., Any] | None = None  # (torch module) -> function; None: torch.<name>
    dtypes: str = ALL
    grad: bool = True
    vmap: bool = True
    trace: bool = True
    second: bool = True
    tolerance: float = 1.0  # a factor on the tolerances of values
    gaps: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = {key.partition(":")[0] for key in self.gaps} - CHECKS
        if unknown:
            raise ValueError(f"row {self.name}: no such check: {unknown}")

    def function(self) -> Callable[..., Any]:
        if self.call is not None:
            return self.call
        owner, _, name = self.name.rpartition(".")
        return getattr(ek.Tensor if owner == "Tensor" else ek, name)

    def torch_function(self, torch: Any) -> Callable[..., Any]:
        if self.torch is not None:
            return self.torch(torch)
        owner, _, name = self.name.rpartition(".")
        return getattr(torch.Tensor if owner == "Tensor" else torch, name)

    def make(self) -> list[Sample]:
        return [s for s in self.samples(Maker(self.name)) if not isinstance(s, Bad)]

    def bad(self) -> list[Sample]:
        return [s for s in self.samples(Maker(self.name)) if isinstance(s, Bad)]


CHECKS = {
    "value",
    "torch",
    "refused",
    "layout",
    "alias",
    "vjp",
    "torch_grad",
    "versions",
    "jvp",
    "second",
    "vmap",
    "vmap_grad",
    "trace",
    "trace_dtypes",
    "trace_grad",
}

# ---- dtypes ----------------------------------------------------------------------------------------------------------

NUMPY = {
    name: np.dtype(getattr(np, name)) for name in ("float64", "float32", "float16", "int64", "int32", "uint8", "bool")
}
NUMPY["bfloat16"] = np.dtype(ml_dtypes.bfloat16)


def as_dtype(array: np.ndarray, name: str) -> np.ndarray:
    """A sample array in the dtype under test (float64 arrays only; indices and masks stay what they are)."""
    if array.dtype != np.float64:
        return array
    if name == "bool":
        return np.asarray(array > 0)
    if name in INTS.split():
        whole = np.asarray(np.rint(array * 3))
        return (np.abs(whole) if name == "uint8" else whole).astype(name)
    return array.astype(NUMPY[name])


def to_ek(sample: Sample, name: str = "float64", requires_grad: bool = False) -> Sample:
    def convert(array: np.ndarray) -> Any:
        x = ek.tensor(as_dtype(array, name))
        return x.requires_grad_() if requires_grad and array.dtype == np.float64 else x

    return sample.map(convert)


def to_torch(sample: Sample, torch: Any, name: str = "float64", requires_grad: bool = False) -> Sample:
    def convert(array: np.ndarray) -> Any:
        x = torch_tensor(torch, as_dtype(array, name))
        return x.requires_grad_() if requires_grad and array.dtype == np.float64 else x

    return sample.map(convert)


def torch_tensor(torch: Any, array: np.ndarray) -> Any:
    """A PyTorch tensor of an array, bfloat16 included."""
    if array.dtype == NUMPY["bfloat16"]:
        return torch.tensor(array.astype(np.float32)).to(torch.bfloat16)
    return torch.tensor(np.ascontiguousarray(array) if array.ndim else array)


def strided(array: np.ndarray) -> np.ndarray:
    """The same values with gaps between them and the axes in another order in memory."""
    if array.ndim == 0 or array.dtype != np.float64:
        return array
    room = np.zeros(tuple(n * 2 for n in array.T.shape))
    view = room.T[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


# ---- results ---------------------------------------------------------------------------------------------------------


def tensors(result: Any) -> list[Any]:
    """The tensors of a result, in order."""
    return list(_leaves(result))


def array_of(x: Any) -> np.ndarray:
    """Any tensor as a NumPy array that can be compared: bfloat16 as float32."""
    if isinstance(x, np.ndarray | np.generic | int | float | bool | complex):
        out = np.asarray(x)
    elif isinstance(x, ek.Tensor):
        out = x.detach().numpy()
    else:
        x = x.detach().resolve_conj().resolve_neg()
        out = x.float().numpy() if str(x.dtype) == "torch.bfloat16" else x.numpy()
    return out.astype(np.float32) if out.dtype == NUMPY["bfloat16"] else out


def dtype_name(x: Any) -> str:
    """float32 for expkit.float32 and torch.float32."""
    return str(x.dtype).rpartition(".")[2]


# What rounding alone explains, by the dtype computed in: (relative, absolute).
TOLERANCE = {"float64": (1e-11, 1e-12), "float32": (3e-5, 3e-6), "float16": (4e-3, 4e-3), "bfloat16": (3e-2, 3e-2)}


def assert_close(got: Any, expected: Any, dtype: str, what: str, factor: float = 1.0) -> None:
    """Shapes and values agree up to the rounding of `dtype`; NaN equals NaN."""
    got, expected = array_of(got), array_of(expected)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    rtol, atol = TOLERANCE.get(dtype, (0.0, 0.0))
    np.testing.assert_allclose(
        got.astype(np.complex128 if got.dtype.kind == "c" else np.float64),
        expected,
        rtol=rtol * factor,
        atol=atol * factor,
        err_msg=what,
        equal_nan=True,
    )
