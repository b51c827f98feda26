"""Module: what every layer and model is. A tree of parameters, buffers and submodules with a `forward`.

Names, arguments and semantics are those of `torch.nn.Module`. State dicts live in `state.py`, hooks in `hooks.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from textwrap import indent
from typing import Any, Self

from expkit.autograd import no_grad
from expkit.errors import ShapeError
from expkit.nn import context, hooks, state
from expkit.nn.members import KINDS, Members
from expkit.nn.parameter import Parameter
from expkit.tensor import Tensor, bfloat16, float16, float32, float64
from expkit.tensor import dtype as Dtype


class Module(Members):
    """Base class of all layers and models: assign Parameters and Modules as attributes, write `forward`."""

    training: bool
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        super().__init__()
        self.__dict__.update(
            training=True,
            _forward_pre_hooks=OrderedDict(),
            _forward_hooks=OrderedDict(),
            _state_hooks={kind: OrderedDict() for kind in state.HOOKS},
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; a subclass writes it. Call the module itself, so that hooks run."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._forward_hooks or self._forward_pre_hooks:
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

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """Replace the values of parameters, their gradients and buffers by `fn` of them; Parameters keep identity."""
        with no_grad():
            for param in self.parameters():
                param.data = fn(param.data)
                if param.grad is not None:
                    param.grad = fn(param.grad)
            replaced: dict[int, Tensor] = {}  # a buffer shared by two modules stays shared
            for module in self.modules():
                for name, buffer in module._buffers.items():
                    if buffer is not None:
                        if id(buffer) not in replaced:
                            replaced[id(buffer)] = fn(buffer)
                        module._buffers[name] = replaced[id(buffer)]
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """`to(device)`, `to(dtype)`, `to(device, dtype)`, `to(tensor)`; a dtype converts floating-point state only.

        memory_format=expkit.channels_last: the parameters and buffers with four dimensions in that format.
        """
        layout = kwargs.pop("memory_format", None)
        where, kind = _parse_to(*args, **kwargs)
        if kind is not None and not kind.is_floating_point:
            raise TypeError(f"Module.to only accepts floating point dtypes, but got desired dtype={kind}")
        return self._apply(
            lambda t: t.to(
                device=where or t.device,
                dtype=kind if kind and t.is_floating_point() else t.dtype,
                memory_format=layout if layout and t.ndim == len(layout.order) else None,
            )
        )

    def float(self) -> Self:
        """Floating-point parameters and buffers as float32."""
        return self.to(float32)

    def double(self) -> Self:
        """Floating-point parameters and buffers as float64."""
        return self.to(float64)

    def half(self) -> Self:
        """Floating-point parameters and buffers as float16."""
        return self.to(float16)

    def bfloat16(self) -> Self:
        """Floating-point parameters and buffers as bfloat16."""
        return self.to(bfloat16)

    def cpu(self) -> Self:
        """Parameters and buffers on the CPU."""
        return self.to("cpu")

    def cuda(self, device: int | str | None = None) -> Self:
        """Parameters and buffers on a GPU (the current one, or the one given by number or name)."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device or "cuda")

    # --- hooks and state dicts (hooks.py, state.py) -------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> hooks.RemovableHandle:
        """Call `hook(module, args)` (or `(module, args, kwargs)`) before forward; what it returns replaces them."""
        return hooks.add(self._forward_pre_hooks, hook, prepend=prepend, kind=with_kwargs)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> hooks.RemovableHandle:
        """Call `hook(module, args, output)` (or `(module, args, kwargs, output)`) after forward; may replace output."""
        return hooks.add(self._forward_hooks, hook, prepend=prepend, kind=with_kwargs)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> hooks.RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before this module's part of a state dict is written."""
        return hooks.add(self._state_hooks["save_pre"], hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> hooks.RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after this module's part is written; may edit it."""
        return hooks.add(self._state_hooks["save_post"], hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> hooks.RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before a load."""
        return hooks.add(self._state_hooks["load_pre"], hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> hooks.RemovableHandle:
        """Call `hook(module, incompatible_keys)` after a load that succeeded."""
        return hooks.add(self._state_hooks["load_post"], hook)

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Dotted name -> tensor for all parameters and persistent buffers; they share memory with the module.

        With `keep_vars` the tensors are the parameters themselves, otherwise they are detached from the graph.
        """
        return state.save(self, prefix, keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> state.IncompatibleKeys:
        """Copy the tensors of `state_dict` into this module; all or nothing.

        Returns (missing_keys, unexpected_keys). StateDictError names every key that is missing or unexpected (unless
        `strict=False`) and every size that differs. `assign=True` takes the given tensors instead of copying.
        """
        return state.load(self, state_dict, strict, assign)

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


def _parse_to(
    target: Any = None,
    dtype_: Dtype | None = None,
    non_blocking: bool = False,
    *,
    device: Any = None,
    dtype: Any = None,
) -> tuple[Any, Any]:
    """The (device, dtype) that the arguments of `to` mean; None where one is not given."""
    if isinstance(target, Tensor):
        return target.device, target.dtype
    if isinstance(target, Dtype):
        return device, target
    return (device if target is None else target), (dtype if dtype_ is None else dtype_)
