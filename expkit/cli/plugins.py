"""The plugins that a listing should know of: those of a `plugins=[...]` word, else of config.yaml."""

from pathlib import Path

import yaml  # type: ignore[import-untyped]

from expkit.config.paths import ConfFolder, conf_folders
from expkit.config.plain import plain_content
from expkit.errors import ConfigError
from expkit.registry import load_plugins

OVERRIDE = "plugins="


def split_plugins(words: list[str]) -> tuple[list[str], str | None]:
    """(the other words, the value of `plugins=...`)."""
    values = [word.removeprefix(OVERRIDE) for word in words if word.startswith(OVERRIDE)]
    return [word for word in words if not word.startswith(OVERRIDE)], values[-1] if values else None


def folders_with_plugins(value: str | None, config_dir: str | None = None) -> list[ConfFolder]:
    """The conf folders, once the plugins are loaded. ConfigError (RegistryError) for one that cannot be."""
    load_plugins(_named(value) if value is not None else _announced(conf_folders(config_dir)))
    return conf_folders(config_dir)


def _named(value: str) -> list[str]:
    try:
        names = yaml.safe_load(value)
    except yaml.YAMLError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{OVERRIDE}{value}: expected a list of modules, e.g. plugins=[my_package.models].")
    return names


def _announced(folders: list[ConfFolder]) -> list[str]:
    path = next((path for path in (Path(f.path, "config.yaml") for f in folders) if path.is_file()), None)
    named = plain_content(path).get("plugins") if path is not None else None
    return [str(name) for name in named] if isinstance(named, list) else []
