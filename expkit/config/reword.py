"""Hydra's errors as ConfigErrors: what is wrong, in which override or file, the close matches, what is legal."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf

from expkit import tree
from expkit.config.paths import MARKER, ConfFolder, label, unmarked_conf
from expkit.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Attempt:
    """A composition that failed: what was asked for, and how to compose without the overrides of single keys."""

    parsed: list[Override]
    folders: list[ConfFolder]
    groups: list[str]
    options: Callable[[str], list[str]]
    without_keys: Callable[[], DictConfig]


def parse_problem(error: OverrideParseException) -> ConfigError:
    """An override that is not `key=value` or whose value cannot be parsed."""
    text = error.override
    if "=" not in text:
        return ConfigError(
            f"{text!r} is not an override: write key=value (model=cnn, optim.lr=0.01), +key=value to add a key, "
            "~key to remove one."
        )
    problem = next((line for line in error.message.splitlines() if line and not line.startswith("See http")), "")
    problem = re.sub(r"^(Error parsing override.*|LexerNoViableAltException: .*)$", "", problem).strip()
    key, _, value = text.partition("=")
    hint = f" Quote it: {key}='\"{value}\"'." if _needs_quotes(value) else ""
    if any(value.count(left) != value.count(right) for left, right in ("[]", "{}", "()")):
        hint = " A bracket is not closed."
    return ConfigError(f"override {text!r}: the value cannot be read{f': {problem}' if problem else ''}.{hint}")


def _needs_quotes(value: str) -> bool:
    """Hydra reads some signs as its own, and letters of other alphabets only in quotes."""
    return not value.isascii() or any(sign in value for sign in " ()[]{}:=%&#")


def sweep_problem(override: Override) -> ConfigError:
    """Several values for one key without --multirun."""
    key, _, value = (override.input_line or "").partition("=")
    return ConfigError(
        f"override {override.input_line!r} gives several values. Add -m (--multirun) to run them all, write "
        f"{key}=[{value}] for a list, or {key}=\"'{value}'\" for a string."
    )


def composition_problem(error: Exception, attempt: Attempt) -> ConfigError:
    """Any other complaint of Hydra's about choices and overrides."""
    if isinstance(error, MissingConfigException):
        return _missing_config(error, attempt)
    if not isinstance(error, HydraException):
        for override in attempt.parsed:
            _refuse_misfit(override, attempt)
    message = str(error)
    for pattern, reworded in _RULES:
        match = re.search(pattern, message, re.DOTALL)
        if match:
            return reworded(match, attempt)
    cause = error.__cause__ or error.__context__
    said = " ".join(f"{message} {cause or ''}".split())
    return ConfigError(_tidy(said) or f"the config cannot be composed: {type(error).__name__}.")


def endless_problem(parsed: list[Override]) -> ConfigError:
    """Files whose defaults lists lead back to themselves, which Hydra follows until the stack ends."""
    chosen = [str(override.input_line) for override in parsed if "." not in override.key_or_group]
    return ConfigError(
        f"override {' '.join(chosen)!r}: the defaults lists of the files go round in a circle: one of them names "
        "itself, or a file that names it. Take that line out."
    )


def _refuse_misfit(override: Override, attempt: Attempt) -> None:
    """Raises for an override that Hydra stumbles over without saying which it was."""
    key, text = override.key_or_group, override.input_line
    value = "" if override.is_sweep_override() else override.value()
    if not key:
        raise ConfigError(f"override {text!r} has no key: write key=value.")
    if key in attempt.groups and isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise ConfigError(
            f"override {text!r}: {key} takes a list of names; arguments go with their key, "
            f"{key}.NAME.ARGUMENT=VALUE. {_options(key, attempt)}"
        )
    if key in attempt.groups and not isinstance(value, str | list | dict):
        raise ConfigError(f"override {text!r}: {key} takes the name of an option. {_options(key, attempt)}")
    parent = key.rpartition(".")[0]
    if parent and isinstance(OmegaConf.select(attempt.without_keys(), parent), ListConfig):
        raise ConfigError(f"override {text!r}: {parent} is a list: give it as a whole, {parent}=[...].")


def _tidy(message: str) -> str:
    return re.sub(
        r"\s*(Config search path:.*|full_key: \S+|object_type=\S+|See https://hydra\S+.*)", "", message
    ).strip()


def _origin(attempt: Attempt, wanted: Callable[[Override], bool], fallback: str) -> str:
    """`override '...'` for the last override that `wanted` picks, else the fallback (a file)."""
    lines = [override.input_line for override in attempt.parsed if wanted(override)]
    return f"override {lines[-1]!r}" if lines else fallback


