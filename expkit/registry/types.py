"""Values against annotations: `accept(value, annotation)` says what is wrong, or gives the value to pass on.

Knows what a config can hold: None, bool, int, float, str, list, tuple, dict, Literal, unions and nestings of these,
enums and paths. Any other class is checked with isinstance. Lists become tuples (and ints floats) where the
annotation says so; strings never become numbers.
"""

import collections.abc as abc
import inspect
import types
import typing
from enum import Enum
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin


class Mismatch(Exception):
    """A value does not fit its annotation; the message says what was expected and what came."""


class _Later:
    """Stands for a value that is known only once the data is loaded: it passes every check."""

    def __repr__(self) -> str:
        return "<known once the data is loaded>"


LATER = _Later()

_WORDS = {int: "int", float: "float", bool: "bool", str: "str", type(None): "None", Path: "path"}
_SEQUENCES = (list, abc.Sequence, abc.Iterable, abc.Collection, abc.MutableSequence, set, frozenset)
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


def accept(value: Any, annotation: Any) -> Any:
    """`value` as the annotated parameter wants it. Raises Mismatch ("expected list of int, got 'a' (str)")."""
    if value is LATER or annotation in (Any, object, inspect.Parameter.empty):
        return value
    if isinstance(annotation, TypeVar | str):  # unresolved: nothing to hold the value against
        return value
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return _accept_union(value, annotation, args)
    if origin is Literal:
        return _accept_literal(value, annotation, args)
    if origin is typing.Annotated or origin in (typing.ClassVar, typing.Final):
        return accept(value, args[0])
    if origin is tuple:
        return _accept_tuple(value, annotation, args)
    if origin in _SEQUENCES:
        return _accept_list(value, annotation, args)
    if origin in _MAPPINGS:
        return _accept_dict(value, annotation, args)
    return _accept_plain(value, annotation, origin)


def describe_type(annotation: Any) -> str:
    """An annotation in words: `list of int`, `float or None`, `'min' or 'max'`."""
    if annotation in (Any, object, inspect.Parameter.empty) or isinstance(annotation, TypeVar):
        return "any"
    if isinstance(annotation, str):
        return annotation
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe_type(arg) for arg in args))
    if origin is Literal:
        return " or ".join(repr(arg) for arg in args)
    if origin is typing.Annotated:
        return describe_type(args[0])
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"list of {len(args)} ({', '.join(describe_type(arg) for arg in args)})"
    if origin is tuple or origin in _SEQUENCES:
        return f"list of {describe_type(args[0])}" if args else "list"
    if origin in _MAPPINGS:
        return f"dict of {describe_type(args[0])} to {describe_type(args[1])}" if args else "dict"
    if isinstance(origin, type) and issubclass(origin, Enum):
        return " or ".join(repr(member.value) for member in origin)
    return str(_WORDS.get(origin) or getattr(origin, "__name__", origin))


def show(value: Any) -> str:
    """A value for a message: its repr, cut when long, and its kind."""
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text if value is None else f"{text} ({type(value).__name__})"


def _fail(value: Any, annotation: Any) -> Mismatch:
    return Mismatch(f"expected {describe_type(annotation)}, got {show(value)}")


def _accept_union(value: Any, annotation: Any, args: tuple[Any, ...]) -> Any:
    for arg in args:  # an exact kind first, so that an int stays one where `int | float` is meant
        if isinstance(arg, type) and type(value) is arg:
            return value
    for arg in args:
        try:
            return accept(value, arg)
        except Mismatch:
            continue
    raise _fail(value, annotation)


def _accept_literal(value: Any, annotation: Any, args: tuple[Any, ...]) -> Any:
    for arg in args:
        if type(value) is type(arg) and value == arg:
            return value
    raise _fail(value, annotation)


def _accept_tuple(value: Any, annotation: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        raise _fail(value, annotation)
    if not args:
        return tuple(value)
    if args[-1] is Ellipsis:
        return tuple(_each(value, args[0], annotation))
    if len(value) != len(args):
        raise _fail(value, annotation)
    return tuple(_item(item, arg, value, annotation) for item, arg in zip(value, args, strict=True))


def _accept_list(value: Any, annotation: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple | set | frozenset):
        raise _fail(value, annotation)
    return list(_each(value, args[0], annotation)) if args else value


def _accept_dict(value: Any, annotation: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(value, dict):
        raise _fail(value, annotation)
    if not args:
        return value
    return {_item(k, args[0], value, annotation): _item(v, args[1], value, annotation) for k, v in value.items()}


def _each(values: Any, annotation: Any, whole: Any) -> list[Any]:
    return [_item(value, annotation, values, whole) for value in values]


def _item(value: Any, annotation: Any, container: Any, whole: Any) -> Any:
    try:
        return accept(value, annotation)
    except Mismatch:
        raise Mismatch(f"expected {describe_type(whole)}, got {show(container)}: {show(value)} does not fit") from None


def _accept_plain(value: Any, annotation: Any, origin: Any) -> Any:
    if annotation is None or annotation is type(None):
        fits = value is None
    elif annotation is bool:
        fits = isinstance(value, bool)
    elif annotation is int:
        fits = isinstance(value, Integral) and not isinstance(value, bool)
    elif annotation is float:
        fits = isinstance(value, Real) and not isinstance(value, bool)
        value = float(value) if fits and isinstance(value, Integral) else value
    elif isinstance(origin, type) and issubclass(origin, Enum):
        fits = isinstance(value, origin) or value in [member.value for member in origin]
        value = origin(value) if fits else value
    elif origin is Path:
        fits = isinstance(value, str | Path)
        value = Path(value) if fits else value
    elif origin is abc.Callable:
        fits = callable(value)
    else:
        fits = not isinstance(origin, type) or _is_instance(value, origin)
    if not fits:
        raise _fail(value, annotation)
    return value


def _is_instance(value: Any, kind: type) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol that cannot be checked at run time
        return True
