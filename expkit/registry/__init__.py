"""Names to factories, configs to objects.

    @register("model", "mlp")                    # a class or a function
    build("model", {"name": "mlp", "hidden": [64]}, given={"input_shape": (64,), "output_size": 10})

Only registered names can be built. Arguments are checked against signature and annotations; what does not fit is a
ConfigError that names the origin, the key, the close matches and what is legal.
"""

from expkit.registry.arguments import Argument, Signature, Where, bind, signature_of
from expkit.registry.build import Entry, build, check, culprit, describe
from expkit.registry.builtin import FOLDERS, GROUPS
from expkit.registry.schema import schema
from expkit.registry.store import (
    load_entry_points,
    load_plugins,
    lookup,
    names,
    plugin_folders,
    register,
    registered,
)
from expkit.registry.types import LATER, accept, describe_type

__all__ = [
    "FOLDERS",
    "GROUPS",
    "LATER",
    "Argument",
    "Entry",
    "Signature",
    "Where",
    "accept",
    "bind",
    "build",
    "check",
    "culprit",
    "describe",
    "describe_type",
    "load_entry_points",
    "load_plugins",
    "lookup",
    "names",
    "plugin_folders",
    "register",
    "registered",
    "schema",
    "signature_of",
]
