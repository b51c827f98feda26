"""Nested state as strict JSON beside named arrays: what a checkpoint's state.json and state.safetensors hold.

Plain data stays plain. What JSON lacks is an object with one key that starts with `__`:

    Tensor {"__tensor__": name}   ndarray {"__array__": name}   tuple {"__tuple__": [...]}   NaN {"__float__": "nan"}
    Path {"__path__": "..."}   dict with other keys than strings, or one like these {"__items__": [[key, value], ...]}
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from expkit.errors import CheckpointError
from expkit.tensor import Tensor, from_numpy


def encode(tree: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """`tree` as JSON-able data, and the arrays it referred to, named by their dotted path."""
    arrays: dict[str, np.ndarray] = {}
    return _encode(tree, "", arrays), arrays


def _encode(node: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if node is None or isinstance(node, bool | str):
        return node
    if isinstance(node, Tensor | np.ndarray):
        kind = "__tensor__" if isinstance(node, Tensor) else "__array__"
        name = _unused(path or "value", arrays)
        arrays[name] = np.array(node.detach().cpu().numpy() if isinstance(node, Tensor) else node)
        return {kind: name}
    if isinstance(node, np.generic):
        return _encode(node.item(), path, arrays)
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return node if math.isfinite(node) else {"__float__": repr(float(node))}
    if isinstance(node, Path):
        return {"__path__": str(node)}
    if isinstance(node, list):
        return [_encode(child, f"{path}.{i}", arrays) for i, child in enumerate(node)]
    if isinstance(node, tuple | set | frozenset):
        return {"__tuple__": [_encode(child, f"{path}.{i}", arrays) for i, child in enumerate(node)]}
    if isinstance(node, dict):
        return _encode_dict(node, path, arrays)
    raise CheckpointError(
        f"{path or 'the state'} is a {type(node).__name__}, which a checkpoint cannot hold. "
        "Legal: None, bool, int, float, str, Path, list, tuple, dict, NumPy array, Tensor."
    )


def _encode_dict(node: dict[Any, Any], path: str, arrays: dict[str, np.ndarray]) -> Any:
    plain = all(isinstance(key, str) for key in node) and not (len(node) == 1 and next(iter(node)).startswith("__"))
    pairs = [(key, _encode(child, f"{path}.{key}" if path else str(key), arrays)) for key, child in node.items()]
    return dict(pairs) if plain else {"__items__": [[_encode(key, path, arrays), value] for key, value in pairs]}


def _unused(path: str, arrays: dict[str, np.ndarray]) -> str:
    name, count = path, 1
    while name in arrays:
        name, count = f"{path}#{count}", count + 1
    return name


def decode(node: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of `encode`. CheckpointError where `node` refers to an array that is not there."""
    if isinstance(node, list):
        return [decode(child, arrays) for child in node]
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        [(key, value)] = node.items()
        if key in _DECODERS:
            return _DECODERS[key](value, arrays)
    return {key: decode(value, arrays) for key, value in node.items()}


def _lookup(name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if name not in arrays:
        raise CheckpointError(f"the state refers to a tensor {name!r} that its tensor file does not hold.")
    return arrays[name]


_DECODERS = {
    "__tensor__": lambda name, arrays: from_numpy(_lookup(name, arrays)),
    "__array__": _lookup,
    "__tuple__": lambda items, arrays: tuple(decode(child, arrays) for child in items),
    "__items__": lambda items, arrays: {decode(key, arrays): decode(value, arrays) for key, value in items},
    "__float__": lambda text, arrays: float(text),
    "__path__": lambda text, arrays: Path(text),
}


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
