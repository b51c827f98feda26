"""Composition of experiments from YAML files and overrides (Hydra), with errors that name file, key and close match.

    composed = compose(["model=cnn", "optim.lr=0.01"])
    config = validate(composed)          # plain containers; ConfigError for whatever can be known to be wrong
    run_dir = make_run_dir(composed)

Needs Hydra and OmegaConf, which the engine and the registry never import. The names below are loaded on first use, so
that listing what there is does not pay for Hydra.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expkit.config.composition import Composed, compose, load, parse_overrides
    from expkit.config.derived import derived_values, is_derived
    from expkit.config.filled import DERIVED
    from expkit.config.listing import Option, groups, options
    from expkit.config.origins import Origins
    from expkit.config.paths import ConfFolder, builtin_conf, conf_folders
    from expkit.config.rundir import make_run_dir
    from expkit.config.validation import named_entries, split_schedule, validate

_MODULES = {
    "Composed": "composition",
    "compose": "composition",
    "load": "composition",
    "parse_overrides": "composition",
    "DERIVED": "filled",
    "derived_values": "derived",
    "is_derived": "derived",
    "Option": "listing",
    "groups": "listing",
    "options": "listing",
    "Origins": "origins",
    "ConfFolder": "paths",
    "builtin_conf": "paths",
    "conf_folders": "paths",
    "make_run_dir": "rundir",
    "named_entries": "validation",
    "split_schedule": "validation",
    "validate": "validation",
}

__all__ = [
    "DERIVED",
    "Composed",
    "ConfFolder",
    "Option",
    "Origins",
    "builtin_conf",
    "compose",
    "conf_folders",
    "derived_values",
    "groups",
    "is_derived",
    "load",
    "make_run_dir",
    "named_entries",
    "options",
    "parse_overrides",
    "split_schedule",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'expkit.config' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"expkit.config.{_MODULES[name]}"), name)
    globals()[name] = value  # also where a submodule of the same name was put by the import
    return value
