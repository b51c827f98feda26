"""Parametrizations: a parameter computed from others whenever it is read, as torch.nn.utils.parametrize has them.

`register_parametrization(module, "weight", P)` makes module.weight = P(original); the module's state dict then has
`parametrizations.weight.original` (or original0, original1, ... where P.right_inverse gives several tensors).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from expkit.autograd import no_grad
from expkit.nn.containers import ModuleDict, ModuleList
from expkit.nn.module import Module
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor

_cache: dict[tuple[int, str], Tensor] = {}
_cached = [0]  # how many cached() blocks are open


@contextmanager
def cached() -> Iterator[None]:
    """Inside, a parametrized tensor is computed once, at its first use."""
    _cached[0] += 1
    try:
        yield
    finally:
        _cached[0] -= 1
        if not _cached[0]:
            _cache.clear()


def _hold(module: Module, name: str, tensor: Tensor) -> None:
    """Registers a Parameter as such and another tensor as a buffer."""
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied in order, and the tensors that they start from."""

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        new = _inverted(modules, original)
        self.is_tensor = isinstance(new, Tensor)
        if isinstance(new, Tensor):
            _require_dtype(original, new, "right_inverse")
            original.data = new.detach().clone() if new is original else new.detach()
            _hold(self, "original", original)
        else:
            self.ntensors = len(new)
            for i, part in enumerate(new):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "right_inverse must return a Tensor or a Sequence of tensors (list, tuple...). "
                        f"Got element {i} of the sequence with type {type(part).__name__}."
                    )
                keep = isinstance(original, Parameter)
                part = part.detach().clone()
                _hold(self, f"original{i}", Parameter(part, original.requires_grad) if keep else part)
        if not unsafe:
            _require_alike(original, self(), self)

    def right_inverse(self, value: Tensor) -> None:
        """Writes into the original tensors what makes the parametrized tensor equal to `value`."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            if self.is_tensor:
                if not isinstance(value, Tensor):
                    raise ValueError(f"`right_inverse` should return a tensor. Got {type(value).__name__}")
                _require_dtype(self.original, value, "right_inverse")
                self.original.data = value.detach().clone()
                return
            if not isinstance(value, Sequence) or len(value) != self.ntensors:
                raise ValueError(f"'right_inverse' must return a sequence of {self.ntensors} tensors.")
            for i, part in enumerate(value):
                target = getattr(self, f"original{i}")
                _require_dtype(target, part, "right_inverse")
                target.data = part.detach().clone()

    def forward(self) -> Tensor:
        if self.is_tensor:
            originals = [self.original]
        else:
            originals = [getattr(self, f"original{i}") for i in range(self.ntensors)]
        first, *rest = self
        value = first(*originals)
        for module in rest:
            value = module(value)
        return value


def _inverted(modules: Sequence[Module], original: Tensor) -> Any:
    """What the parametrizations make `original` of, as far as they can say."""
    new: Any = original
    with no_grad():
        for module in reversed(modules):
            if hasattr(module, "right_inverse"):
                with suppress(NotImplementedError):  # it has one, but not always: the tensor stays as it is
                    new = module.right_inverse(new)
    if not isinstance(new, Tensor | Sequence):
        raise ValueError(f"'right_inverse' must return a Tensor or a Sequence of tensors. Got {type(new).__name__}")
    return new


def _require_dtype(original: Tensor, new: Any, what: str) -> None:
    if new.dtype != original.dtype:
        raise ValueError(f"`{what}` outputs a tensor of dtype {new.dtype}, the original has {original.dtype}")


def _require_alike(original: Tensor, got: Any, who: Module) -> None:
    """A parametrization must not change dtype or shape, unless it was registered as unsafe."""
    hint = "Pass unsafe=True to register_parametrization if that is meant."
    if not isinstance(got, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(got).__name__} from {who}. {hint}")
    if got.dtype != original.dtype:
        raise ValueError(f"A parametrization may not change the dtype: {original.dtype} became {got.dtype}. {hint}")
    if got.shape != original.shape:
        raise ValueError(
            f"A parametrization may not change the shape: {tuple(original.shape)} became {tuple(got.shape)}. {hint}"
        )


# ---- the class of a module that has parametrized tensors -------------------------------------------------------------


def _reader(name: str) -> property:
    def read(self: Module) -> Tensor:
        if not _cached[0]:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    return property(read)


class _Parametrized:
    """What is special about such a module: how a parametrized tensor is set, and how it is copied."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__["_modules"].get("parametrizations", ()):
            self.parametrizations[name].right_inverse(value)  # type: ignore[attr-defined]
        else:
            super().__setattr__(name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        out = type(self).__new__(type(self))
        memo[id(self)] = out
        out.__dict__.update({key: copy.deepcopy(value, memo) for key, value in self.__dict__.items()})
        return out

    def __getstate__(self) -> Any:
        raise RuntimeError(
            "a module with parametrizations cannot be pickled: save its state_dict(), or remove_parametrizations first"
        )


@cache
def _class_of(base: type, names: frozenset[str]) -> type:
    """`base` with properties for the parametrized tensors."""
    readers = {name: _reader(name) for name in names}
    return type(f"Parametrized{base.__name__}", (_Parametrized, base), {"__module__": __name__, **readers})


def type_before_parametrizations(module: Module) -> type:
    """The module's class as it was."""
    return type(module).__mro__[2] if isinstance(module, _Parametrized) else type(module)


def _set_class(module: Module, base: type) -> None:
    names = frozenset(module.parametrizations) if is_parametrized(module) else frozenset()
    object.__setattr__(module, "__class__", _class_of(base, names) if names else base)


# ---- functions -------------------------------------------------------------------------------------------------------


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the module has a parametrized tensor, or the one of that name is."""
    found = module._modules.get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Makes module.<tensor_name> what `parametrization` computes of the tensor that is there; returns the module.

    A right_inverse(tensor) of the parametrization says what it starts from, and lets the tensor be assigned. Several
    are applied one after the other. ValueError where dtype or shape would change, unless `unsafe`.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        held = module.parametrizations[tensor_name]
        unsafe = unsafe or held.unsafe
        if not unsafe:
            _check_next(getattr(module, tensor_name), parametrization)
        held.append(parametrization)
        held.unsafe = unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        _parametrize(module, tensor_name, parametrization, unsafe)
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def _check_next(value: Tensor, parametrization: Module) -> None:
    """A parametrization after others, tried on the tensor as it is."""
    with no_grad():
        new = parametrization(value)
        _require_alike(value, new, parametrization)
        if hasattr(parametrization, "right_inverse"):
            back = parametrization.right_inverse(new)
            if not isinstance(back, Tensor):
                raise ValueError(
                    f"right_inverse of a parametrization after others must return a tensor, got {type(back).__name__}"
                )
            _require_alike(value, back, parametrization)


def _parametrize(module: Module, name: str, parametrization: Module, unsafe: bool) -> None:
    original: Any = module._parameters.get(name)
    original = module._buffers.get(name) if original is None else original
    if original is None:
        raise ValueError(f"'{name}' of {type(module).__name__} is None: there is nothing to parametrize")
    value = original.detach().clone()
    try:
        held = ParametrizationList([parametrization], original, unsafe)
    except Exception:
        original.data = value
        raise
    delattr(module, name)
    base = type_before_parametrizations(module)
    if not is_parametrized(module):
        module.register_module("parametrizations", ModuleDict())
    module.parametrizations[name] = held
    _set_class(module, base)


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Makes module.<tensor_name> an ordinary tensor again: with its present value, or the original one."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    held = module.parametrizations[tensor_name]
    if not held.is_tensor and not leave_parametrized:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of "
            "a sequence of tensors."
        )
    base = type_before_parametrizations(module)
    value = getattr(module, tensor_name)
    if held.is_tensor:
        original = held.original
        if leave_parametrized:
            original.data = value.detach().clone()
    else:
        original = Parameter(value.detach().clone()) if value.requires_grad else value.detach().clone()
    del module.parametrizations[tensor_name]
    _set_class(module, base)
    if not len(module.parametrizations):
        del module.parametrizations
    _hold(module, tensor_name, original)
    return module


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Gives to_module the parametrizations of from_module (of one tensor, or all), with their values."""
    if not is_parametrized(from_module):
        return to_module
    for name in [tensor_name] if tensor_name is not None else list(from_module.parametrizations):
        source = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            value = getattr(from_module, name).detach().clone()
            _hold(to_module, name, Parameter(value) if source.is_tensor else value)
        for step in source:
            register_parametrization(to_module, name, copy.deepcopy(step), unsafe=source.unsafe)
        to_module.parametrizations[name].load_state_dict(source.state_dict())
    return to_module
