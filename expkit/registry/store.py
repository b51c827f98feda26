"""The table of names: `register`, `lookup`, `names`, and the plugins that add to it."""

import importlib
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from expkit.errors import RegistryError, did_you_mean
from expkit.registry.builtin import BUILTIN, GROUPS

Factory = Callable[..., Any]
F = TypeVar("F", bound=Factory)

ENTRY_POINTS = "expkit.plugins"

_factories: dict[str, dict[str, Factory]] = {group: {} for group in GROUPS}
_plugins: dict[str, ModuleType] = {}
_loaded: set[str] = set()  # groups whose built-in modules were imported, and ENTRY_POINTS once those were


def register(group: str, name: str) -> Callable[[F], F]:
    """Decorator: makes a class or function available as `name` in `group`, to configs and to `build`.

    RegistryError when the group does not exist or another object holds the name already.
    """
    table = _table(group)
    if not isinstance(name, str) or not name.replace("_", "").isalnum():
        raise RegistryError(f"register({group!r}, {name!r}): a name has letters, digits and underscores only.")

    def add(factory: F) -> F:
        present = table.get(name)
        if present is not None and _identity(present) != _identity(factory):
            raise RegistryError(
                f"{group} {name!r} is registered twice: by {_identity(present)} and by {_identity(factory)}. "
                "Give one of them another name."
            )
        table[name] = factory
        return factory

    return add


def lookup(group: str, name: str) -> Factory:
    """The factory registered under `name`. RegistryError, with close matches, when there is none."""
    table = _table(group)
    if name not in table:
        known = names(group)
        if name not in table:
            raise RegistryError(
                f"there is no {group} {name!r}.{did_you_mean(str(name), known)}\n"
                f"  {group}: {', '.join(known) or 'nothing is registered'}. "
                "One of your own is known once its module is loaded: plugins=[my_package.my_module]."
            )
    return table[name]


def names(group: str) -> list[str]:
    """All names of a group, sorted: the built-in ones and those of plugins."""
    table = _table(group)
    if group not in _loaded:
        for module in BUILTIN[group]:
            importlib.import_module(module)
        _loaded.add(group)
    load_entry_points()
    return sorted(table)


def registered(group: str) -> list[str]:
    """The names of a group that are known by now, importing nothing."""
    return sorted(_table(group))


def load_plugins(modules: Iterable[str]) -> None:
    """Imports the plugin modules of a config, so that what they register can be chosen.

    The working directory is searched as well: an installed command does not have it on the path.
    RegistryError when a module is not there or fails while being imported.
    """
    for name in modules:
        if name in _plugins:
            continue
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise RegistryError(f"plugin {name!r} is not the name of a module: write e.g. my_package.my_module.")
        _plugins[name] = _import_plugin(name)


def load_entry_points() -> None:
    """Imports the plugins that installed packages declare under the entry point group `expkit.plugins`."""
    if ENTRY_POINTS in _loaded:
        return
    _loaded.add(ENTRY_POINTS)
    for point in metadata.entry_points(group=ENTRY_POINTS):
        load_plugins([point.module])


def plugin_folders() -> list[Path]:
    """The folders of the loaded plugins' modules, in loading order; each may have a `conf` folder beside it."""
    folders = (Path(module.__file__).parent for module in _plugins.values() if module.__file__)
    return list(dict.fromkeys(folders))


def _table(group: str) -> dict[str, Factory]:
    if group not in _factories:
        raise RegistryError(
            f"there is no registry group {group!r}.{did_you_mean(str(group), GROUPS)}\n  Groups: {', '.join(GROUPS)}."
        )
    return _factories[group]


def _identity(factory: Factory) -> str:
    return f"{factory.__module__}.{factory.__qualname__}"


def _import_plugin(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise RegistryError(
                f"plugin {name!r} cannot be imported: there is no module {error.name!r}, "
                f"neither installed nor in {here}."
            ) from error
        raise _broken(name, error) from error
    except RegistryError:
        raise
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> RegistryError:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f" ({frame.tb_frame.f_code.co_filename}, line {frame.tb_lineno})" if frame is not None else ""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
        error = type(error)(error.msg)
    return RegistryError(f"plugin {name!r} fails while being imported: {type(error).__name__}: {error}{where}.")
