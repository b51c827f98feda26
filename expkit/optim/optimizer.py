"""The base of all optimizers: parameter groups, state, hooks, state_dict in PyTorch's layout.

A subclass says what it keeps for one parameter (`init_one`) and how one parameter moves (`update_one`), in plain tensor
code; everything else is here.
"""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from itertools import chain
from typing import Any, ClassVar

from expkit.autograd.handle import Value
from expkit.autograd.mode import MODE
from expkit.errors import ConfigError, TraceError
from expkit.optim.fused import Fused, Pair
from expkit.optim.groups import as_groups, check_options, checked_params, refuse_shared
from expkit.optim.hooks import Hooks, hooked
from expkit.optim.hooks import register_optimizer_step_post_hook as register_optimizer_step_post_hook
from expkit.optim.hooks import register_optimizer_step_pre_hook as register_optimizer_step_pre_hook
from expkit.optim.recorded import Options, record, unless
from expkit.optim.state import pack, unpack
from expkit.optim.switches import Switches, chosen
from expkit.optim.traced import live_trace, made_before, open_options, settled, zeros_beside
from expkit.tensor import Tensor, enable_grad, no_grad, set_grad_enabled, view_as_complex, view_as_real
from expkit.tensor.generated.update import zero_all

Group = dict[str, Any]
State = dict[str, Any]


