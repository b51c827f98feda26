"""state_dict of an optimizer and back: PyTorch's layout, where parameters are numbers in the order of their groups."""

from collections.abc import Callable
from typing import Any

from expkit.errors import CheckpointError
from expkit.tensor import Tensor

States = dict[Tensor, dict[str, Any]]
Groups = list[dict[str, Any]]


def pack(states: States, groups: Groups) -> dict[str, Any]:
    """{"state": {number: state}, "param_groups": [options and numbers]}."""
    numbers = {id(p): number for number, p in enumerate(p for group in groups for p in group["params"])}
    packed = [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in groups]
    kept = {numbers[id(p)]: dict(state) for p, state in states.items() if state}
    return {"state": kept, "param_groups": packed}


def unpack(
    who: str, state_dict: dict[str, Any], groups: Groups, defaults: dict[str, Any], fresh: Callable[..., dict[str, Any]]
) -> tuple[States, Groups]:
    """State and groups for the parameters of `groups`, from what `pack` made (or PyTorch's optimizer saved).

    fresh(p, group): the state that p would begin with, which says what shapes and dtypes are right.
    """
    if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= state_dict.keys():
        raise CheckpointError(f"{who}: not the state of an optimizer: it needs 'state' and 'param_groups'.")
    saved = state_dict["param_groups"]
    if len(saved) != len(groups):
        raise CheckpointError(f"{who}: the saved state has {len(saved)} parameter groups, the optimizer {len(groups)}.")
    params: dict[int, tuple[Tensor, dict[str, Any]]] = {}
    loaded: Groups = []
    for number, (old, new) in enumerate(zip(saved, groups, strict=True)):
        if len(old["params"]) != len(new["params"]):
            raise CheckpointError(
                f"{who}: parameter group {number} has {len(old['params'])} parameters in the saved state and "
                f"{len(new['params'])} in the optimizer."
            )
        loaded.append({**defaults, **_as_defaults(old, defaults), "params": new["params"]})
        params.update((n, (p, loaded[-1])) for n, p in zip(old["params"], new["params"], strict=True))
        if "param_names" in new:
            loaded[-1]["param_names"] = new["param_names"]
    states: States = {}
    for key, state in state_dict["state"].items():
        number = int(key)  # JSON knows text keys only
        if number not in params:
            raise CheckpointError(f"{who}: the saved state has parameter {number}, which no parameter group names.")
        p, group = params[number]
        first = fresh(p, group)
        states[p] = {name: _fitted(who, number, name, v, p, first.get(name, p)) for name, v in state.items()}
    return states, loaded


def _as_defaults(group: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Lists where the option is a tuple (JSON knows no tuples) become tuples again."""
    return {
        name: tuple(value) if isinstance(value, list) and isinstance(defaults.get(name), tuple) else value
        for name, value in group.items()
    }


def _fitted(who: str, number: int, name: str, value: Any, p: Tensor, like: Any) -> Any:
    """A copy of a saved tensor with the dtype of what the state begins with, on the parameter's device."""
    if not isinstance(value, Tensor) or not isinstance(like, Tensor):
        return value
    if value.ndim and value.shape != like.shape:
        raise CheckpointError(
            f"{who}: {name} of parameter {number} has shape {value.shape} in the saved state, but a parameter of shape "
            f"{p.shape} needs {like.shape}."
        )
    if not value.dtype.is_floating_point:
        return value.detach().clone()
    return value.detach().clone().to(device=like.device, dtype=like.dtype)
