"""expkit's config sources and loader for Hydra.

`ConfSource` reads YAML files and reports what is wrong with one itself (file, line, column); `RegistrySource` makes
names that plugins registered selectable without a YAML file; `Loader` is Hydra's loader that notes which file set
which keys. Hydra is pinned to 1.3 because its loader has no public interface for this.
"""

import io
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from expkit.config.paths import ConfFolder, label
from expkit.errors import ConfigError
from expkit.registry import FOLDERS, lookup, registered

# These folders hold named entries ({csv: {name: csv}}), the others one entry ({name: mlp}).
NAMED = ("callbacks", "logger", "metrics")
NO_MAPPING = "a config file holds 'key: value' lines, this one something else."


class ConfSource(FileConfigSource):
    """A folder of YAML files; a file that cannot be used is a ConfigError naming file, line and column."""

    @staticmethod
    def scheme() -> str:
        return "expkit"

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        config, text = load_yaml(path)
        _check_defaults(path, config)
        try:
            header = self._get_header_dict(_package_lines(text))
        except ValueError as error:
            raise ConfigError(
                f"{label(path)}: the first line is wrong: {error}. Write e.g. '# @package _global_'."
            ) from None
        return ConfigResult(provider=self.provider, path=str(path), config=config, header=header)


class RegistrySource(ConfigSource):
    """What plugins registered, as if each name had a YAML file with its `name` only."""

    @staticmethod
    def scheme() -> str:
        return "registry"

    def load_config(self, config_path: str) -> ConfigResult:
        folder, name = self._split(config_path)
        entry = {"name": name}
        config = OmegaConf.create({name: entry} if folder in NAMED else entry)
        path = f"the registered {folder} {name!r}"
        return ConfigResult(provider=self.provider, path=path, config=config, header={"package": None})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return bool(_foreign(config_path))

    def is_config(self, config_path: str) -> bool:
        folder, name = self._split(config_path)
        return name in _foreign(folder)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if results_filter is ObjectType.GROUP:
            return []
        return _foreign(config_path)

    @staticmethod
    def _split(config_path: str) -> tuple[str, str]:
        folder, _, name = config_path.removesuffix(".yaml").rpartition("/")
        return folder, name


def _foreign(folder: str) -> list[str]:
    """Names that others than expkit registered for a folder of conf/."""
    groups = [group for group, its_folder in FOLDERS.items() if its_folder == folder]
    return [
        name for group in groups for name in registered(group)
        if lookup(group, name).__module__.partition(".")[0] != "expkit"
    ]  # fmt: skip


class Loader(ConfigLoaderImpl):
    """Hydra's loader over expkit's folders. `loaded` lists (file, content rooted at its package) in merge order."""

    def __init__(self, folders: list[ConfFolder]) -> None:
        _register_sources()
        self.loaded: list[tuple[str, DictConfig]] = []
        self.primary = "the config"
        super().__init__(_search_path(folders))

    def _load_single_config(self, default: Any, repo: Any) -> ConfigResult:
        result = super()._load_single_config(default, repo)
        if isinstance(result.config, DictConfig):
            self.loaded.append((result.path, result.config))
            if default.primary:
                self.primary = result.path
        return result


def _register_sources() -> None:
    Plugins.instance()  # registers Hydra's own sources
    for source in (ConfSource, RegistrySource):
        SourcesRegistry.instance().register(source)


def _search_path(folders: list[ConfFolder]) -> ConfigSearchPathImpl:
    path = ConfigSearchPathImpl()
    for folder in folders:
        # Hydra wants a provider named `main` for the application's own folder.
        provider = "main" if folder.provider == "built-in" else folder.provider
        path.append(provider, f"{ConfSource.scheme()}://{folder.path}")
    path.append("plugins", f"{RegistrySource.scheme()}://names")
    path.append("hydra", "pkg://hydra.conf")
    for plugin in Plugins.instance().discover(SearchPathPlugin):
        plugin().manipulate_search_path(path)  # type: ignore[attr-defined]
    path.append("schema", "structured://")
    return path


def load_yaml(path: Path) -> tuple[DictConfig, str]:
    """The content of a YAML file and its text. ConfigError, with line and column, for what cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        config = OmegaConf.load(io.StringIO(text))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{label(path)}: not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}."
        ) from None
    except OSError as error:
        if error.strerror is None:  # OmegaConf's: the file holds one string or number
            raise ConfigError(f"{label(path)}: {NO_MAPPING}") from None
        raise ConfigError(f"{label(path)}: cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{label(path)}{_yaml_problem(error)}") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{label(path)}{_interpolation_line(error, text)}") from None
    bare_word = ":" not in text and not text.lstrip().startswith("{")  # OmegaConf makes a key of a lone word
    if not isinstance(config, DictConfig) or (config and bare_word):
        raise ConfigError(f"{label(path)}: {NO_MAPPING}")
    return config, text


def _package_lines(text: str) -> str:
    """The `# @package ...` lines of the comments that a file begins with; Hydra looks at its very first line alone."""
    comments = takewhile(lambda line: not line.strip() or line.lstrip().startswith("#"), text.splitlines())
    return "\n".join(line for line in comments if line.lstrip("# ").startswith("@package"))


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
    hint = " YAML is indented with spaces, not tabs." if "\\t" in problem else ""
    return f"{where}: not valid YAML: {problem}.{hint}"


def _interpolation_line(error: OmegaConfBaseException, text: str) -> str:
    """`, line 3: 'optim.lr': ...` for an interpolation that cannot be parsed (OmegaConf names key, not line)."""
    key = str(getattr(error, "full_key", "") or "")
    last = key.rpartition(".")[2]
    lines = [number for number, line in enumerate(text.splitlines(), 1) if last and line.strip().startswith(f"{last}:")]
    where = f", line {lines[0]}" if lines else ""
    return f"{where}: {key!r} has a malformed interpolation: {str(error).splitlines()[0]}. Write ${{group.key}}."


def _check_defaults(path: Path, config: DictConfig) -> None:
    if "defaults" not in config:
        return
    defaults = OmegaConf.to_container(config, resolve=False)["defaults"]  # type: ignore[index, call-overload]
    if not isinstance(defaults, list):
        raise ConfigError(f"{label(path)}: 'defaults' must be a list of '- group: option' lines.")
    for item in defaults:
        values = list(item.values()) if isinstance(item, dict) else [item]
        if len(values) != 1 or not isinstance(values[0], str | list | None):
            raise ConfigError(
                f"{label(path)}: {item!r} in 'defaults' cannot be used: each line is '- group: option' "
                "(or '- override /group: option', '- _self_')."
            )