def _missing_config(error: MissingConfigException, attempt: Attempt) -> ConfigError:
    missing = (error.missing_cfg_file or "").removesuffix(".yaml")
    group, _, option = missing.rpartition("/")
    parent = re.search(r"In '([^']+)'", str(error))
    if not group:
        return _missing_primary(option, attempt, parent.group(1) if parent else None)
    origin = _who_chose(group, option, attempt, parent.group(1) if parent else "")
    options = sorted(error.options or attempt.options(group))
    unmarked = unmarked_conf()
    note = ""
    if unmarked is not None and (unmarked / f"{missing}.yaml").is_file():
        note = f"\n  {unmarked}/{missing}.yaml is not searched: mark the folder with `touch {unmarked}/{MARKER}`."
    return ConfigError(
        f"{origin}: there is no {group} {option!r}.{did_you_mean(option, options)}\n"
        f"  {group}: {', '.join(options) or 'no options'}.{note}"
    )


def _who_chose(group: str, option: str, attempt: Attempt, parent: str) -> str:
    """The override or file that chose `option`: an `- override /group: option` may stand in any chosen file."""
    for override in reversed(attempt.parsed):
        value = "" if override.is_sweep_override() else override.value()
        if override.key_or_group == group and option in (value if isinstance(value, list) else [value]):
            return f"override {override.input_line!r}"
    chosen = [f"{o.key_or_group}/{o.value()}" for o in attempt.parsed if not o.is_sweep_override()]
    line = re.compile(rf"^\s*-\s*(override\s+)?/?{re.escape(group)}\s*:\s*{re.escape(option)}\s*(#.*)?$", re.MULTILINE)
    for config_path in (parent, *chosen):
        path = _find(config_path, attempt)
        if path is not None and line.search(path.read_text(encoding="utf-8")):
            return label(path)
    return _file(parent, attempt)


def _missing_primary(name: str, attempt: Attempt, parent: str | None) -> ConfigError:
    names = sorted({path.stem for folder in attempt.folders for path in folder.path.glob("*.yaml")})
    where = f"{_file(parent, attempt)}: " if parent else f"-cn {name}: "
    searched = ", ".join(label(folder.path) for folder in attempt.folders)
    return ConfigError(
        f"{where}there is no config {name!r}.{did_you_mean(name, names)} Configs: {', '.join(names)}.\n"
        f"  Searched: {searched}."
    )


def _file(config_path: str, attempt: Attempt) -> str:
    path = _find(config_path, attempt)
    return label(path) if path is not None else f"{config_path}.yaml"


def _find(config_path: str, attempt: Attempt) -> Path | None:
    files = (folder.path / f"{config_path.removesuffix('.yaml')}.yaml" for folder in attempt.folders)
    return next((path for path in files if path.is_file()), None)


def _unknown_key(match: re.Match[str], attempt: Attempt) -> ConfigError:
    key = match["key"]
    override = next((o for o in reversed(attempt.parsed) if o.key_or_group == key), None)
    text = (override.input_line if override else None) or f"{key}=..."
    config = attempt.without_keys()
    if override is not None and isinstance(override.value(), dict):  # model={hiden: [3]}: the first key that is unknown
        inside = (f"{key}.{path}" for path, _ in tree.items(override.value()))
        key = next((path for path in inside if OmegaConf.select(config, path) is None), key)
    parent, last, legal = _nearest(config, key)
    if not parent:
        known = sorted({*legal, *attempt.groups})
        return ConfigError(
            f"override {text!r}: there is no key {last!r}.{did_you_mean(last, known)}\n  Keys: {', '.join(known)}."
        )
    value = OmegaConf.select(config, parent, throw_on_missing=False)
    if not isinstance(value, DictConfig):
        return ConfigError(f"override {text!r}: {parent} is {value!r} and has no keys: write {parent}=VALUE.")
    return ConfigError(
        f"override {text!r}: there is no key {last!r} in {parent}.{did_you_mean(last, legal)}\n"
        f"  {parent}: {', '.join(legal) or 'empty'}. A new key is added with +{text}."
    )


def _nearest(config: DictConfig, key: str) -> tuple[str, str, list[str]]:
    """On the way to `key`: the deepest node that exists, the first part that is not in it, and the keys it has."""
    parent = ""
    for part in key.split("."):
        node = OmegaConf.select(config, parent, throw_on_missing=False) if parent else config
        if not isinstance(node, DictConfig):
            return parent, part, []
        if part not in node:
            return parent, part, [str(name) for name in node if parent or name != "hydra"]
        parent = f"{parent}.{part}" if parent else part
    return parent.rpartition(".")[0], key.rpartition(".")[2], []


def _options(group: str, attempt: Attempt) -> str:
    return f"{group}: {', '.join(sorted(attempt.options(group)))}."


def _already_chosen(match: re.Match[str], attempt: Attempt) -> ConfigError:
    group = match["key"]
    origin = _origin(attempt, lambda o: o.key_or_group == group and o.is_add(), "the defaults lists")
    if origin.startswith("override"):
        return ConfigError(f"{origin}: a {group} is chosen already ({match['value']}): leave out the '+'.")
    return ConfigError(
        f"{origin}: {group} is chosen twice ({match['value']}): write '- override /{group}: ...' in one of them."
    )


