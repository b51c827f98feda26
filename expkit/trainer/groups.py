"""Parameter groups by name: which parameters of a model a row of `optim.groups` means, and which are frozen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from expkit.config.param_groups import Row, options_of
from expkit.errors import ConfigError
from expkit.nn.module import Module
from expkit.tensor import Tensor


@dataclass
class Chosen:
    """What the rows took: (name, parameter) pairs and options for each; the names of what was frozen."""

    groups: list[tuple[list[tuple[str, Tensor]], dict[str, Any]]] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def of(self, params: Iterable[Tensor]) -> list[Any]:
        """The optimizer's groups: what no row took comes first, with the optimizer's own options."""
        taken = {id(p) for pairs, _ in self.groups for _, p in pairs}
        rest = [(self.names.get(id(p), f"other.{i}"), p) for i, p in enumerate(params) if id(p) not in taken]
        first = [{"params": rest}] if rest else []
        return first + [{"params": pairs, **options} for pairs, options in self.groups if pairs]

    def summary(self) -> list[str]:
        """A line for each group: how much it holds, and what it sets."""
        lines = [
            f"parameter group: {len(pairs)} tensors, {sum(p.numel() for _, p in pairs):,} numbers, "
            + ", ".join(f"{name}={value}" for name, value in options.items())
            for pairs, options in self.groups
        ]
        if self.frozen:
            lines.append(f"frozen: {', '.join(self.frozen[:6])}{' ...' if len(self.frozen) > 6 else ''}")
        return lines


def choose(model: Module, rows: Sequence[Row], where: str) -> Chosen:
    """Applies the rows to a model's parameters, the first that matches wins; freezes what is to be frozen.

    ConfigError for a pattern that no parameter (or module) fits, for a row of which earlier ones took everything, and
    where nothing is left to train.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    owners = _owners(model)
    chosen = Chosen(names={id(p): name for name, p in named.items()})
    free = dict(named)
    for number, row in enumerate(rows):
        place = f"{where}: optim.groups[{number}]"
        found = [name for name in named if _fits(name, row, owners)]
        _check_patterns(row, named, owners, place)
        mine = [name for name in found if name in free]
        if not mine:
            why = (
                "earlier rows took all of its parameters: put it before them"
                if found
                else "no parameter fits all of it"
            )
            raise ConfigError(f"{place} {dict(row)!r:.120}: {why}, or remove it.")
        pairs: list[tuple[str, Tensor]] = [(name, free.pop(name)) for name in mine]
        if row.get("freeze"):
            for name, p in pairs:
                p.requires_grad_(False)
                chosen.frozen.append(name)
        else:
            chosen.groups.append((pairs, options_of(row)))
    if named and len(chosen.frozen) == len(named):
        raise ConfigError(f"{where}: optim.groups freezes every parameter of the model: there is nothing to train.")
    return chosen


def _owners(model: Module) -> dict[str, set[str]]:
    """Names of the classes (and their bases) of the module that holds a parameter, by the parameter's name."""
    return {
        f"{prefix}.{name}" if prefix else name: {kind.__name__ for kind in type(module).__mro__}
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _fits(name: str, row: Row, owners: dict[str, set[str]]) -> bool:
    patterns, kinds = _listed(row.get("params")), _listed(row.get("modules"))
    by_name = not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    return by_name and (not kinds or any(kind in owners.get(name, ()) for kind in kinds))


def _check_patterns(row: Row, named: Iterable[str], owners: dict[str, set[str]], place: str) -> None:
    names = list(named)
    for pattern in _listed(row.get("params")):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"{place}: no parameter is called {pattern!r}.{near(pattern, names)}")
    kinds = sorted({kind for name in names for kind in owners.get(name, ())} - {"object", "Module", "Hooks"})
    for kind in _listed(row.get("modules")):
        if kind not in kinds:
            raise ConfigError(f"{place}: the model has no {kind!r} with parameters.{near(kind, kinds)}")


def near(word: str, known: list[str]) -> str:
    """The names that come closest, or the first ones."""
    near = get_close_matches(word.replace("*", ""), known, n=4, cutoff=0.4) or known[:6]
    return f" Close to it, or there at all: {', '.join(near)}."