class Optimizer(Hooks):
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

    A subclass may write `step` itself instead, with `self.param_groups` and `self.state[p]`.
    """

    fusible: ClassVar[bool] = False
    takes_complex: ClassVar[bool] = True
    takes_tensors: ClassVar[bool] = False  # whether update_one reckons with options that are Tensors as such
    granted: ClassVar[tuple[str, ...]] = ()  # options that a compiled step takes for granted: bounds of a clamp, say
    switches: ClassVar[tuple[str, ...]] = ()  # which of `Switches` the constructor takes
    _unless: Tensor | None = None  # see step_unless
    _wanted: ClassVar[tuple[tuple[str, ...], tuple[str, ...]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._wanted = (_keyword_only(cls.init_one), _keyword_only(cls.update_one))
        if "update_one" in cls.__dict__:
            cls.fusible = bool(cls.__dict__.get("fusible", False))
        if "step" in cls.__dict__:
            cls.step = hooked(cls.__dict__["step"])  # type: ignore[method-assign]

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any], switches: Switches | None = None) -> None:
        super().__init__()
        who = type(self).__name__
        check_options(who, defaults)
        self.defaults = {**defaults, **chosen(who, self.switches, switches or {}, defaults)}
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, State] = defaultdict(dict)
        self._fused: list[Fused] = []  # one for each group
        for group in as_groups(who, params):
            self.add_param_group(group)

    # ------------------------------------------------------------------ what a subclass writes

    def init_one(self, p: Tensor, *args: Any, **options: Any) -> State:
        """The state of one parameter before its first update."""
        return {}

    def update_one(self, p: Tensor, g: Tensor, state: State, *args: Any, **options: Any) -> None:
        """One update of one parameter, in place."""
        raise NotImplementedError(f"{type(self).__name__} has no update_one")

    # ------------------------------------------------------------------ one step

    @hooked
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient. `closure` computes the loss anew first; its loss is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        differentiable = bool(self.defaults.get("differentiable"))
        with set_grad_enabled(differentiable):
            for number, group in enumerate(self.param_groups):
                self._update_group(number, group, differentiable)
        return loss

    def step_unless(self, found: Tensor) -> Any:
        """`step` of which nothing remains where `found` (0-d) is true: for a trace, which cannot ask for its value."""
        if type(self).step is not Optimizer.step:
            raise TraceError(f"{type(self).__name__} has a step of its own, which a compiled function cannot leave out")
        self._unless = found
        try:
            return self.step()
        finally:
            self._unless = None

    def _update_group(self, number: int, group: Group, differentiable: bool) -> None:
        maximize, states = group.get("maximize", False), self.state
        trace, pairs = live_trace(), []
        for p in group["params"]:
            if p.grad is None:
                continue
            state = states.get(p)
            if not state:
                make = partial(self._fresh, p, group)
                state = states[p] = make() if trace is None else made_before(trace, p, make)
            pairs.append((p, state))
        if trace is not None:
            trace.guard(partial(self._held, number, [p for p, _ in pairs]))
        if self.fusible and not differentiable:
            pairs = self._at_once(trace, number, pairs, maximize)
        if not pairs:
            return
        around = nullcontext() if trace is None else settled(trace, type(self).__name__, [state for _, state in pairs])
        with nullcontext() if self._unless is None else unless(trace, self._unless, pairs), around:
            self._update_each(pairs, self._options(number), maximize, differentiable)

    def _at_once(self, trace: Any, number: int, pairs: list[Pair], maximize: bool) -> list[Pair]:
        """Updates all that one kernel, or one equation of a trace, can take together; returns the others."""
        if MODE.special and trace is None:
            return pairs
        while len(self._fused) <= number:
            self._fused.append(Fused())
        fused = self._fused[number]
        if trace is None:
            return fused.update(self.update_one, pairs, self._now(number), maximize)
        values = lambda: [self.param_groups[number][name] for name in self._wanted[1]]  # noqa: E731
        options = Options(values, partial(self._now, number))
        return record(trace, fused, self.update_one, pairs, options, maximize, self._unless)

    def _update_each(self, pairs: list[Pair], options: dict[str, Any], maximize: bool, differentiable: bool) -> None:
        """The updates of parameters, one after the other."""
        for p, state in pairs:
            if p.raw.dtype.kind == "c":
                self._update_complex(p, state, options, maximize)
                continue
            if differentiable:  # what was recorded in earlier steps keeps its values
                state.update({name: value.clone() for name, value in state.items() if isinstance(value, Tensor)})
            self.update_one(p, -p.grad if maximize else p.grad, state, **options)

    def _update_complex(self, p: Tensor, state: State, options: dict[str, Any], maximize: bool) -> None:
        """One update of a complex parameter: of its real and imaginary parts, side by side."""
        real = {name: _parts(value) for name, value in state.items()}
        g = view_as_real(p.grad)
        self.update_one(view_as_real(p), -g if maximize else g, real, **options)
        for name in real.keys() - state.keys():
            state[name] = view_as_complex(real[name])

    def _now(self, number: int) -> dict[str, Any]:
        """The options that update_one takes."""
        group = self.param_groups[number]
        options = {name: group[name] for name in self._wanted[1]}
        return options if self.takes_tensors else {name: plain(value) for name, value in options.items()}

    def _options(self, number: int) -> dict[str, Any]:
        """The same. A trace that is going to be replayed leaves their numbers open."""
        trace = live_trace()
        return self._now(number) if trace is None else open_options(trace, partial(self._now, number), self.granted)

    def _held(self, number: int, stepping: list[Tensor]) -> Any:
        """What a compiled step of a group takes for granted: its parameters, the tensors of their state, maximize."""
        group, states = self.param_groups[number], map(self.state.__getitem__, stepping)
        state = list(map(id, chain.from_iterable(map(dict.values, states))))
        return list(map(id, group["params"])), state, group.get("maximize", False), len(self.param_groups)

    def _fresh(self, p: Tensor, group: Group) -> State:
        if not self.takes_complex and p.dtype.is_complex:
            raise RuntimeError(f"{type(self).__name__} does not support complex parameters. Optimize view_as_real(p).")
        options = {name: plain(group[name]) for name in self._wanted[0]}
        with no_grad():
            if not p.dtype.is_complex:
                return self.init_one(p, **options)
            real = self.init_one(view_as_real(p), **options)
            return {name: view_as_complex(v) if v.ndim else v for name, v in real.items()}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of all parameters, or fills them with zeros."""
        kept, trace = [], live_trace()
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                elif trace is not None:  # the program writes what p.grad is at last into the tensor that it is now
                    p.grad = zeros_beside(trace, p.grad)
                else:
                    p.grad = p.grad.detach()
                    kept.append(p.grad)
        if not zero_all(kept):
            for grad in kept:
                grad.zero_()

    # ------------------------------------------------------------------ groups

    def add_param_group(self, param_group: Group) -> None:
        """Adds a group {"params": ..., option: value, ...}; options that it leaves out are the defaults."""
        who = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise ConfigError(f"{who}: a parameter group is a dict with 'params', got {param_group!r:.80}.")
        differentiable = bool(self.defaults.get("differentiable"))
        group = {**param_group, **checked_params(who, param_group["params"], differentiable)}
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            raise ConfigError(f"{who}: either all parameter groups have named parameters, or none.")
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        check_options(who, {name: value for name, value in group.items() if name != "params"}, known=self.defaults)
        refuse_shared(who, group["params"], (other["params"] for other in self.param_groups))
        self.param_groups.append(group)

    # ------------------------------------------------------------------ saving and loading

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: state}, "param_groups": [...]} with parameters as numbers: PyTorch's layout.

        The tensors are the optimizer's own: copy them to keep them as they are.
        """
        for before in self._each("state_dict_pre"):
            before(self)
        return self._filtered("state_dict_post", pack(self.state, self.param_groups))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over (copies of) the state and the options. CheckpointError when they are of other parameters."""
        who = type(self).__name__
        state_dict = self._filtered("load_state_dict_pre", state_dict)
        states, self.param_groups = unpack(who, state_dict, self.param_groups, self.defaults, self._fresh)
        self.state = defaultdict(dict, states)
        for after in self._each("load_state_dict_post"):
            after(self)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name not in ("params", "param_names")]
        return "\n".join([*lines, ")"])


def number(x: Tensor) -> Any:
    """The value of a 0-d tensor, which is faster to reckon with; under a trace the tensor itself."""
    return x if MODE.special else x.item()


def _parts(value: Any) -> Any:
    return view_as_real(value) if isinstance(value, Tensor) and value.dtype.is_complex else value


def plain(option: Any) -> Any:
    """An option with its tensors as numbers, except those whose gradient is wanted."""
    if isinstance(option, tuple):
        return tuple(plain(x) for x in option)
    if not isinstance(option, Tensor) or (option.requires_grad and MODE.grad):
        return option
    known = MODE.special and not isinstance(option.raw, Value)  # a trace may look at it: it is looked at at each run
    return option.raw.item() if known else option.item()


def _keyword_only(method: Callable[..., Any]) -> tuple[str, ...]:
    kinds = inspect.signature(method).parameters.values()
    return tuple(p.name for p in kinds if p.kind is inspect.Parameter.KEYWORD_ONLY)
