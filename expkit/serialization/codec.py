"""Nested data as strict JSON beside named arrays: what `ek.save` and checkpoints write.

Plain data stays plain. What JSON lacks is an object with one key that starts with `__`:

    Tensor {"__tensor__": name}   one that requires grad {"__leaf__": name}   ndarray {"__array__": name}
    a view of memory that others see too {"__view__": [kind, name, shape, strides, offset]}, kind "tensor" or "leaf"
    tuple {"__tuple__": [...]}   set {"__set__": [...]}   bytes {"__bytes__": base64}   dtype {"__dtype__": name}
    NaN {"__float__": "nan"}   complex number {"__complex__": [re, im]}   Path {"__path__": "..."}   device likewise
    dict with other keys than strings, or one like these {"__items__": [[key, value], ...]}

Arrays of complex128, which safetensors files have not, are stored as pairs of float64 under a name that ends in #re,im.
"""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import CheckpointError
from expkit.serialization.shared import Memory, within
from expkit.tensor import Tensor, device, dtypes, from_numpy
from expkit.tensor import dtype as Dtype

PAIRS = "#re,im"
Arrays = dict[str, np.ndarray]


def encode(tree: Any) -> tuple[Any, Arrays]:
    """`tree` as JSON-able data, and the arrays it referred to, named by their dotted path."""
    encoder = _Encoder(tree)
    return encoder.encode(tree, ""), encoder.arrays


class _Encoder:
    """One pass over a tree; `memory` knows which of its tensors look into the same memory."""

    def __init__(self, tree: Any) -> None:
        self.arrays: Arrays = {}
        self.memory = Memory()
        self.open: set[int] = set()  # containers that are being encoded: one inside of itself has no end
        self.memory.collect(tree)

    def encode(self, node: Any, path: str) -> Any:
        if node is None or isinstance(node, bool | str):
            return node
        if isinstance(node, Tensor):
            return self.tensor(node, path)
        if isinstance(node, np.ndarray):
            return {"__array__": self.put(np.array(node), path)}
        if isinstance(node, np.generic):
            return self.encode(node.item(), path)
        for kind, form in _SCALARS.items():
            if isinstance(node, kind):
                return form(node)
        if isinstance(node, list | tuple | set | frozenset | dict):
            return self.container(node, path)
        hint = " Save its state_dict()." if hasattr(node, "state_dict") else ""
        raise CheckpointError(
            f"{path or 'the state'} is a {type(node).__name__}, which a file cannot hold.{hint} Legal: None, bool, "
            "int, float, complex, str, bytes, Path, dtype, device, list, tuple, set, dict, NumPy array, Tensor."
        )

    def container(self, node: Any, path: str) -> Any:
        if hasattr(node, "_fields"):
            raise CheckpointError(
                f"{path or 'the state'} is a named tuple ({type(node).__name__}), whose class a file cannot hold. "
                "Save tuple(...) or ._asdict() of it."
            )
        if id(node) in self.open:
            raise CheckpointError(f"{path or 'the state'} contains itself, so it has no end.")
        self.open.add(id(node))
        try:
            if isinstance(node, dict):
                return self.mapping(node, path)
            parts = [self.encode(child, f"{path}.{i}" if path else str(i)) for i, child in enumerate(node)]
        finally:
            self.open.discard(id(node))
        return parts if isinstance(node, list) else {"__tuple__" if isinstance(node, tuple) else "__set__": parts}

    def mapping(self, node: dict[Any, Any], path: str) -> Any:
        plain = all(isinstance(key, str) for key in node) and not (len(node) == 1 and next(iter(node)).startswith("__"))
        pairs = [(key, self.encode(child, f"{path}.{key}" if path else str(key))) for key, child in node.items()]
        return dict(pairs) if plain else {"__items__": [[self.encode(key, path), value] for key, value in pairs]}

    def tensor(self, node: Tensor, path: str) -> Any:
        kind = "leaf" if node.requires_grad and node.is_leaf else "tensor"
        piece = self.memory.piece(node)
        if piece.name is None:
            piece.name = self.put(piece.array(), f"{path}#storage" if piece.shared else path)
        if not piece.shared:
            return {f"__{kind}__": piece.name}
        return {"__view__": [kind, piece.name, *piece.window(node)]}

    def put(self, array: np.ndarray, path: str) -> str:
        """Takes in an array under a name made of its path."""
        name, count = path or "value", 1
        pairs = array.dtype == np.complex128
        suffix = PAIRS if pairs else ""
        while f"{name}{suffix}" in self.arrays:
            name, count = f"{path or 'value'}#{count}", count + 1
        stored = np.ascontiguousarray(array).view(np.float64).reshape(*array.shape, 2) if pairs else array
        self.arrays[f"{name}{suffix}"] = stored
        return f"{name}{suffix}"


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    int: int,
    float: lambda x: float(x) if math.isfinite(x) else {"__float__": repr(float(x))},
    complex: lambda x: {"__complex__": [repr(x.real), repr(x.imag)]},
    bytes | bytearray: lambda x: {"__bytes__": base64.b64encode(x).decode()},
    Path: lambda x: {"__path__": str(x)},
    Dtype: lambda x: {"__dtype__": x.name},
    device: lambda x: {"__device__": str(x)},
}


