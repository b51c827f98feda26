"""What may be given to an optimizer: the forms of `params`, and the legal range of each option."""

import warnings
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, NamedTuple

from expkit.errors import ConfigError
from expkit.tensor import Tensor


class Range(NamedTuple):
    holds: Callable[[float], bool]
    words: str


_NOT_NEGATIVE = Range(lambda v: 0 <= v < float("inf"), "a number, zero or above")
_DECAY = Range(lambda v: 0 <= v < 1, "two numbers in [0, 1)")
_FINITE = Range(lambda v: abs(v) < float("inf"), "a finite number")

# Options that have a range have the same one in every optimizer, so one table serves them all.
RANGES = {
    "lr": _NOT_NEGATIVE,
    "eps": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "momentum": _NOT_NEGATIVE,
    "alpha": _NOT_NEGATIVE,
    "dampening": _FINITE,
    "betas": _DECAY,
    "lr_decay": _NOT_NEGATIVE,
    "initial_accumulator_value": _NOT_NEGATIVE,
    "momentum_decay": _NOT_NEGATIVE,
    "rho": Range(lambda v: 0 <= v <= 1, "a number in [0, 1]"),
    "beta2_decay": Range(lambda v: v <= 0, "a number, zero or below"),
    "d": Range(lambda v: v >= 1, "a number of at least 1"),
}

_SEVERAL = ("betas", "eps")  # may be several numbers; Adafactor's eps may have None among them


def check_options(who: str, options: dict[str, Any], known: Iterable[str] = ()) -> None:
    """ConfigError for a value out of its range, or a key that looks like a slip of the pen for one in `known`.

    Other keys are the user's own (PyTorch allows them: "name", "initial_lr", ...).
    """
    for name, value in options.items():
        if name in RANGES:
            _check_range(who, name, value, RANGES[name])
        elif known and name not in known:
            meant = get_close_matches(name, list(known), n=1, cutoff=0.85)
            if meant:
                raise ConfigError(f"{who}: {name!r} is not an option of a parameter group. Did you mean {meant[0]!r}?")


def _check_range(who: str, name: str, value: Any, legal: Range) -> None:
    several = isinstance(value, list | tuple) and name in _SEVERAL
    values = [v for v in value if v is not None or name != "eps"] if several else [value]
    tensors = [v for v in values if isinstance(v, Tensor)]
    for tensor in tensors:
        if tensor.numel() != 1:
            raise ConfigError(f"{who}: a Tensor as {name} must have one element, got {tuple(tensor.shape)}.")
    if tensors and len(tensors) < len(values):
        raise ConfigError(f"{who}: {name} must be either all numbers or all Tensors, got {value!r}.")
    try:
        fits = all(legal.holds(float(v)) for v in values) and (name != "betas" or len(values) == 2)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ConfigError(f"{who}: {name}={value!r} cannot be: {name} is {legal.words}.")


def as_groups(who: str, params: Any) -> list[dict[str, Any]]:
    """`params` as a list of groups. ConfigError when it is a single tensor, not iterable, or empty."""
    if isinstance(params, Tensor):
        raise ConfigError(f"{who}: params must be several tensors or groups, got one tensor. Write [tensor].")
    if isinstance(params, dict):
        raise ConfigError(f"{who}: params must be tensors or groups, got a dict. Write [dict], or dict.items().")
    try:
        entries = list(params)
    except TypeError:
        raise ConfigError(f"{who}: params must be tensors or groups, got {type(params).__name__}.") from None
    if not entries:
        raise ConfigError(f"{who}: there are no parameters to optimize. Does the model have any?")
    return entries if isinstance(entries[0], dict) else [{"params": entries}]


def checked_params(who: str, params: Any, differentiable: bool = False) -> dict[str, Any]:
    """{"params": [tensors]}, with "param_names" where (name, tensor) pairs were given.

    A differentiable optimizer takes computed tensors too.
    """
    if isinstance(params, set | frozenset):
        raise ConfigError(f"{who}: params are a set, whose order changes from run to run. Give a list.")
    entries = [params] if isinstance(params, Tensor) else list(params)
    named = [isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str) for entry in entries]
    if any(named) != all(named):
        raise ConfigError(f"{who}: either all parameters of a group are (name, tensor) pairs, or none.")
    tensors = [entry[1] for entry in entries] if any(named) else entries
    for number, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise ConfigError(f"{who}: parameter {number} is a {type(tensor).__name__}; tensors can be optimized.")
        if not (differentiable or tensor.is_leaf):
            raise ConfigError(f"{who}: parameter {number} was computed from others (it is not a leaf): detach() it.")
    if len({id(tensor) for tensor in tensors}) != len(tensors):
        warnings.warn(f"{who}: a parameter group has the same parameter twice; it is updated twice.", stacklevel=4)
    group: dict[str, Any] = {"params": tensors}
    if any(named):
        group["param_names"] = [entry[0] for entry in entries]
    return group


def refuse_shared(who: str, params: list[Tensor], others: Iterable[list[Tensor]]) -> None:
    """ConfigError when one of `params` is in another group already."""
    taken = {id(tensor) for group in others for tensor in group}
    if any(id(tensor) in taken for tensor in params):
        raise ConfigError(f"{who}: a parameter is in more than one parameter group.")
