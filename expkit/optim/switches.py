"""The arguments by which PyTorch's users choose an implementation of an update, and `differentiable`.

There is one implementation here: a kernel for a whole group where one can be made, the plain update elsewhere. So
foreach, fused and capturable are checked and kept in the groups (as state dicts have them), and change nothing.
differentiable=True records the updates, so that gradients flow through `step()` to whatever went into it.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

from expkit.errors import ConfigError
from expkit.tensor import Tensor


class Switches(TypedDict, total=False):
    """Keyword arguments of optimizers that have them all; each class says in `switches` which it has."""

    foreach: bool | None
    capturable: bool
    differentiable: bool
    fused: bool | None


UNSET: dict[str, bool | None] = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
BASIC = ("foreach", "capturable", "differentiable")


def chosen(who: str, has: Sequence[str], given: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """The switches of an optimizer, those not given unset. TypeError for one that it has not; ConfigError where two
    contradict each other, or the other options."""
    for name, value in given.items():
        if name not in has:
            raise TypeError(f"{who}() got an unexpected keyword argument {name!r}; switches it has: {', '.join(has)}.")
        if not isinstance(value, bool) and value is not UNSET[name]:
            raise ConfigError(f"{who}: {name}={value!r} cannot be: {name} is True, False or left out.")
    switches = {name: UNSET[name] for name in has} | dict(given)
    others = [name for name in ("foreach", "differentiable") if switches.get(name)]
    if switches.get("fused") and others:
        raise ConfigError(f"{who}: fused and {others[0]} cannot both be True.")
    if switches.get("foreach") and not switches.get("capturable"):
        for name in ("lr", "betas"):
            values = defaults.get(name)
            if any(isinstance(v, Tensor) for v in (values if isinstance(values, tuple | list) else (values,))):
                raise ConfigError(
                    f"{who}: {name} as a Tensor is not supported with foreach=True and capturable=False. "
                    "Leave foreach out."
                )
    return switches