def decode(node: Any, arrays: Arrays) -> Any:
    """The inverse of `encode`. CheckpointError where `node` is not what `encode` makes, or arrays are missing."""
    try:
        return _Decoder(arrays).decode(node)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"the description of the contents is damaged ({type(error).__name__}: {error})."
        ) from None


class _Decoder:
    """One pass over encoded data; what was one tensor is one again, what shared memory shares it."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.made: dict[tuple[str, str], Any] = {}
        self.kinds: dict[str, Callable[[Any], Any]] = {
            "__tensor__": lambda name: self.tensor("tensor", name),
            "__leaf__": lambda name: self.tensor("leaf", name),
            "__view__": self.view,
            "__array__": self.lookup,
            "__tuple__": lambda items: tuple(self.decode(child) for child in items),
            "__set__": lambda items: {self.decode(child) for child in items},
            "__items__": lambda items: {self.decode(key): self.decode(value) for key, value in items},
            "__float__": float,
            "__complex__": lambda parts: complex(float(parts[0]), float(parts[1])),
            "__bytes__": lambda text: base64.b64decode(text, validate=True),
            "__path__": Path,
            "__dtype__": dtypes.get,
            "__device__": device,
        }

    def decode(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.decode(child) for child in node]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(key, value)] = node.items()
            if key in self.kinds:
                return self.kinds[key](value)
        return {key: self.decode(value) for key, value in node.items()}

    def lookup(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise CheckpointError(f"the state refers to a tensor {name!r} that its tensor file does not hold.")
        array = self.arrays[name]
        return array.view(np.complex128)[..., 0] if name.endswith(PAIRS) else array

    def tensor(self, kind: str, name: str) -> Tensor:
        if (kind, name) not in self.made:
            self.made[kind, name] = from_numpy(self.lookup(name)).requires_grad_(kind == "leaf")
        return self.made[kind, name]

    def view(self, window: Any) -> Tensor:
        kind, name, shape, strides, offset = window
        array = within(self.lookup(name), shape, strides, offset)
        return from_numpy(array).requires_grad_(kind == "leaf")


def dumps(data: Any, indent: int | None = None) -> bytes:
    """Strict JSON: UTF-8, no NaN. Without `indent` on one line, which is several times faster."""
    return (json.dumps(data, indent=indent, allow_nan=False, ensure_ascii=False) + "\n").encode()


def loads(data: bytes, path: str | Path) -> Any:
    """Strict JSON from `data`, the content of `path`: no NaN, no repeated keys. CheckpointError otherwise."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            raise ValueError("a key is repeated")
        return mapping

    def constant(text: str) -> float:
        raise ValueError(f"{text} is not JSON")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}): corrupt or truncated.") from None
