"""Values of PyTorch as values of expkit, and back for comparisons."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import torch

import expkit as ek
from expkit.errors import ExpkitError
from tests.ops.case import REFUSALS


class Unconvertible(Exception):
    """The value has no counterpart here (sparse layouts, quantised or 8-bit floats, generators)."""


NAMES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128".split()  # noqa: SIM905
DTYPES = {getattr(torch, name): getattr(ek, name) for name in NAMES}
FORMATS = {
    getattr(torch, name): getattr(ek, name)
    for name in ("channels_last", "channels_last_3d", "contiguous_format", "preserve_format")
}
TOLERANCE = {  # (rtol, atol) by the coarsest dtype at hand
    "float64": (1e-7, 1e-8), "complex128": (1e-7, 1e-8), "float32": (1e-4, 1e-5), "complex64": (1e-4, 1e-5),
    "bfloat16": (2e-2, 1e-2), "float16": (4e-3, 2e-3),
}  # fmt: skip


def tensor_to_ek(x: torch.Tensor, storages: dict[int, Any] | None = None) -> ek.Tensor:
    """The same values, strides and place in the storage, of which `storages` holds a copy: what overlaps still does."""
    if x.layout != torch.strided or x.dtype not in DTYPES or x.is_quantized or x.is_meta or x.ndim > 64:
        raise Unconvertible(f"{x.layout} {x.dtype}")
    plain = x.detach().resolve_conj().resolve_neg()
    storage = plain.untyped_storage()
    storages = {} if storages is None else storages
    memory, _ = storages.get(storage.data_ptr(), (None, None))
    if memory is None:
        memory = torch.empty(0, dtype=torch.uint8).set_(storage).numpy().copy()
        storages[storage.data_ptr()] = memory, storage  # which stays alive, so that no other comes to its address
    dtype = DTYPES[x.dtype].dtype
    strides = [n * dtype.itemsize for n in plain.stride()]
    if not plain.numel():
        return ek.from_numpy(np.empty(tuple(plain.shape), dtype)).requires_grad_(x.requires_grad)
    if memory.size < (plain.storage_offset() + 1) * dtype.itemsize:
        raise Unconvertible("a tensor whose storage was freed")
    raw = np.ndarray(tuple(plain.shape), dtype, memory.data, plain.storage_offset() * dtype.itemsize, strides)
    return ek.from_numpy(raw).requires_grad_(x.requires_grad)


def _encoder_layer(x: Any) -> Any:
    """The one module that other modules' samples are made with."""
    layer = ek.nn.TransformerEncoderLayer(
        x.self_attn.embed_dim, x.self_attn.num_heads, x.linear1.out_features, x.dropout.p, to_ek(x.activation),
        x.norm1.eps, x.self_attn.batch_first, x.norm_first, x.linear1.bias is not None,
    )  # fmt: skip
    return layer.to(ek.float64)


def _module(x: torch.nn.Module) -> Any:
    """expkit's module of the same kind and settings, where it has no state of its own."""
    kind = getattr(ek.nn, type(x).__name__, None)
    if kind is None or x.state_dict() or list(x.children()):
        raise Unconvertible(f"the module {x!r}")
    settings = inspect.signature(kind).parameters
    return kind(**{name: to_ek(v) for name, v in vars(x).items() if name in settings})


def to_ek(x: Any, storages: dict[int, Any] | None = None) -> Any:
    """Tensors, dtypes, devices, formats, functions, and containers of them."""
    storages = {} if storages is None else storages
    if isinstance(x, torch.Tensor):
        return tensor_to_ek(x, storages)
    if isinstance(x, list | tuple) and type(x) in (list, tuple):
        return type(x)(to_ek(v, storages) for v in x)
    if isinstance(x, dict):
        return {k: to_ek(v, storages) for k, v in x.items()}
    for kind, convert in CONVERTERS:
        if isinstance(x, kind):
            return convert(x)
    if dataclasses.is_dataclass(x):
        return getattr(ek.nn, type(x).__name__)(**{f.name: to_ek(getattr(x, f.name)) for f in dataclasses.fields(x)})
    if callable(x) and getattr(torch.nn.functional, getattr(x, "__name__", "?"), None) is x:
        return getattr(ek.nn.functional, x.__name__)
    return x


def _refuse(x: Any) -> Any:
    raise Unconvertible(str(x))


def _dtype(x: torch.dtype) -> Any:
    return DTYPES[x] if x in DTYPES else _refuse(x)


