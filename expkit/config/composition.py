"""`compose`: from overrides to a checked-for-form config, with the origin of every value."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.utils import JobRuntime, setup_globals
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from expkit.config import reword
from expkit.config.derived import derived_values, register_resolvers
from expkit.config.interpolations import check_interpolations
from expkit.config.origins import Origins
from expkit.config.paths import ConfFolder, conf_folders, label
from expkit.config.sources import Loader, load_yaml
from expkit.errors import ConfigError
from expkit.registry import load_plugins

JOB_NAME = "expkit"


@dataclass
class Composed:
    """A composed config.

    config: the job's config, interpolations unresolved; hydra: Hydra's own node; origins: who set what;
    overrides: as given; choices: group -> chosen option; multirun: whether several runs are asked for.
    """

    config: DictConfig
    hydra: DictConfig
    origins: Origins
    overrides: list[str] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)

    @property
    def multirun(self) -> bool:
        return self.hydra.mode == RunMode.MULTIRUN

    def resolved(self, derived: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The config as plain containers, interpolations resolved.

        `${derived:...}` stays as it is unless `derived` has the values. ConfigError for what cannot be resolved.
        """
        self.activate()
        if derived is None:
            return _plain(self)
        with derived_values(derived):
            return _plain(self)

    def activate(self) -> None:
        """Makes this the config that `${hydra:...}` refers to; several configs may live in one process."""
        HydraConfig.instance().set_config(cast(DictConfig, self.hydra._get_parent()))

    def set_run_dir(self, run_dir: Path) -> None:
        """Lets `${hydra:runtime.output_dir}` be the directory that the run really got."""
        with read_write(self.hydra), open_dict(self.hydra):
            self.hydra.runtime.output_dir = str(run_dir)


def _plain(composed: Composed) -> dict[str, Any]:
    check_interpolations(composed.config, composed.origins)
    return OmegaConf.to_container(composed.config, resolve=True)  # type: ignore[return-value]


def compose(
    overrides: Sequence[str] = (),
    config_name: str = "config",
    config_dir: str | Path | None = None,
    *,
    multirun: bool = False,
) -> Composed:
    """Composes `config_name` with Hydra's override grammar over expkit's conf folders.

    With `multirun` overrides may give several values per key; those are left out of the config. ConfigError for
    everything that Hydra, OmegaConf or a YAML file have to complain about.
    """
    setup()
    folders = conf_folders(config_dir)
    parsed = _spelled_out(parse_overrides(overrides), folders)
    overrides = [str(override.input_line) for override in parsed]
    load_plugins(_announced_plugins(folders, config_name, parsed))
    folders = conf_folders(config_dir)
    composed = _compose(overrides, parsed, config_name, folders, multirun)
    later = OmegaConf.select(composed.config, "plugins")
    if OmegaConf.is_list(later):
        load_plugins(later)
        if conf_folders(config_dir) != folders:  # a plugin that only a composed file names brought a folder
            composed = _compose(overrides, parsed, config_name, conf_folders(config_dir), multirun)
    return composed


def load(path: str | Path) -> Composed:
    """A config that was saved by a run: nothing is composed, interpolations and `${derived:...}` still resolve."""
    setup()
    path = Path(path)
    config, _ = load_yaml(path)
    OmegaConf.set_struct(config, True)
    origins = Origins(label(path.absolute()))
    load_plugins(OmegaConf.select(config, "plugins") or [])
    blank = Loader(conf_folders()).load_configuration(None, [], RunMode.RUN)
    blank.hydra.runtime.output_dir = str(path.parent.absolute())
    return Composed(config, blank.hydra, origins)


def setup() -> None:
    """What Hydra needs once per process: its version's behaviour, a job name, resolvers."""
    version.setbase("1.3")
    setup_globals()
    JobRuntime().set("name", JOB_NAME)
    register_resolvers()


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Hydra's parse of override texts. ConfigError for one that is not `key=value`."""
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise reword.parse_problem(error) from None
    except HydraException as error:
        raise ConfigError(f"an override cannot be read: {error}.") from None


def _spelled_out(parsed: list[Override], folders: list[ConfFolder]) -> list[Override]:
    """What Hydra has no words for, in its own: `callbacks=null`, which leaves the group out, as `~callbacks`;
    `logger=[csv,mlflow]`, which are files of one entry each, as entries of a mapping."""
    found = []
    for o in parsed:
        plain = o.type is OverrideType.CHANGE and not o.is_sweep_override()
        value = o.value() if plain else ""
        if value is None and any((folder.path / o.key_or_group).is_dir() for folder in folders):
            found += parse_overrides([f"~{o.key_or_group}"])
        elif o.key_or_group == "logger" and isinstance(value, list):
            found += parse_overrides(["~logger", *(f"+logger@logger.{name}={name}" for name in value)])
        else:
            found.append(o)
    return found


