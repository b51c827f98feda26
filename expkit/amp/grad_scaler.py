"""Loss scaling, so that small float16 gradients do not vanish."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from expkit.amp.settings import checked
from expkit.amp.unscale import scale_all
from expkit.autograd.mode import MODE, open_trace
from expkit.errors import CheckpointError, ConfigError, TraceError
from expkit.tensor import Tensor, devices, float32, float64, int64, no_grad, where
from expkit.tensor import tensor as make

READY, UNSCALED, STEPPED = "ready", "unscaled", "stepped"


class _Stage:
    """Where an optimizer stands between two updates, and whether its gradients were finite."""

    def __init__(self) -> None:
        self.stage = READY
        self.found_inf: bool | Tensor | None = None  # a 0-d tensor in a trace; None: there is no gradient


class GradScaler:
    """Multiplies the loss by a scale, divides the gradients by it, leaves out steps whose gradients are not finite.

        scaler.scale(loss).backward()
        scaler.step(optimizer)      # unscales first, unless scaler.unscale_(optimizer) was called (to clip, say)
        scaler.update()

    The scale grows by `growth_factor` after `growth_interval` finite steps and is multiplied by `backoff_factor` after
    one that is not. enabled=False: everything passes through. Micikevicius et al., arXiv:1710.03740.

    All three can be part of a compiled function, together: what is left out there is left by the update itself.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = checked(device)
        self._enabled = enabled and (device != "cuda" or devices.is_available())
        if self._enabled and not growth_factor > 1.0:
            raise ConfigError(f"GradScaler: growth_factor={growth_factor} cannot be: it is above 1.")
        if self._enabled and not backoff_factor < 1.0:
            raise ConfigError(f"GradScaler: backoff_factor={backoff_factor} cannot be: it is below 1.")
        self._scale = make(float(init_scale), dtype=float32)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = make(0, dtype=int64)
        self._program: Any = None  # the trace that this has told of itself
        self._optimizers: defaultdict[int, _Stage] = defaultdict(_Stage)

    def scale(self, outputs: Any) -> Any:
        """A tensor, or an iterable of tensors, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            now = self._scale.clone()  # update() may write to it before backward runs
            return outputs * now.to(outputs.device)
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, list | tuple) else scaled
        raise ValueError(f"GradScaler.scale takes a Tensor or an iterable of Tensors, got {type(outputs).__name__}.")

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of an optimizer's parameters by the scale; for what looks at them before `step`."""
        if not self._enabled:
            return
        state = self._stage(optimizer)
        if state.stage is UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state.stage is STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        finite = self.divide_(optimizer)
        if finite is not None:
            state.found_inf = finite.logical_not() if self._program is not None else not finite.item()
        state.stage = UNSCALED

    def divide_(self, optimizer: Any) -> Tensor | None:
        """What `unscale_` does to the gradients. Whether all are finite, as a 0-d tensor; None where there are none."""
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        return scale_all(grads, self._scale.reciprocal()) if grads else None

    def found_finite(self, optimizer: Any, finite: Tensor) -> bool:
        """Notes what `divide_` returned, for `update`, and returns it."""
        state = self._optimizers[id(optimizer)]
        state.found_inf, state.stage = not finite.item(), STEPPED
        return not state.found_inf

    def _stage(self, optimizer: Any) -> _Stage:
        """Where the optimizer stands. A program takes settings for granted, and goes from one update to the next."""
        trace = open_trace() if MODE.special else None
        if trace is not None and trace.live and trace is not self._program:
            if self._optimizers:
                raise TraceError(
                    "GradScaler: unscale_, step and update are called in one compiled function, or in none"
                )
            self._program = trace
            trace.guard(self._settings)
            trace.undo.append(lambda: self._leave(trace))
        return self._optimizers[id(optimizer)]

    def _settings(self) -> Any:
        return self._growth_factor, self._backoff_factor, self._growth_interval, bool(self._optimizers)

    def _leave(self, trace: Any) -> None:
        """The trace has ended."""
        if self._optimizers:
            trace.changed.append("the stage of a GradScaler (call its update in the same function)")
        self._optimizers.clear()
        self._program = None

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(*args), if all gradients are finite; they are unscaled first unless they are already."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("GradScaler.step: a closure is not supported while the scaler is enabled.")
        state = self._stage(optimizer)
        if state.stage is STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state.stage is READY:
            self.unscale_(optimizer)
        if state.found_inf is None:
            raise RuntimeError("GradScaler.step: no parameter of this optimizer has a gradient: call backward() first.")
        state.stage = STEPPED
        if isinstance(state.found_inf, Tensor):
            return optimizer.step_unless(state.found_inf)
        return None if state.found_inf else optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Moves the scale by what the steps since the last update found, or to `new_scale`."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale.copy_(make(new_scale) if not isinstance(new_scale, Tensor) else new_scale)
        else:
            found = [state.found_inf for state in self._optimizers.values() if state.found_inf is not None]
            if not found:
                raise RuntimeError("GradScaler.update: no gradients were looked at: call step() or unscale_() first.")
            self._move(found)
        self._optimizers.clear()

    def _move(self, found: list[bool | Tensor]) -> None:
        """Moves the scale and the count of finite steps; computed as PyTorch's kernel does, without a look at them."""
        tensors = [x for x in found if isinstance(x, Tensor)]
        some: Tensor = make(any(x for x in found if not isinstance(x, Tensor)))
        for x in tensors:
            some = some.logical_or(x)
        with no_grad():
            count = where(some, 0, self._growth_tracker + 1)
            grown = count == self._growth_interval
            down, up, same = (make(x, dtype=float64) for x in (self._backoff_factor, self._growth_factor, 1.0))
            moved = (self._scale.to(float64) * where(some, down, where(grown, up, same))).to(float32)
            self._scale.copy_(where(moved.isfinite(), moved, self._scale))
            self._growth_tracker.copy_(where(grown, 0, count))

    # ------------------------------------------------------------------ settings and state

    def get_scale(self) -> float:
        """The scale; 1.0 where the scaler is disabled."""
        return self._scale.item() if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether the scaler does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale and its settings, with PyTorch's keys; empty where the scaler is disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale.item(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker.item(),
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        if not self._enabled:
            return
        missing = [key for key in self.state_dict() if key not in state_dict]
        if missing:
            raise CheckpointError(
                f"GradScaler: the saved state lacks {', '.join(missing)}: it may be of a disabled scaler."
            )
        self._scale.fill_(float(state_dict["scale"]))
        self._growth_tracker.fill_(int(state_dict["_growth_tracker"]))
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
