"""The arguments of a factory (names, types, defaults) and the binding of a config to them."""

import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from expkit.errors import ConfigError, RegistryError, did_you_mean
from expkit.registry.types import LATER, Mismatch, accept, describe_type, show

MISSING = "???"  # how a YAML file says that a value must be given
REQUIRED = inspect.Parameter.empty

Where = str | Callable[[str], str] | None


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a factory: `type` in words, `annotation` as Python has it."""

    name: str
    type: str
    default: Any
    required: bool
    annotation: Any

    def __str__(self) -> str:
        return f"{self.name} ({self.type})"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a factory takes: its named arguments, and whether any other keyword is passed through."""

    arguments: tuple[Argument, ...]
    open: bool

    def named(self) -> dict[str, Argument]:
        return {argument.name: argument for argument in self.arguments}


def signature_of(factory: Callable[..., Any]) -> Signature:
    """The signature of a class or function, annotations resolved (those that cannot be are kept as text)."""
    parameters = inspect.signature(factory).parameters.values()
    hints = _hints(factory)
    keyword_kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    arguments = []
    for parameter in parameters:
        if parameter.kind in keyword_kinds:
            annotation = hints.get(parameter.name, parameter.annotation)
            required = parameter.default is REQUIRED
            default = None if required else parameter.default
            arguments.append(Argument(parameter.name, describe_type(annotation), default, required, annotation))
    rest = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD]
    # Keywords of a TypedDict (**how: Unpack[...]) are for callers in Python; configs have the named arguments.
    closed = any(typing.get_origin(hints.get(name)) is typing.Unpack for name in rest)
    return Signature(tuple(arguments), bool(rest) and not closed)


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Annotation by argument; one that names something importable only while type checking stays a string."""
    function = inspect.unwrap(factory.__init__ if inspect.isclass(factory) else factory)
    raw = getattr(function, "__annotations__", {})
    scope = getattr(function, "__globals__", {})
    hints = {}
    for name, annotation in raw.items():
        one = SimpleNamespace(__annotations__={name: annotation})
        try:
            hints[name] = typing.get_type_hints(one, scope, include_extras=True)[name]
        except NameError:
            hints[name] = annotation
    return hints


def bind(
    what: str,
    factory: Callable[..., Any],
    config: Mapping[str, Any],
    *,
    positional: int = 0,
    given: Mapping[str, Any] | None = None,
    closed: Collection[str] = (),
    where: Where = None,
) -> dict[str, Any]:
    """Keyword arguments for `factory` from `config`, checked; missing ones are filled from `given`.

    `what` names the factory in messages (`model 'mlp'`); the first `positional` arguments are passed by the caller;
    `closed` ones exist in Python but not in configs. Raises ConfigError: unknown, missing or mistyped arguments.
    """
    signature = signature_of(factory)
    given = given or {}
    ours = {argument.name for argument in signature.arguments[:positional]} | set(closed)
    legal = [argument for argument in signature.arguments if argument.name not in ours]
    _refuse_unknown(what, config, legal, ours, signature.open, where)
    values = {key: value for key, value in config.items() if key not in signature.named()}
    for argument in legal:
        if argument.name in config:
            values[argument.name] = _checked(what, argument, config[argument.name], where)
        elif argument.name in given:
            values[argument.name] = given[argument.name]
        elif argument.required:
            raise ConfigError(
                f"{at(where, argument.name)}{what} needs {argument.name!r} ({argument.type}), which is not given.\n"
                f"  {listing(legal)}"
            )
    return values


def at(where: Where, key: str) -> str:
    """`conf/model/mlp.yaml: `, the beginning of a message about `key`; empty when the origin is not known."""
    origin = where(key) if callable(where) else where
    return f"{origin}: " if origin else ""


def listing(arguments: Iterable[Argument]) -> str:
    """`Arguments: hidden (list of int), dropout (float).`"""
    names = ", ".join(str(argument) for argument in arguments)
    return f"Arguments: {names}." if names else "It takes no arguments."


def _refuse_unknown(
    what: str, config: Mapping[str, Any], legal: list[Argument], ours: set[str], open_: bool, where: Where
) -> None:
    known = [argument.name for argument in legal]
    for key in config:
        if key in ours:
            raise ConfigError(
                f"{at(where, str(key))}{key!r} of {what} is filled in by expkit and cannot be set.\n  {listing(legal)}"
            )
        if key not in known and not open_:
            hint = f"{did_you_mean(str(key), known)}  {listing(legal)}".strip()
            raise ConfigError(f"{at(where, str(key))}{key!r} is not an argument of {what}.\n  {hint}")


def _checked(what: str, argument: Argument, value: Any, where: Where) -> Any:
    if isinstance(value, str) and value == MISSING:
        raise ConfigError(
            f"{at(where, argument.name)}{argument.name!r} of {what} must be given: it is ??? ({argument.type}) so far."
        )
    if value is LATER or (value is None and not argument.required and argument.default is None):
        return value
    try:
        return accept(value, argument.annotation)
    except Mismatch as problem:
        raise ConfigError(
            f"{at(where, argument.name)}{argument.name!r} of {what}: {problem}.{_advice(argument, value)}"
        ) from None


def _advice(argument: Argument, value: Any) -> str:
    """What to write instead, for the slips that are common in YAML and on command lines."""
    if isinstance(value, str) and "str" not in argument.type:
        legal = [word.strip("'") for word in argument.type.split(" or ") if word.startswith("'")]
        if legal:
            return did_you_mean(value, legal)
        if argument.type.startswith(("int", "float")) and _is_number(value):
            return f" Write {value} without quotes."
    if argument.type.startswith("list of") and not isinstance(value, list | tuple | dict | str):
        return f" Write [{value}]."
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def require_mapping(what: str, config: Any, where: Where) -> None:
    """RegistryError unless `config` is a mapping."""
    if not isinstance(config, Mapping):
        raise RegistryError(f"{at(where, 'name')}{what} must be a mapping with a 'name', got {show(config)}.")
