"""From config to object: `build` and `check`, and what `expkit show` prints: `describe`."""

import inspect
import re
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from expkit.errors import ConfigError, ExpkitError, RegistryError
from expkit.registry.arguments import Argument, Where, at, bind, require_mapping, signature_of
from expkit.registry.store import Factory, lookup, names
from expkit.registry.types import LATER


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered name: its factory's arguments and documentation."""

    group: str
    name: str
    summary: str
    doc: str
    arguments: list[Argument]


def build(
    group: str,
    config: Mapping[str, Any],
    *args: Any,
    given: Mapping[str, Any] | None = None,
    where: Where = None,
) -> Any:
    """The object that `config` describes: its `name` picks the factory, the other keys are its arguments.

    `args` are passed first, by position; arguments that the config leaves out are filled from `given`. `where` (a
    file, or a function from key to origin) begins the messages. Raises ConfigError for anything that does not fit.
    """
    name, factory = _choose(group, config, where)
    values = bind(_what(group, name), factory, _arguments(config), positional=len(args), given=given, where=where)
    try:
        return factory(*args, **values)
    except (TypeError, ValueError) as error:
        if isinstance(error, ExpkitError):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        origin = at(where, culprit(config, str(error), where))
        raise ConfigError(
            f"{origin}{_what(group, name)} cannot be built: {type(error).__name__}: {error} "
            f"({frames[-1].filename}, line {frames[-1].lineno})."
        ) from error


def check(
    group: str,
    config: Mapping[str, Any],
    given_keys: Collection[str] = (),
    where: Where = None,
    positional: int = 0,
) -> None:
    """All the checking of `build` and nothing built: `given_keys` and `positional` arguments will be there later."""
    name, factory = _choose(group, config, where)
    given = dict.fromkeys(given_keys, LATER)
    bind(_what(group, name), factory, _arguments(config), positional=positional, given=given, where=where)


def culprit(config: Mapping[str, Any], message: str, where: Where = None) -> str:
    """The argument that a message is about: of those that it names an overridden one, else the first; or `name`."""
    places = {str(key): re.search(rf"\b{re.escape(str(key))}\b", message) for key in config if key != "name"}
    found = sorted((place.start(), key) for key, place in places.items() if place)
    named = [key for _, key in found]
    return next((key for key in named if at(where, key).startswith("override ")), named[0] if named else "name")


def describe(group: str, name: str) -> Entry:
    """Arguments, types, defaults and documentation of a registered name. RegistryError when there is none."""
    factory = lookup(group, name)
    doc = inspect.getdoc(factory) or ""
    summary = " ".join(doc.split("\n\n")[0].split())
    return Entry(group, name, summary, doc, list(signature_of(factory).arguments))


def _what(group: str, name: str) -> str:
    return f"{group} {name!r}"


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in config.items() if key != "name"}


def _choose(group: str, config: Mapping[str, Any], where: Where) -> tuple[str, Factory]:
    require_mapping(f"a {group}", config, where)
    if "_target_" in config:
        raise ConfigError(
            f"{at(where, '_target_')}'_target_' has no effect here: expkit builds registered names only. "
            f"Write 'name: ...' with one of: {', '.join(names(group))}."
        )
    name = config.get("name")
    if not isinstance(name, str) or not name or name == "???":
        raise ConfigError(
            f"{at(where, 'name')}a {group} needs a 'name', got {name!r}. Names: {', '.join(names(group))}."
        )
    try:
        return name, lookup(group, name)
    except RegistryError as error:
        raise RegistryError(f"{at(where, 'name')}{error}") from None
