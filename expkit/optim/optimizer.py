"""The base of all optimizers: parameter groups, state, hooks, state_dict in PyTorch's layout.

A subclass says what it keeps for one parameter (`init_one`) and how one parameter moves (`update_one`), in plain tensor
code; everything else is here.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from expkit.autograd.mode import MODE
from expkit.errors import ConfigError
from expkit.optim.fused import Fused
from expkit.optim.groups import as_groups, check_options, checked_params, refuse_shared
from expkit.optim.state import pack, unpack
from expkit.tensor import Tensor, enable_grad, no_grad
from expkit.tensor.core import RemovableHandle
from expkit.tensor.generated.update import zero_all

Group = dict[str, Any]
State = dict[str, Any]


class Optimizer:
    """Moves parameters along their gradients.

    `params`: tensors, (name, tensor) pairs, or dicts of one parameter group each ({"params": ..., "lr": ...}).
    `defaults`: the options of a group, for the groups that do not set them.

    A subclass writes two methods, both called without recording gradients:

        init_one(p) -> dict             the state of one parameter, made before its first update
        update_one(p, g, state, *, lr)  changes p (and state) in place; g is its gradient

    Both name the group's options that they need as keyword-only arguments. `maximize` is the base's: where a group sets
    it, g arrives negated. ConfigError for options and parameters that cannot be used.

    A subclass that says `fusible = True` beside its update_one has one kernel made of it for all parameters of a group.
    For that it must be elementwise and depend on its arguments and the class alone; of options that are numbers it may
    ask whether they are zero (`if weight_decay:`), and reckon with them.
    """

    fusible: ClassVar[bool] = False
    _wanted: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._wanted = (_keyword_only(cls.init_one), _keyword_only(cls.update_one))
        if "update_one" in cls.__dict__:
            cls.fusible = bool(cls.__dict__.get("fusible", False))

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        self._fused: list[Fused] = []  # one for each group
        self._pre_hooks: dict[int, Callable[..., Any]] = {}
        self._post_hooks: dict[int, Callable[..., Any]] = {}
        check_options(type(self).__name__, defaults)
        for group in as_groups(type(self).__name__, params):
            self.add_param_group(group)

    # ------------------------------------------------------------------ what a subclass writes

    def init_one(self, p: Tensor, *args: Any, **options: Any) -> State:
        """The state of one parameter before its first update."""
        return {}

    def update_one(self, p: Tensor, g: Tensor, state: State, *args: Any, **options: Any) -> None:
        """One update of one parameter, in place."""
        raise NotImplementedError(f"{type(self).__name__} has no update_one")

    # ------------------------------------------------------------------ one step

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient. `closure` computes the loss anew first, and is returned."""
        for before in tuple(self._pre_hooks.values()):
            before(self, (closure,), {})
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for number, group in enumerate(self.param_groups):
                self._update_group(number, group)
        for after in tuple(self._post_hooks.values()):
            after(self, (closure,), {})
        return loss

    def _update_group(self, number: int, group: Group) -> None:
        options = {name: group[name] for name in self._wanted[1]}
        maximize, states, update = group.get("maximize", False), self.state, self.update_one
        pairs = []
        for p in group["params"]:
            if p.grad is None:
                continue
            state = states.get(p)
            if state is None:
                state = states[p] = self._fresh(p, group)
            pairs.append((p, state))
        if self.fusible and not MODE.special:
            while len(self._fused) <= number:
                self._fused.append(Fused())
            pairs = self._fused[number].update(update, pairs, options, maximize)
        for p, state in pairs:
            update(p, -p.grad if maximize else p.grad, state, **options)

    def _fresh(self, p: Tensor, group: Group) -> State:
        return self.init_one(p, **{name: group[name] for name in self._wanted[0]})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or fills them with zeros."""
        kept = []
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if set_to_none or p.grad is None else p.grad.detach()
                if p.grad is not None:
                    kept.append(p.grad)
        if not zero_all(kept):
            for grad in kept:
                grad.zero_()

    # ------------------------------------------------------------------ groups and hooks

    def add_param_group(self, param_group: Group) -> None:
        """Adds a group {"params": ..., option: value, ...}; options that it leaves out are the defaults."""
        who = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise ConfigError(f"{who}: a parameter group is a dict with 'params', got {param_group!r:.80}.")
        group = {**param_group, **checked_params(who, param_group["params"])}
        if "param_names" in group and len(self.param_groups) > 0 and "param_names" not in self.param_groups[0]:
            raise ConfigError(f"{who}: either all parameter groups have named parameters, or none.")
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        check_options(who, {name: value for name, value in group.items() if name != "params"}, known=self.defaults)
        refuse_shared(who, group["params"], (other["params"] for other in self.param_groups))
        self.param_groups.append(group)

    def register_step_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` runs before each step. Returns a handle with `remove()`."""
        return _added(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """`hook(optimizer, args, kwargs)` runs after each step. Returns a handle with `remove()`."""
        return _added(self._post_hooks, hook)

    # ------------------------------------------------------------------ saving and loading

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: state}, "param_groups": [...]} with parameters as numbers: PyTorch's layout.

        The tensors are the optimizer's own: copy them to keep them as they are.
        """
        return pack(self.state, self.param_groups)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over (copies of) the state and the options. CheckpointError when they are of other parameters."""
        who = type(self).__name__
        self.state, self.param_groups = unpack(who, state_dict, self.param_groups, self.defaults, self._fresh)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


def number(x: Tensor) -> Any:
    """The value of a 0-d tensor, which is faster to reckon with; under a trace the tensor itself."""
    return x if MODE.special else x.item()


def _added(hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def _keyword_only(method: Callable[..., Any]) -> tuple[str, ...]:
    kinds = inspect.signature(method).parameters.values()
    return tuple(p.name for p in kinds if p.kind is inspect.Parameter.KEYWORD_ONLY)
