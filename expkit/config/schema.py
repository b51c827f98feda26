"""JSON schemas (draft 2020-12) of YAML files, made from the registry: for editors, and for checking without expkit.

    group_schema("model")     what a file of conf/model/ holds
    config_schema()           config.yaml, experiments, and composed configs

An entry with a `name` may have the arguments of that choice; one without (an experiment that changes a value) those of
any choice of its group. Everywhere an interpolation ${...} or ??? may stand for a value.
"""

import importlib
from typing import Any

from expkit.config.filled import POSITIONAL, TASK_PARTS
from expkit.config.validation import NAMED_GROUPS, RESOLVED_LATER, root, schedule_timing
from expkit.errors import ConfigError, did_you_mean
from expkit.registry import FOLDERS, Argument, describe, lookup, names, signature_of
from expkit.registry.schema import property_schema

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PLACEHOLDER = {"type": "string", "pattern": r"^\?\?\?$|\$\{"}
DEFAULTS = {"type": "array", "items": {"type": ["string", "object"]}, "description": "files that this one builds on"}
NONE = "none"
GLOBAL = ("experiment", "debug", "hparams_search")  # folders whose files change the whole config
FREE: dict[str, Any] = {"type": ["object", "null"]}  # values that expkit does not read itself
NOT_TRAINER_KEYS = ("callbacks", "logger", "default_root_dir")

Schema = dict[str, Any]


def folders() -> list[str]:
    """The folders of conf/ for whose files there is a schema of their own."""
    return sorted({*(FOLDERS[group] for group in REGISTERED), "trainer", "device", *GLOBAL})


def group_schema(folder: str) -> Schema:
    """What a file of that folder of conf/ holds. ConfigError where there is no such folder."""
    if folder in GLOBAL:
        return config_schema() | {"title": f"expkit {folder}"}
    if folder not in folders():
        known = folders()
        raise ConfigError(
            f"there is no schema of {folder!r}.{did_you_mean(folder, known)} Schemas: {', '.join(known)}."
        )
    return {"$schema": DRAFT, "title": f"expkit {folder}", **_file(folder)}


def config_schema() -> Schema:
    """What config.yaml, an experiment or the config of a run holds."""
    properties = {argument.name: _value(argument) for argument in signature_of(root).arguments}
    definitions = {folder: _file(folder) for folder in folders() if folder in properties}
    properties |= {folder: {"anyOf": [{"$ref": f"#/$defs/{folder}"}, {"type": "null"}]} for folder in definitions}
    properties["metrics"] = {"anyOf": [properties["metrics"], {"type": ["string", "array"]}]}
    properties |= {"defaults": DEFAULTS, "hydra": FREE, "paths": FREE, "vars": FREE}
    properties["plugins"]["description"] = "modules that register models, data sets, ... of your own"
    return {"$schema": DRAFT, "title": "expkit config", "$defs": definitions, **_object(properties)}


REGISTERED = (*POSITIONAL, "task", *NAMED_GROUPS.values())


def _file(folder: str) -> Schema:
    if folder == "trainer":
        return _object({"defaults": DEFAULTS, **_trainer()})
    if folder == "device":
        kinds = {"anyOf": [{"type": "string", "pattern": r"^(auto|cpu|cuda(:\d+)?|gpu)$"}, PLACEHOLDER]}
        return _object({"defaults": DEFAULTS, "name": kinds, "index": {"type": ["integer", "null"]}})
    group = next(group for group in REGISTERED if FOLDERS[group] == folder)
    entry = _entry(group)
    if folder not in NAMED_GROUPS:
        return entry
    # Named entries, or one entry alone (then its own keys stand at the top).
    named = {"type": "object", "properties": {"defaults": DEFAULTS, "name": False},
             "additionalProperties": {"anyOf": [entry, {"type": "null"}]}}  # fmt: skip
    return {"if": {"required": ["name"]}, "then": entry, "else": named}


def _entry(group: str) -> Schema:
    """An entry with a `name` and its arguments, or with arguments of any choice."""
    choices = {name: _choice(group, name) for name in names(group)}
    choices = {name: _extra(group) for name in _later(group)} | choices
    anything = {name for arguments in choices.values() for name in arguments}
    is_open = [name for name in names(group) if signature_of(lookup(group, name)).open]
    name = {"anyOf": [{"enum": list(choices)}, PLACEHOLDER], "description": f"which {group}"}
    rules = [
        {
            "if": {"properties": {"name": {"const": choice}}, "required": ["name"]},
            "then": {"properties": arguments, "additionalProperties": choice in is_open}
            if choice in is_open
            else {"properties": arguments, "propertyNames": {"enum": ["name", "defaults", *arguments]}},
        }
        for choice, arguments in choices.items()
    ]
    known = {"defaults": DEFAULTS, "name": name, **dict.fromkeys(sorted(anything), True)}
    return {"type": "object", "properties": known, "additionalProperties": bool(is_open), "allOf": rules}


def _later(group: str) -> list[str]:
    """Names under which nothing is built: `auto`, and `none` of what a task may do without."""
    found = [name for folder, name in RESOLVED_LATER.items() if folder == FOLDERS[group]]
    return [*found, NONE] if group in POSITIONAL and group != "data" else found


def _choice(group: str, name: str) -> Schema:
    """The arguments of a registered name that a config may set."""
    entry = describe(group, name)
    filled = {argument.name for argument in entry.arguments[: POSITIONAL.get(group, 0)]}
    filled |= set(TASK_PARTS) if group == "task" else set()
    arguments = {argument.name: _value(argument) for argument in entry.arguments if argument.name not in filled}
    return arguments | _extra(group)


def _extra(group: str) -> Schema:
    """Keys of a group that are no arguments of its choices."""
    if group == "scheduler":
        return {argument.name: _value(argument) for argument in signature_of(schedule_timing).arguments}
    return {"groups": {"type": "array", "items": {"type": "object"}}} if group == "optim" else {}


def _trainer() -> Schema:
    arguments = importlib.import_module("expkit.trainer.arguments").Arguments  # a layer above this one
    taken = signature_of(arguments).arguments
    return {argument.name: _value(argument) for argument in taken if argument.name not in NOT_TRAINER_KEYS}


def _value(argument: Argument) -> Schema:
    """What may stand behind a key: what the argument takes, null where that is its default, or a placeholder."""
    spec = property_schema(argument)
    default = {"default": spec.pop("default")} if "default" in spec else {}
    kinds = [*spec.pop("anyOf", [spec] if spec else [])]
    if not kinds:
        return default
    if not argument.required and argument.default is None:
        kinds.append({"type": "null"})
    return {"anyOf": [*kinds, PLACEHOLDER], **default}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}
