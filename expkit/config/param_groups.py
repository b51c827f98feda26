"""`optim.groups` of a config, other options for some parameters: its form. trainer/groups.py finds which they are."""

from collections.abc import Callable, Mapping
from typing import Any

from expkit.errors import ConfigError, did_you_mean
from expkit.registry import check, describe, lookup

SELECTORS = ("params", "modules")
LEGAL = (
    "a mapping like {params: '*.bias', weight_decay: 0}, {modules: [LayerNorm], lr: 0.1} or "
    "{params: 'stem.*', freeze: true}"
)
Row = Mapping[str, Any]


def split_groups(entry: Mapping[str, Any]) -> tuple[dict[str, Any], list[Row]]:
    """(what registry.build takes, the rows under `groups`) of an optimizer's config."""
    rows = entry.get("groups") or []
    return {key: value for key, value in entry.items() if key != "groups"}, rows if isinstance(rows, list) else []


def options_of(row: Row) -> dict[str, Any]:
    """What a row sets: all but how it selects, and `freeze`."""
    return {key: value for key, value in row.items() if key not in (*SELECTORS, "freeze")}


def check_optimizer(entry: Mapping[str, Any], origin: Callable[[str], str]) -> dict[str, Any]:
    """The optimizer's own arguments, its groups checked. ConfigError for rows of another form and for optimizers that
    the Trainer's steps are not made for."""
    rest, _ = split_groups(entry)
    rows = entry.get("groups") or []
    if not isinstance(rows, list):
        raise ConfigError(
            f"{origin('optim.groups')}: optim.groups is a list of rows, got {rows!r:.80}. A row is {LEGAL}."
        )
    name = entry.get("name")
    for number, row in enumerate(rows):
        _check_row(row, str(name), f"{origin('optim.groups')}: optim.groups[{number}]", origin)
    return rest


def refuse_closures(name: str, origin: Callable[[str], str]) -> None:
    """ConfigError for an optimizer that evaluates the loss several times in a step: the Trainer does so once."""
    if getattr(lookup("optim", name), "needs_closure", False):
        raise ConfigError(
            f"{origin('optim.name')}: optimizer {name!r} evaluates the loss several times in one step, which the "
            "Trainer does not: use it in a loop of your own, or choose another (`expkit ls optim`)."
        )


def _check_row(row: Any, name: str, where: str, origin: Callable[[str], str]) -> None:
    if not isinstance(row, Mapping) or not any(key in row for key in SELECTORS):
        raise ConfigError(f"{where} is {row!r:.80}; a row is {LEGAL}.")
    for key in SELECTORS:
        wanted = row.get(key)
        patterns = wanted if isinstance(wanted, list) else [wanted]
        if key in row and not (patterns and all(isinstance(pattern, str) and pattern for pattern in patterns)):
            raise ConfigError(f"{where}: {key} is a pattern or a list of them, got {wanted!r}.")
    options = options_of(row)
    known = [argument.name for argument in describe("optim", name).arguments[1:]]
    for key in options:
        if key not in known:
            legal = (*SELECTORS, "freeze", *known)
            raise ConfigError(
                f"{where}: {key!r} is not an option of optimizer {name!r}.{did_you_mean(key, legal)}\n"
                f"  Keys: {', '.join(legal)}."
            )
    freeze = row.get("freeze", False)
    if not isinstance(freeze, bool) or (freeze and options) or not (freeze or options):
        raise ConfigError(f"{where}: a row sets options, or `freeze: true` alone, got {dict(row)!r:.120}.")
    check("optim", {"name": name, **options}, where=lambda _key: where, positional=1)