CONVERTERS: list[tuple[Any, Callable[[Any], Any]]] = [  # the first that fits
    (torch.Size, tuple),
    (torch.nn.utils.rnn.PackedSequence, lambda x: ek.nn.utils.rnn.PackedSequence(*map(to_ek, x))),
    (slice, lambda x: slice(*map(to_ek, (x.start, x.stop, x.step)))),
    (torch.dtype, _dtype),
    (torch.device, lambda x: ek.device(str(x))),
    (torch.memory_format, FORMATS.__getitem__),
    (torch.layout | torch.Generator, _refuse),
    (torch.nn.TransformerEncoderLayer, _encoder_layer),
    (torch.nn.Module, _module),
]


def call_to_ek(args: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """Arguments, by position and by name; `layout=torch.strided` is the only layout and goes without saying."""
    return to_ek((args, {k: v for k, v in options.items() if not (k == "layout" and v == torch.strided)}))


def tensor_to_torch(x: ek.Tensor) -> torch.Tensor:
    raw = np.ascontiguousarray(x.detach().numpy()).reshape(tuple(x.shape))
    if raw.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(raw.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(raw.copy())


def leaves(x: Any, kind: type) -> list[Any]:
    """The tensors of one library in nested containers, in order."""

    def walk(v: Any) -> Iterator[Any]:
        if isinstance(v, kind):
            yield v
        elif isinstance(v, list | tuple):
            for w in v:
                yield from walk(w)
        elif isinstance(v, dict):
            for w in v.values():
                yield from walk(w)

    return list(walk(x))


def replaced(x: Any, kind: type, rest: Iterator[Any]) -> Any:
    """x with its tensors replaced one by one."""
    if isinstance(x, kind):
        return next(rest)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(replaced(v, kind, rest) for v in x))
    if isinstance(x, list | tuple):
        return type(x)(replaced(v, kind, rest) for v in x)
    if isinstance(x, dict):
        return {k: replaced(v, kind, rest) for k, v in x.items()}
    return x


def smooth(x: Any) -> bool:
    return bool(x.dtype.is_floating_point or x.dtype.is_complex)


def compare(got: Any, expected: Any, *, values: bool = True, dtypes: bool = True, scale: float = 1.0) -> None:
    """AssertionError unless the results have the same structure, shapes, dtypes and values (NaN in the same places)."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(got, ek.Tensor), f"a {type(got).__name__} where PyTorch gives a tensor"
        assert tuple(got.shape) == tuple(expected.shape), f"shape {tuple(got.shape)}, PyTorch {tuple(expected.shape)}"
        assert not dtypes or DTYPES.get(expected.dtype) == got.dtype, f"{got.dtype}, PyTorch {expected.dtype}"
        if values:
            name = str(expected.dtype).removeprefix("torch.")
            rtol, atol = TOLERANCE.get(name, (0, 0))
            torch.testing.assert_close(
                tensor_to_torch(got), expected.detach().resolve_conj().resolve_neg(), rtol=rtol * scale,
                atol=atol * scale, equal_nan=True, check_dtype=dtypes, check_stride=False, check_layout=False,
            )  # fmt: skip
    elif isinstance(expected, list | tuple):
        assert isinstance(got, list | tuple), f"a {type(got).__name__} where PyTorch gives a {type(expected).__name__}"
        assert len(got) == len(expected), f"{len(got)} results, PyTorch {len(expected)}"
        for g, e in zip(got, expected, strict=True):
            compare(g, e, values=values, dtypes=dtypes, scale=scale)
    elif isinstance(expected, int | float | complex | bool) and values:
        assert type(got) is type(expected), f"a {type(got).__name__} where PyTorch gives a {type(expected).__name__}"
        np.testing.assert_allclose(got, expected, rtol=1e-6, equal_nan=True)


def attempt(fn: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """(fn(), None), or (None, what it raised)."""
    try:
        return fn(), None
    except Exception as error:  # the reference may raise anything: then there is nothing to compare
        return None, error


def must_be_refused(got: Any, error: Exception | None) -> None:
    """AssertionError unless a wrong call ended in one of the errors that users can expect, with a text."""
    assert error is not None, f"accepted, gave {got!r}"
    assert isinstance(error, (*REFUSALS, ExpkitError)), f"{type(error).__name__} from inside: {error}"
    assert str(error), f"a {type(error).__name__} without a message"
