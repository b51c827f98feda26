"""State dicts: a module's parameters and persistent buffers as a flat dictionary, written and loaded.

Keys are PyTorch's (`layers.0.weight`), so are the lists of missing and unexpected keys and the wording of errors. A
load first finds out all that it would do, and then does it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from expkit.autograd import no_grad
from expkit.errors import CheckpointError
from expkit.nn.parameter import Parameter, is_lazy
from expkit.tensor import Tensor

if TYPE_CHECKING:
    from expkit.nn.module import Module

HOOKS = ("save_pre", "save", "save_post", "load_pre", "load_post")
EXTRA = "_extra_state"  # the key of what get_extra_state returns


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


class StateDict(OrderedDict[str, Any]):
    """An ordered dictionary that also knows the version of each module in it (`_metadata`)."""

    _metadata: dict[str, dict[str, Any]]


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


# ---- writing ---------------------------------------------------------------------------------------------------------


def save(module: Module, destination: Any, prefix: str, keep_vars: bool) -> Any:
    """The state dict of `module`; its children's keys follow its own, depth first."""
    if destination is None:
        destination = StateDict()
        destination._metadata = OrderedDict()
    local = {"version": module._version}
    if hasattr(destination, "_metadata"):
        destination._metadata[prefix[:-1]] = local
    _run_hooks(module, "save_pre", prefix, keep_vars)
    module._save_to_state_dict(destination, prefix, keep_vars)
    for name, child in module._modules.items():
        if child is not None:
            child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
    for hook, _ in tuple(module._state_hooks["save"].values()):
        replaced = hook(module, destination, prefix, local)
        destination = destination if replaced is None else replaced
    _run_hooks(module, "save_post", destination, prefix, local)
    return destination


def save_own(module: Module, destination: Any, prefix: str, keep_vars: bool) -> None:
    """Puts the module's own tensors, and its extra state, into `destination`."""
    for name, tensor in persistent(module):
        destination[prefix + name] = tensor if keep_vars or is_lazy(tensor) else tensor.detach()
    if module.has_extra_state():
        destination[prefix + EXTRA] = module.get_extra_state()


# ---- loading ---------------------------------------------------------------------------------------------------------


class _Plan:
    """What a load does, found out before anything is written."""

    def __init__(self, assign: bool) -> None:
        self.assign = assign
        self.jobs: list[tuple[Module, str, Tensor, Tensor]] = []  # module, name, the tensor there, the tensor given
        self.extra: list[tuple[Callable[[Any], None], Any]] = []

    def run(self) -> None:
        (self._assign if self.assign else self._copy)()
        for setter, value in self.extra:
            setter(value)

    def _copy(self) -> None:
        with no_grad():
            for _, _, target, value in self.jobs:
                target.copy_(value)

    def _assign(self) -> None:
        """Put the given tensors in place of the module's; what was one parameter under two names stays one."""
        made: dict[int, Tensor] = {}
        for module, name, target, value in self.jobs:
            if id(target) not in made:
                is_new = isinstance(target, Parameter) and not isinstance(value, Parameter)
                made[id(target)] = Parameter(value, requires_grad=target.requires_grad) if is_new else value
            table = module._parameters if isinstance(target, Parameter) else module._buffers
            table[name] = made[id(target)]  # type: ignore[assignment]


_open: ContextVar[_Plan | None] = ContextVar("load_state_dict", default=None)


def load(module: Module, given: Mapping[str, Any], strict: bool, assign: bool) -> IncompatibleKeys:
    """Load `given` into `module`: check everything, then write. See `Module.load_state_dict`."""
    if not isinstance(given, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(given)}.")
    plan, errors = _Plan(assign), list[str]()
    result = IncompatibleKeys([], [])
    before = _open.set(plan)
    try:
        _visit(module, OrderedDict(given), getattr(given, "_metadata", None), "", plan, result, errors)
    finally:
        _open.reset(before)
    hooked = [sub for sub in _children_first(module) if sub._state_hooks["load_post"]]
    if errors or not hooked:
        _raise_for(module, result, errors, strict)
    plan.run()
    for sub in hooked:  # a hook may take keys off the lists
        _run_hooks(sub, "load_post", result)
    _raise_for(module, result, [], strict)
    return result


