"""Composition of experiments from YAML files and overrides (Hydra), with errors that name file, key and close match.

Needs Hydra and OmegaConf, which the engine and the registry never import.
"""

from expkit.config.compose import Composed, compose, load
from expkit.config.derived import DERIVED, derived_values, is_derived
from expkit.config.origins import Origins
from expkit.config.paths import builtin_conf, conf_folders
from expkit.config.rundir import make_run_dir
from expkit.config.validate import named_entries, validate

__all__ = [
    "DERIVED",
    "Composed",
    "Origins",
    "builtin_conf",
    "compose",
    "conf_folders",
    "derived_values",
    "is_derived",
    "load",
    "make_run_dir",
    "named_entries",
    "validate",
]