def _announced_plugins(folders: list[ConfFolder], config_name: str, parsed: list[Override]) -> list[str]:
    """The plugins that overrides, the primary file or a chosen experiment name: they may bring what is chosen."""
    for override in reversed(parsed):
        value = override.value()
        if override.key_or_group == "plugins" and isinstance(value, list):
            return [str(name) for name in value]
    experiments = [o.value() for o in parsed if o.key_or_group == "experiment" and not o.is_sweep_override()]
    files = [config_name, *(f"experiment/{name}" for name in experiments if isinstance(name, str))]
    plugins: list[str] = []
    for file in files:
        for folder in folders:
            path = folder.path / f"{file.removesuffix('.yaml')}.yaml"
            if path.is_file():
                named = OmegaConf.select(load_yaml(path)[0], "plugins")
                plugins += named if OmegaConf.is_list(named) else []
                break
    return plugins


def _compose(
    overrides: list[str], parsed: list[Override], config_name: str, folders: list[ConfFolder], multirun: bool
) -> Composed:
    loader = Loader(folders)
    mode = RunMode.MULTIRUN if multirun else RunMode.RUN

    def attempt() -> reword.Attempt:
        return reword.Attempt(
            parsed=parsed,
            folders=folders,
            groups=[group for group in loader.list_groups("") if group != "hydra"],
            options=loader.get_group_options,
            without_keys=lambda: _without_keys(loader, parsed, config_name),
        )

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=r"provider=.* is not available")
            full = loader.load_configuration(config_name, overrides, mode, validate_sweep_overrides=False)
    except UserWarning as warning:
        path = str(warning).partition("path=")[2].partition(" is not")[0]
        raise ConfigError(f"hydra.searchpath: there is no folder {path}.") from None
    except (HydraException, ValueError, TypeError, AssertionError) as error:
        raise reword.composition_problem(error, attempt()) from None
    except RecursionError:
        raise reword.endless_problem(parsed) from None
    return _composed(full, loader, parsed, config_name, multirun)


def _without_keys(loader: Loader, parsed: list[Override], config_name: str) -> DictConfig:
    """The config with the group choices only: what the keys of a failed override are held against."""
    groups = [str(o.input_line) for o in parsed if _chooses(o, loader)]
    try:
        return loader.load_configuration(config_name, groups, RunMode.MULTIRUN, validate_sweep_overrides=False)
    except (HydraException, ValueError):
        return loader.load_configuration(config_name, [], RunMode.MULTIRUN)


def _composed(full: DictConfig, loader: Loader, parsed: list[Override], config_name: str, multirun: bool) -> Composed:
    if multirun:
        full.hydra.mode = RunMode.MULTIRUN
    composed_mode = full.hydra.mode
    sweeps = [override for override in parsed if override.is_sweep_override()]
    if sweeps and composed_mode != RunMode.MULTIRUN:
        raise reword.sweep_problem(sweeps[0])
    origins = _origins(loader, parsed)
    HydraConfig.instance().set_config(full)  # hydra.run.dir may refer to ${hydra:...}
    config = OmegaConf.masked_copy(full, [str(key) for key in full if key != "hydra"])
    OmegaConf.set_struct(config, True)
    with read_write(full.hydra), open_dict(full.hydra):
        full.hydra.runtime.output_dir = str(Path(_run_dir(full, origins)).absolute())
    choices = {str(group): str(option) for group, option in full.hydra.runtime.choices.items() if option is not None}
    return Composed(config, full.hydra, origins, [str(o.input_line) for o in parsed], choices)


def _run_dir(full: DictConfig, origins: Origins) -> str:
    try:
        return str(full.hydra.run.dir)
    except OmegaConfBaseException as error:
        said = str(error).splitlines()[0]
        raise ConfigError(f"{origins.of('hydra.run.dir')}: hydra.run.dir cannot be resolved: {said}.") from None


def _chooses(override: Override, loader: Loader) -> bool:
    """Whether an override is the choice of an option (its file is the origin then) and not a value."""
    is_value = not override.is_delete() and isinstance(override.value(), dict)
    return bool(loader.repository.group_exists(override.key_or_group)) and not is_value


def _origins(loader: Loader, parsed: list[Override]) -> Origins:
    origins = Origins(label(loader.primary))
    for path, content in loader.loaded:
        plain = OmegaConf.to_container(content, resolve=False)
        origins.set(label(path), "", plain)
    for override in parsed:
        if override.is_sweep_override() or _chooses(override, loader):
            continue
        if override.is_delete():
            origins.delete(override.key_or_group)
        else:
            origins.set(f"override {override.input_line!r}", override.key_or_group, override.value())
    return origins