def _children_first(module: Module) -> list[Module]:
    return [*(m for child in module.children() for m in _children_first(child)), module]


def _raise_for(module: Module, result: IncompatibleKeys, errors: list[str], strict: bool) -> None:
    if strict:
        named = (("Missing", result.missing_keys), ("Unexpected", result.unexpected_keys))
        quoted = [(label, ", ".join(f'"{key}"' for key in keys)) for label, keys in named if keys]
        errors = [f"{label} key(s) in state_dict: {keys}. " for label, keys in quoted] + errors
    if errors:
        text = "\n\t".join(errors)
        raise StateDictError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{text}")


def _visit(
    module: Module, given: Any, metadata: Any, prefix: str, plan: _Plan, result: IncompatibleKeys, errors: list[str]
) -> None:
    local = dict((metadata or {}).get(prefix[:-1], {}))
    if plan.assign:
        local["assign_to_params_buffers"] = True
    module._load_from_state_dict(given, prefix, local, True, *result, errors)
    for name, child in module._modules.items():
        if child is not None:
            start = f"{prefix}{name}."
            part = OrderedDict((key, value) for key, value in given.items() if key.startswith(start))
            _visit(child, part, metadata, start, plan, result, errors)


def load_own(
    module: Module,
    given: Any,
    prefix: str,
    metadata: dict[str, Any],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """Plans the load of the module's own tensors, or does it where no load is under way; fills the three lists."""
    _run_hooks(module, "load_pre", given, prefix, metadata, strict, missing, unexpected, errors)
    plan = _open.get()
    now = plan is None
    if plan is None:
        plan = _Plan(bool(metadata.get("assign_to_params_buffers")))
    own = dict(persistent(module))
    for name, target in own.items():
        key = prefix + name
        if key not in given:
            missing.extend([key] * strict)
        elif error := _misfit(key, target, given[key]):
            errors.append(error)
        else:
            value = given[key]
            if not is_lazy(value):
                plan.jobs.append((module, name, target, value[0] if value.ndim > target.ndim else value))
    extra = prefix + EXTRA
    if module.has_extra_state():
        if extra in given:
            plan.extra.append((module.set_extra_state, given[extra]))
        else:
            missing.extend([extra] * strict)
    elif extra in given:
        unexpected.extend([extra] * strict)
    if strict:
        unexpected.extend(key for key in given if _is_foreign(module, own, key, prefix))
    if now:
        plan.run()


def _is_foreign(module: Module, own: Mapping[str, Any], key: str, prefix: str) -> bool:
    """Whether neither the module nor, by the name, one of its children has the key."""
    if not key.startswith(prefix) or key == prefix + EXTRA:
        return False
    first, dot, _ = key[len(prefix) :].partition(".")
    return first not in module._modules if dot else first not in own


def _misfit(key: str, target: Tensor, value: Any) -> str:
    """Why `value` cannot become the tensor `key`; empty where it can."""
    if not isinstance(value, Tensor):
        return (
            f'While copying the parameter named "{key}", expected expkit.Tensor or Tensor-like object '
            f"from checkpoint but received {type(value)}"
        )
    if is_lazy(target) or is_lazy(value):
        both = is_lazy(target) and is_lazy(value)
        return "" if both else f"{key} has a shape on one side only: call the lazy module once before"
    if tuple(value.shape) not in (tuple(target.shape), (1,) if not target.ndim else None):
        return (
            f"size mismatch for {key}: copying a param with shape {tuple(value.shape)} from checkpoint, "
            f"the shape in current model is {tuple(target.shape)}."
        )
    return ""
