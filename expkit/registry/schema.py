"""JSON schema of the choices of a group: for editors, forms, and for checking files without expkit."""

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from expkit.registry.arguments import Argument, signature_of
from expkit.registry.build import describe
from expkit.registry.store import lookup, names

_PLAIN: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}


def schema(group: str) -> dict[str, Any]:
    """A JSON schema (draft 2020-12) that accepts what `build(group, ...)` accepts, one alternative per name."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"expkit {group}",
        "oneOf": [_choice(group, name) for name in names(group)],
    }


def _choice(group: str, name: str) -> dict[str, Any]:
    entry = describe(group, name)
    properties: dict[str, Any] = {"name": {"const": name}}
    properties |= {argument.name: property_schema(argument) for argument in entry.arguments}
    # Required arguments may still be filled in from the data, so only the name is demanded.
    return {
        "title": name,
        "description": entry.summary,
        "type": "object",
        "properties": properties,
        "required": ["name"],
        "additionalProperties": signature_of(lookup(group, name)).open,
    }


def property_schema(argument: Argument) -> dict[str, Any]:
    """The values that an argument takes, and its default where JSON has it."""
    spec = _type(argument.annotation)
    if not argument.required and isinstance(argument.default, bool | int | float | str | list | dict | None):
        spec = spec | {"default": argument.default}
    return spec


def _type(annotation: Any) -> dict[str, Any]:
    origin, args = get_origin(annotation) or annotation, get_args(annotation)
    if annotation in _PLAIN:
        return {"type": _PLAIN[annotation]}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type(arg) for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is typing.Annotated:
        return _type(args[0])
    if origin is tuple and args and args[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [_type(arg) for arg in args], "minItems": len(args), "items": False}
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return {"type": "array", "items": _type(args[0])} if args else {"type": "array"}
    if inspect.isclass(origin) and issubclass(origin, Mapping | dict):
        return {"type": "object", "additionalProperties": _type(args[1])} if args else {"type": "object"}
    return {}
