"""Overrides on a config that a run has saved: values, and other options of a few groups."""

from collections.abc import Collection, Sequence

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from expkit.config.composition import Composed, compose, parse_overrides
from expkit.config.listing import groups
from expkit.config.paths import conf_folders
from expkit.errors import ConfigError, did_you_mean


def change(composed: Composed, overrides: Sequence[str], legal: Collection[str], why: str) -> None:
    """Applies overrides to a loaded config. Only the root keys in `legal` may be changed; `why` ends the refusal.

    `data=csv data.path=x` replaces the group as a whole: what the run had set there does not count any more.
    ConfigError for what is not legal, does not exist or is no override.
    """
    parsed = parse_overrides(overrides)
    for override in parsed:
        _require_legal(override, legal, why)
    known = groups(conf_folders())
    chosen = {o.key_or_group for o in parsed if o.key_or_group in known and isinstance(o.value(), str)}
    for group in chosen:
        own = [str(o.input_line) for o in parsed if o.get_key_element().split(".")[0].lstrip("+~") == group]
        fresh = compose(own)
        with open_dict(composed.config):
            composed.config[group] = OmegaConf.select(fresh.config, group)
        composed.origins.delete(group)
        composed.origins.set(f"override '{group}={fresh.choices.get(group)}'", group, {})
    for override in parsed:
        if override.key_or_group.partition(".")[0] not in chosen:
            _set(composed, override)
    composed.overrides = [*composed.overrides, *map(str, overrides)]


def _require_legal(override: Override, legal: Collection[str], why: str) -> None:
    root = override.key_or_group.partition(".")[0]
    line = str(override.input_line)
    if override.is_sweep_override():
        raise ConfigError(f"override {line!r} gives several values; one is wanted here.")
    if root not in legal:
        hint = did_you_mean(root, legal)
        raise ConfigError(f"override {line!r}: {root} cannot be changed here: {why}.{hint} Legal: {', '.join(legal)}.")


def _set(composed: Composed, override: Override) -> None:
    key, line = override.key_or_group, str(override.input_line)
    parent, _, last = key.rpartition(".")
    holder = OmegaConf.select(composed.config, parent) if parent else composed.config
    if override.is_delete():
        raise ConfigError(f"override {line!r}: nothing can be removed from the config of a run; set a value.")
    present = [str(name) for name in holder] if OmegaConf.is_dict(holder) else []
    if last not in present and not override.is_add():
        raise ConfigError(
            f"override {line!r}: there is no key {last!r} in {parent or 'the config'}.{did_you_mean(last, present)}\n"
            f"  {parent or 'the config'}: {', '.join(present)}. A new key is added with +{line}."
        )
    try:
        OmegaConf.update(composed.config, key, override.value(), force_add=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"override {line!r}: {str(error).splitlines()[0]}.") from None
    composed.origins.set(f"override {line!r}", key, override.value())
