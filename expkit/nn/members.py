"""What makes `self.weight = Parameter(...)` a registration: the tables of a module and its attribute access.

A module keeps its parameters, buffers and submodules in three tables beside the ordinary attributes. Assigning a
Parameter, Buffer or Module puts it into its table; reading looks there when the ordinary lookup finds nothing.
"""

from __future__ import annotations

from typing import Any

from expkit.nn.parameter import Buffer, Parameter
from expkit.tensor import Tensor

KINDS = {  # table of a module -> (what it holds, what may be assigned to a name in it)
    "_parameters": ("parameter", "Parameter or None"),
    "_buffers": ("buffer", "Buffer, Tensor or None"),
    "_modules": ("child module", "Module or None"),
}


class Members:
    """Base of Module alone: the three tables, and the attribute magic over them."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]

    def __init__(self) -> None:
        super().__init__()
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _non_persistent_buffers_set=set())

    def __setattr__(self, name: str, value: Any) -> None:
        table = self._table_for(name, value)
        if table is None:
            object.__setattr__(self, name, value)
            return
        if table not in self.__dict__:
            raise AttributeError(f"cannot assign {KINDS[table][0]}s before Module.__init__() call")
        kept = table == "_buffers" and name in self._buffers and not isinstance(value, Buffer)
        persistent = name not in self._non_persistent_buffers_set if kept else getattr(value, "persistent", True)
        self._register(table, name, value, persistent)

    def _table_for(self, name: str, value: Any) -> str | None:
        """The table that an assignment `self.name = value` concerns, None for an ordinary attribute."""
        if isinstance(value, Parameter):
            return "_parameters"
        if isinstance(value, Members):
            return "_modules"
        if isinstance(value, Buffer):
            return "_buffers"
        own = self.__dict__
        for table, (what, expected) in KINDS.items():
            if name in own.get(table, ()):
                if value is None or (table == "_buffers" and isinstance(value, Tensor)):
                    return table
                raise TypeError(f"cannot assign '{type(value).__name__}' as {what} '{name}' ({expected} expected)")
        return None

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for table in ("_parameters", "_modules", "_buffers"):
            if name in own.get(table, ()):
                return own[table][name]
        # name and obj let Python suggest a close match where it prints the error; looking for one here would make
        # every hasattr() slow.
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        for table in KINDS:
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = {*object.__dir__(self), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[0].isdigit())  # those of lists are no attributes to write

    def _register(self, table: str, name: str, value: Any, persistent: bool = True) -> None:
        """Put `value` into `table` under `name`, taking the name away from the other tables and from `__dict__`."""
        what = KINDS[table][0]
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain "."')
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')
        for other in KINDS:
            if other != table:
                self.__dict__[other].pop(name, None)
        self.__dict__.pop(name, None)
        self.__dict__[table][name] = value
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def _new_name(self, table: str, name: str) -> None:
        if table not in self.__dict__:
            raise AttributeError(f"cannot assign {KINDS[table][0]} before Module.__init__() call")
        if isinstance(name, str) and hasattr(self, name) and name not in self.__dict__[table]:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None reserves the name (`bias=False`)."""
        self._new_name("_parameters", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' (Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}': a parameter cannot be a computed value."
            )
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not a parameter; `persistent=False` keeps it out of the state dict."""
        self._new_name("_buffers", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (Tensor or None required)"
            )
        self._register("_buffers", name, tensor, persistent)

    def add_module(self, name: str, module: Any) -> None:
        """Add a submodule under `name` (as `self.name = module`, for names that are computed)."""
        self._new_name("_modules", name)
        if module is not None and not isinstance(module, Members):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._register("_modules", name, module)

    register_module = add_module
