"""State dicts: a module's parameters and persistent buffers as a flat dictionary, written and loaded.

Keys are PyTorch's (`layers.0.weight`), so are the lists of missing and unexpected keys and the wording of errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from expkit.autograd import no_grad
from expkit.errors import CheckpointError
from expkit.nn.parameter import Parameter, is_lazy
from expkit.tensor import Tensor

if TYPE_CHECKING:
    from expkit.nn.module import Module

HOOKS = ("save_pre", "save_post", "load_pre", "load_post")


class StateDictError(CheckpointError, RuntimeError):
    """A state dict does not fit the module (a RuntimeError too, as in PyTorch)."""


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` returns."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def persistent(module: Module) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of the module's own parameters, then of its own persistent buffers."""
    for name, param in module._parameters.items():
        if param is not None:
            yield name, param
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._non_persistent_buffers_set:
            yield name, buffer


def _run_hooks(module: Module, kind: str, *args: Any) -> None:
    for hook, _ in tuple(module._state_hooks[kind].values()):
        hook(module, *args)


def save(module: Module, prefix: str, keep_vars: bool) -> dict[str, Tensor]:
    """The state dict of `module`; its children's keys follow its own, depth first."""
    _run_hooks(module, "save_pre", prefix, keep_vars)
    out = {
        prefix + name: tensor if keep_vars or is_lazy(tensor) else tensor.detach()
        for name, tensor in persistent(module)
    }
    for name, child in module._modules.items():
        if child is not None:
            out.update(child.state_dict(prefix=f"{prefix}{name}.", keep_vars=keep_vars))
    _run_hooks(module, "save_post", out, prefix, {})
    return out


class _Plan(NamedTuple):
    """What a load would do, found out before anything is written."""

    jobs: list[tuple[Module, str, Tensor, Tensor]]  # module, name, the tensor there, the tensor given
    missing: list[str]
    unexpected: list[str]
    errors: list[str]


def load(module: Module, given: Mapping[str, Tensor], strict: bool, assign: bool) -> IncompatibleKeys:
    """Load `given` into `module`: check everything, then write. See `Module.load_state_dict`."""
    if not isinstance(given, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(given)}.")
    plan = _plan(module, dict(given), strict)
    errors = plan.errors
    if strict:
        errors = [
            f"{label} key(s) in state_dict: {_quoted(keys)}. "
            for label, keys in (("Missing", plan.missing), ("Unexpected", plan.unexpected))
            if keys
        ] + errors
    if errors:
        text = "\n\t".join(errors)
        raise StateDictError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{text}")
    (_assign if assign else _copy)(plan)
    result = IncompatibleKeys(plan.missing, plan.unexpected)
    for sub in module.modules():
        _run_hooks(sub, "load_post", result)
    return result


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def _plan(module: Module, given: dict[str, Tensor], strict: bool) -> _Plan:
    plan = _Plan([], [], [], [])
    expected = set()
    for path, sub in module.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        _run_hooks(sub, "load_pre", given, prefix, {}, strict, plan.missing, plan.unexpected, plan.errors)
        for name, target in persistent(sub):
            key = prefix + name
            expected.add(key)
            if key not in given:
                plan.missing.append(key)
            elif error := _misfit(key, target, given[key]):
                plan.errors.append(error)
            else:
                plan.jobs.append((sub, name, target, given[key]))
    plan.unexpected.extend(key for key in given if key not in expected)
    return plan


def _misfit(key: str, target: Tensor, value: Any) -> str:
    """Why `value` cannot become the tensor `key`; empty where it can."""
    if not isinstance(value, Tensor):
        return (
            f'While copying the parameter named "{key}", expected expkit.Tensor or Tensor-like object '
            f"from checkpoint but received {type(value)}"
        )
    if tuple(value.shape) != tuple(target.shape):
        return (
            f"size mismatch for {key}: copying a param with shape {tuple(value.shape)} from checkpoint, "
            f"the shape in current model is {tuple(target.shape)}."
        )
    return ""


def _copy(plan: _Plan) -> None:
    with no_grad():
        for _, _, target, value in plan.jobs:
            target.copy_(value)


def _assign(plan: _Plan) -> None:
    """Put the given tensors in place of the module's; what was one parameter under two names stays one."""
    made: dict[int, Tensor] = {}
    for module, name, target, value in plan.jobs:
        if id(target) not in made:
            is_new = isinstance(target, Parameter) and not isinstance(value, Parameter)
            made[id(target)] = Parameter(value, requires_grad=target.requires_grad) if is_new else value
        table = module._parameters if isinstance(target, Parameter) else module._buffers
        table[name] = made[id(target)]  # type: ignore[assignment]
