"""From sweep overrides (`optim.lr=1e-2,1e-3`) to jobs: one list of plain overrides for each combination."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Glob, Override

from expkit.config import Composed, conf_folders, options
from expkit.config.composition import parse_overrides
from expkit.errors import ConfigError

GRID = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def jobs(composed: Composed, overrides: Sequence[str], config_dir: str | Path | None = None) -> list[list[str]]:
    """The overrides of every job, in the order of the command line, the last key varying fastest.

    Values come from the overrides and from `hydra.sweeper.params` of the config; overrides win.
    """
    _only_grids(composed)
    params = composed.hydra.sweeper.get("params") or {}
    parsed = parse_overrides([*(f"{key}={value}" for key, value in params.items()), *overrides])
    choices: dict[str, list[str]] = {}
    for override in parsed:
        if override.key_or_group == "hydra.mode":
            continue
        choices.pop(override.get_key_element(), None)  # a later override takes the place of an earlier one
        choices[override.get_key_element()] = _values(override, config_dir)
    return [list(combination) for combination in product(*choices.values())]


def _values(override: Override, config_dir: str | Path | None) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key, value = override.get_key_element(), override.value()
    if isinstance(value, Glob):
        known = [option.name for option in options(conf_folders(config_dir), override.key_or_group)]
        found = value.filter(known)
        if not found:
            raise ConfigError(f"override '{override.input_line}': no option of {key} matches; there are {known}.")
        return [f"{key}={name}" for name in found]
    if not override.is_discrete_sweep():
        kind = override.value_type.name.lower() if override.value_type else "such a"
        raise ConfigError(
            f"override '{override.input_line}': the grid needs a list of values (a,b,c, choice(...) or range(...)), "
            f"not {kind.replace('_sweep', '')}(...)."
        )
    return [f"{key}={text}" for text in override.sweep_string_iterator()]


def _only_grids(composed: Composed) -> None:
    sweeper = composed.hydra.sweeper.get("_target_")
    if sweeper != GRID:
        raise ConfigError(f"hydra/sweeper: {sweeper} is not supported; leave hydra/sweeper at 'basic'.")


def varied(all_jobs: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Of each job the values that differ between jobs: {"optim.lr": "0.01"}; what a table shows."""
    tables: list[dict[str, str]] = [_table(job) for job in all_jobs]
    keys = [key for key in tables[0] if len({table.get(key) for table in tables}) > 1] if tables else []
    return [{key: table[key] for key in keys} for table in tables]


def _table(job: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, _, value in (override.partition("=") for override in job)}
