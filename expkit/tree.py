"""Nested containers (dict, list, tuple, named tuple) as trees: flatten, unflatten, map, paths.

Leaves are whatever is not a container. Dictionaries keep their insertion order. None is a leaf.
"""

from collections.abc import Callable, Iterator
from typing import Any


def _children(node: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(node, dict):
        return list(node.items())
    if isinstance(node, list | tuple):
        return list(enumerate(node))
    return None


def _rebuild(node: Any, values: list[Any]) -> Any:
    if isinstance(node, dict):
        return type(node)(zip(node, values, strict=True))
    if hasattr(node, "_fields"):
        return type(node)(*values)
    return type(node)(values)


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves in order, and the tree itself as the structure that `unflatten` fills again."""
    return [leaf for _, leaf in items(tree)], tree


def unflatten(structure: Any, leaves: list[Any]) -> Any:
    """A tree of the same containers as `structure`, holding `leaves`. ValueError when their number differs."""
    rest = iter(leaves)

    def fill(node: Any) -> Any:
        children = _children(node)
        if children is None:
            return next(rest)
        return _rebuild(node, [fill(child) for _, child in children])

    try:
        filled = fill(structure)
    except (StopIteration, RuntimeError):
        raise ValueError(f"unflatten: {len(leaves)} leaves are too few for the structure") from None
    if next(rest, structure) is not structure:
        raise ValueError(f"unflatten: {len(leaves)} leaves are too many for the structure")
    return filled


def map(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """A tree of the same structure with `fn` applied to each leaf (and to those of `rest` in the same places)."""
    others = [flatten(other)[0] for other in rest]
    leaves, structure = flatten(tree)
    if any(len(other) != len(leaves) for other in others):
        raise ValueError("tree.map: the trees differ in their number of leaves")
    return unflatten(structure, [fn(*group) for group in zip(leaves, *others, strict=True)])


def items(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, leaf) pairs: {"a": [1, 2]} gives ("a.0", 1), ("a.1", 2)."""
    children = _children(tree)
    if children is None:
        yield prefix, tree
        return
    for key, child in children:
        yield from items(child, f"{prefix}.{key}" if prefix else str(key))
