"""Module: what every layer and model is. A tree of parameters, buffers and submodules with a `forward`.

Names, arguments and semantics are those of `torch.nn.Module`. State dicts live in `state.py`, hooks in `hooks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from textwrap import indent
from typing import Any, Self

from expkit.autograd.mode import MODE, open_trace
from expkit.autograd.outside import rely_on_attributes, rely_on_members
from expkit.errors import ShapeError
from expkit.nn import context, hooks, state
from expkit.nn.conversion import Converting
from expkit.nn.hooked import Hooked
from expkit.nn.members import KINDS, Members
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor


class Module(Members, Hooked, Converting):
    """Base class of all layers and models: assign Parameters and Modules as attributes, write `forward`."""

    training: bool
    _modules: dict[str, Module | None]
    _version: int = 1  # of the layout of its state

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["training"] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; a subclass writes it. Call the module itself, so that hooks run."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if MODE.special:
            rely_on_module(self)
        try:
            if (
                self._forward_hooks
                or self._forward_pre_hooks
                or hooks.EVERYWHERE
                or self._backward_hooks
                or self._backward_pre_hooks
            ):
                return hooks.call(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except ShapeError as error:
            context.locate(error, self)
            raise

    # --- walking the tree ---------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(dotted path, module) of this module ("") and all below it, each once unless `remove_duplicate=False`."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct submodules, each once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (module for _, module in self.named_children())

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        if recurse:
            modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        else:
            modules = iter([(prefix, self)])
        for path, module in modules:
            for name, member in module.__dict__[table].items():
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield (f"{path}.{name}" if path else name), member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter); a parameter used twice comes once, under its first name."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once: what an optimizer takes."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer)."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The submodule at the dotted path `target` ("" is this module). AttributeError names the part that fails."""
        module: Module = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(f"{type(module).__name__} has no submodule `{name}` (looking for '{target}').")
            module = child
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at the dotted path `target`; `strict`: only where there is one already."""
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("cannot set the submodule without a target name: the path is empty")
        if not isinstance(module, Module):
            raise ValueError(f"the module to put at {target!r} is a {type(module).__name__}, not a Module")
        parent = self.get_submodule(path)
        if strict and parent._modules.get(name) is None:
            raise AttributeError(f"{type(parent).__name__} has no submodule `{name}` (looking for '{target}').")
        setattr(parent, name, module)

    def _get_member(self, table: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        member = module.__dict__[table].get(name)
        if member is None:
            raise AttributeError(f"{type(module).__name__} has no {KINDS[table][0]} `{name}` (looking for '{target}').")
        return member

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the dotted path `target`."""
        return self._get_member("_parameters", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at the dotted path `target`."""
        return self._get_member("_buffers", target)

    # --- modes, gradients, conversion ---------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Training mode (dropout and batch statistics on) for this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Let all parameters record gradients, or freeze them."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for param in self.parameters():
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
            else:
                param.grad = param.grad.detach()
                param.grad.zero_()

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every submodule, children first, then on this module (initialisation, surgery)."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # --- state dicts (state.py) ---------------------------------------------------------------------------------

    def state_dict(self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:
        """Dotted name -> tensor for all parameters and persistent buffers; they share memory with the module.

        With `keep_vars` the tensors are the parameters themselves, otherwise they are detached from the graph.
        """
        return state.save(self, destination, prefix, keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> state.IncompatibleKeys:
        """Copy the tensors of `state_dict` into this module; all or nothing.

        Returns (missing_keys, unexpected_keys). StateDictError names every key that is missing or unexpected (unless
        `strict=False`) and every size that differs. `assign=True` takes the given tensors instead of copying.
        """
        return state.load(self, state_dict, strict, assign)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Puts this module's own state into `destination`; a subclass may add to it."""
        state.save_own(self, destination, prefix, keep_vars)

    def _load_from_state_dict(self, *args: Any) -> None:
        """Takes this module's own state: (state_dict, prefix, local_metadata, strict, missing, unexpected, errors)."""
        state.load_own(self, *args)

    def get_extra_state(self) -> Any:
        """What belongs into a state dict beside tensors; a subclass writes it, and set_extra_state with it."""
        raise RuntimeError(f"{self._get_name()} has no extra state: write get_extra_state and set_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Takes what get_extra_state gave."""
        raise RuntimeError(f"{self._get_name()} has no extra state: write get_extra_state and set_extra_state")

    def has_extra_state(self) -> bool:
        """Whether the class writes get_extra_state."""
        return type(self).get_extra_state is not Module.get_extra_state

    # --- printing -----------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """The arguments as the printed module shows them; a subclass writes it."""
        return ""

    def brief(self) -> str:
        """One line for error messages and tables: `Linear(64 -> 10)`."""
        return f"{self._get_name()}({self.extra_repr()})"

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if not self._modules and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        lines += [f"({name}): {indent(repr(module), '  ').lstrip()}" for name, module in self._modules.items()]
        return f"{self._get_name()}(\n" + "\n".join(f"  {line}" for line in lines) + "\n)"


def rely_on_module(module: Module) -> None:
    """Tells a trace that is going to be replayed what the module's forward depends on besides tensors' values."""
    trace = open_trace()
    if trace is not None and trace.live:
        tables = [module.__dict__[f"_{kind}_hooks"] for kind in hooks.KINDS]
        trace.guard(lambda: [list(table) for table in tables])
        rely_on_attributes(trace, module, _TABLES)
        for members in (module._parameters, module._buffers, module._modules):
            rely_on_members(trace, module, members)


_TABLES = frozenset(Module().__dict__)  # what every module has; guarded by themselves where they matter