def _not_there(match: re.Match[str], attempt: Attempt) -> ConfigError:
    key = match["key"].partition("=")[0]
    origin = _origin(attempt, lambda o: o.key_or_group == key and o.is_delete(), f"~{key}")
    parent, _, legal = _nearest(attempt.without_keys(), key)
    if key in attempt.groups:
        return ConfigError(f"{origin}: no defaults list chooses {key}, so there is nothing to remove.")
    known = [f"{parent}.{name}" if parent else name for name in legal]
    return ConfigError(f"{origin}: there is nothing to remove.{did_you_mean(key, known)} Keys: {', '.join(known)}.")


def _other_value(match: re.Match[str], attempt: Attempt) -> ConfigError:
    key = match["key"]
    origin = _origin(attempt, lambda o: o.key_or_group == key and o.is_delete(), f"~{key}")
    return ConfigError(f"{origin}: the value is {match['value']}. To remove it whatever it is, write ~{key}.")


def _already_there(match: re.Match[str], attempt: Attempt) -> ConfigError:
    key = match["key"]
    origin = _origin(attempt, lambda o: o.key_or_group == key and o.is_add(), f"+{key}")
    return ConfigError(f"{origin}: the key exists already: leave out the '+'.")


def _no_such_group(match: re.Match[str], attempt: Attempt) -> ConfigError:
    group = match["key"]
    return ConfigError(
        f"override {match['text']!r}: there is no group {group!r}.{did_you_mean(group, attempt.groups)} "
        f"Groups: {', '.join(attempt.groups)}."
    )


def _unused_override(match: re.Match[str], attempt: Attempt) -> ConfigError:
    key = match["key"]
    origin = _origin(
        attempt, lambda o: o.get_key_element() == key, _file(match["file"], attempt) if match["file"] else key
    )
    if key in attempt.groups and origin.startswith("override"):
        text = origin.removeprefix("override ").strip("'")
        return ConfigError(f"{origin}: no {key} is chosen so far; add one with +{text}. {_options(key, attempt)}")
    group, _, package = key.partition("@")
    if group in attempt.groups and package and not origin.startswith("override"):  # the package is the file's own
        return ConfigError(
            f"{origin}: 'override /{group}: ...' concerns {package} there, which nothing chooses. An experiment begins "
            "with the line '# @package _global_'."
        )
    return ConfigError(
        f"{origin}: nothing chooses {key!r}, so it cannot be overridden.{did_you_mean(key, attempt.groups)} "
        f"Groups: {', '.join(attempt.groups)}."
    )


def _must_choose(match: re.Match[str], attempt: Attempt) -> ConfigError:
    return ConfigError(f"a {match['key']} must be chosen: write {match['key']}=NAME. {_options(match['key'], attempt)}")


def _bad_merge(match: re.Match[str], attempt: Attempt) -> ConfigError:
    text = match["text"]
    parent, _, _ = _nearest(attempt.without_keys(), text.lstrip("+~").partition("=")[0])
    return ConfigError(f"override {text!r}: does not fit what {parent or 'the config'} is: give {parent} as a whole.")


def _file_conflict(match: re.Match[str], attempt: Attempt) -> ConfigError:
    said = _tidy(" ".join(match["rest"].split()))
    return ConfigError(f"{_file(match['file'], attempt)}: does not fit with the files before it: {said}.")


# Hydra's message -> ours, first match wins.
_RULES: Iterable[tuple[str, Callable[[re.Match[str], Attempt], ConfigError]]] = (
    (
        r"(?:In '(?P<file>[^']+)': )?Could not override '(?P<key>[^']+)'\. ?\n?(?:No match|Did you mean)",
        _unused_override,
    ),
    (r"Could not override '(?P<key>[^']+)'", _unknown_key),
    (r"Could not append to config. An item is already at '(?P<key>[^']+)'", _already_there),
    (r"Could not delete from config. '(?P<key>[^']+)'", _not_there),
    (r"Could not delete '(?P<key>[^']+)'", _not_there),
    (r"The value of '(?P<key>[^']+)' is (?P<value>.*) and not", _other_value),
    (r"Override (?P<text>\S+) looks like a config group override, but config group '(?P<key>[^']+)'", _no_such_group),
    (r"Multiple values for (?P<key>\S+)\..*override \S+: (?P<value>[^']+)'", _already_chosen),
    (r"You must specify '(?P<key>[^']+)'", _must_choose),
    (r"Error merging override (?P<text>.+)", _bad_merge),
    (r"In '(?P<file>[^']+)': \w+ raised while composing config:\n(?P<rest>.*)", _file_conflict),
)
