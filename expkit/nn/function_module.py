"""Modules that are one function: the constructor takes the function's arguments after the input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from expkit.nn.module import Module
from expkit.tensor import Tensor

QUIET = {"inplace", "return_indices"}  # printed only where they are true


class FunctionModule(Module):
    """Base of the classes that `module_of` makes; the arguments are attributes and may be changed."""

    function: Callable[..., Tensor]
    signature: inspect.Signature  # of the constructor, without self
    arguments: tuple[str, ...]  # its names; their values are attributes
    inputs: int  # how many tensors forward takes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}{self.signature}: {error}") from None
        bound.apply_defaults()
        self.__dict__.update(bound.arguments)

    def forward(self, *inputs: Tensor) -> Tensor:
        own = self.__dict__
        return type(self).function(*inputs, **{name: own[name] for name in self.arguments})

    def extra_repr(self) -> str:
        shown = {name: self.__dict__[name] for name in self.arguments}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if name not in QUIET or value)


def module_of(
    name: str, function: Callable[..., Tensor], where: str, base: type = FunctionModule, last: str = "", inputs: int = 1
) -> Any:
    """The class `name` of the Python module `where`: subclass, print and inspect it like one written out.

    `last` names an argument that comes last in the constructor, wherever the function has it; `inputs` counts those
    that forward takes.
    """
    parameters = [p for p in list(inspect.signature(function).parameters.values())[inputs:] if p.name != "dtype"]
    parameters.sort(key=lambda p: p.name == last)
    signature = inspect.Signature(parameters)
    body = {
        "__doc__": function.__doc__,
        "__module__": where,
        "__signature__": signature,
        "function": staticmethod(function),
        "signature": signature,
        "inputs": inputs,
        "arguments": tuple(signature.parameters),
    }
    return type(name, (base,), body)
