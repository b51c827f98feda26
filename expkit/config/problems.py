"""All that is wrong with a config at once: what a complaint is about is repaired, and the rest is looked at."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from expkit.config.composition import Composed, compose, parse_overrides
from expkit.config.listing import groups
from expkit.config.paths import conf_folders
from expkit.config.validation import validate
from expkit.errors import ConfigError, ExpkitError

MOST = 50  # problems; whoever has more knows enough


def composed_with_problems(
    overrides: Sequence[str], config_name: str = "config", config_dir: str | None = None
) -> tuple[Composed | None, list[str]]:
    """The config of those overrides that can be composed together, and what is wrong with the others.

    None where not even the config without overrides can be composed.
    """
    where: dict[str, Any] = {"config_name": config_name, "config_dir": config_dir}
    try:
        return compose(overrides, **where), []
    except ExpkitError as error:
        first = str(error)
    good: list[str] = []
    problems = []
    composed = None
    for override in [None, *_choices_first(overrides)]:
        wanted = good if override is None else [*good, override]
        try:
            composed, good = compose(wanted, **where), wanted
        except ExpkitError as error:
            problems.append(str(error))
            if override is None:
                return None, problems
    return composed, problems or [first]


def _choices_first(overrides: Sequence[str]) -> list[str]:
    """Overrides in an order in which those that choose options come before those that set their values."""
    known = groups(conf_folders())

    def is_value(text: str) -> bool:
        try:
            return parse_overrides([text])[0].key_or_group not in known
        except ConfigError:
            return True

    return sorted(overrides, key=is_value)


def config_problems(composed: Composed, sound: Composed) -> tuple[Composed, list[str]]:
    """(a config in which all that was wrong is as in `sound`, what was wrong) of a composed config."""
    problems: list[str] = []
    now = _copy(composed)
    for _ in range(MOST):
        message = _complaint(now)
        if message is None:
            break
        problems.append(message)
        repaired = next((other for other in _repairs(now, sound, message) if _helps(other, message)), None)
        if repaired is None:
            break
        now = repaired[0]
    return now, problems


Repair = tuple[Composed, str]  # a config with one thing changed, and the key of it


def _copy(composed: Composed) -> Composed:
    return replace(composed, config=copy.deepcopy(composed.config))


def _complaint(composed: Composed) -> str | None:
    """What `validate` says, which leaves marks in its argument."""
    try:
        validate(_copy(composed))
    except ExpkitError as error:
        return str(error)
    return None


def _helps(repair: Repair, message: str) -> bool:
    """Whether the complaint is gone, and no other came in its place about the same key."""
    changed, key = repair
    after = _complaint(changed)
    return after is None or (after != message and f"'{key}'" not in after and f".{key}'" not in after)


def _repairs(composed: Composed, sound: Composed, message: str) -> Iterator[Repair]:
    """Changes to try, the smallest first, beginning with what the message speaks of."""
    roots = sorted(map(str, composed.config), key=lambda root: root not in message)
    for root in roots:
        node = composed.config._get_node(root)
        for path in _children(node):
            if f"{path[-1]}'" in message:  # complaints name the key that they are about
                yield _without(composed, root, path)
    for root in roots:
        yield _reset(composed, sound, root)


def _children(node: Any) -> list[list[str]]:
    """The paths of keys that may be left out: those of an entry, and those of entries within (callbacks)."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return []
    names = [str(name) for name in node if name != "name"]
    inner = [[name, *path] for name in names for path in _children(node._get_node(name))]
    return [*inner, *([name] for name in names)]


def _without(composed: Composed, root: str, path: list[str]) -> Repair:
    changed = _copy(composed)
    holder = OmegaConf.select(changed.config, ".".join([root, *path[:-1]]), throw_on_resolution_failure=False)
    with open_dict(changed.config):
        del holder[path[-1]]
    return changed, path[-1]


def _reset(composed: Composed, sound: Composed, root: str) -> Repair:
    changed = _copy(composed)
    with open_dict(changed.config):
        if root in sound.config:
            changed.config[root] = copy.deepcopy(sound.config._get_node(root))
        else:
            del changed.config[root]
    return changed, root
