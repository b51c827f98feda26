"""Loss scaling, so that small float16 gradients do not vanish."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from expkit.amp.settings import checked
from expkit.autograd.handle import wrap
from expkit.autograd.mode import MODE, open_trace
from expkit.errors import CheckpointError, ConfigError
from expkit.tensor import Tensor, devices, float16, float32, isfinite, no_grad, stack
from expkit.tensor import tensor as make

READY, UNSCALED, STEPPED = "ready", "unscaled", "stepped"


class _Stage:
    """Where an optimizer stands between two updates, and whether its gradients were finite."""

    def __init__(self) -> None:
        self.stage = READY
        self.found_inf: bool | None = None


class GradScaler:
    """Multiplies the loss by a scale, divides the gradients by it, leaves out steps whose gradients are not finite.

        scaler.scale(loss).backward()
        scaler.step(optimizer)      # unscales first, unless scaler.unscale_(optimizer) was called (to clip, say)
        scaler.update()

    The scale grows by `growth_factor` after `growth_interval` finite steps and is multiplied by `backoff_factor` after
    one that is not. enabled=False: everything passes through. Micikevicius et al., arXiv:1710.03740.
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
        self._scale = make(float(init_scale), dtype=float32).item()
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._optimizers: defaultdict[int, _Stage] = defaultdict(_Stage)

    def scale(self, outputs: Any) -> Any:
        """A tensor, or an iterable of tensors, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._open(lambda: self._scale, outputs.device)
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, list | tuple) else scaled
        raise ValueError(f"GradScaler.scale takes a Tensor or an iterable of Tensors, got {type(outputs).__name__}.")

    def unscale_(self, optimizer: Any) -> None:
        """Divides the gradients of an optimizer's parameters by the scale; for what looks at them before `step`."""
        if not self._enabled:
            return
        state = self._optimizers[id(optimizer)]
        if state.stage is UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state.stage is STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        finite = self.divide_(optimizer)
        state.found_inf = None if finite is None else not finite.item()
        state.stage = UNSCALED

    def divide_(self, optimizer: Any) -> Tensor | None:
        """The part of `unscale_` that can be compiled: divides the gradients. Whether all are finite, as a 0-d tensor;
        None where there is no gradient."""
        finite: dict[Any, Tensor] = {}
        with no_grad():
            for grad in [p.grad for group in optimizer.param_groups for p in group["params"]]:
                if grad is None:
                    continue
                if grad.dtype is float16:
                    raise ValueError(
                        "GradScaler: gradients of float16 parameters cannot be unscaled: keep parameters in float32."
                    )
                whole = isfinite(grad).all()
                before = finite.get(grad.device)
                finite[grad.device] = whole if before is None else before.logical_and(whole)
                grad.mul_(self._open(lambda: 1.0 / self._scale, grad.device))
            flags = [whole.cpu() for whole in finite.values()]
            return stack(flags).all() if flags else None

    def found_finite(self, optimizer: Any, finite: Tensor) -> bool:
        """Notes what `divide_` returned, for `update`, and returns it."""
        state = self._optimizers[id(optimizer)]
        state.found_inf, state.stage = not finite.item(), STEPPED
        return not state.found_inf

    def _open(self, number: Callable[[], float], device: Any) -> Tensor:
        """A number as a tensor; a program that is made of this reads it anew at each call."""

        def now() -> Tensor:
            return make(number(), dtype=float32, device=device)

        trace = open_trace() if MODE.special else None
        if trace is None or not trace.live:
            return now()
        return wrap(trace.read(now().raw, lambda: now().raw, lambda: None))

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(*args), if all gradients are finite; they are unscaled first unless they are already."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("GradScaler.step: a closure is not supported while the scaler is enabled.")
        state = self._optimizers[id(optimizer)]
        if state.stage is STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state.stage is READY:
            self.unscale_(optimizer)
        if state.found_inf is None:
            raise RuntimeError("GradScaler.step: no parameter of this optimizer has a gradient: call backward() first.")
        result = None if state.found_inf else optimizer.step(*args, **kwargs)
        state.stage = STEPPED
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Moves the scale by what the steps since the last update found, or to `new_scale`."""
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        else:
            found = [state.found_inf for state in self._optimizers.values() if state.found_inf is not None]
            if not found:
                raise RuntimeError("GradScaler.update: no gradients were looked at: call step() or unscale_() first.")
            self._move(any(found))
        self._optimizers.clear()

    def _move(self, found_inf: bool) -> None:
        self._growth_tracker = 0 if found_inf else self._growth_tracker + 1
        factor = self._backoff_factor if found_inf else 1.0
        if self._growth_tracker == self._growth_interval:
            self._growth_tracker, factor = 0, self._growth_factor
        scaled = make(self._scale * factor, dtype=float32)
        if bool(isfinite(scaled)):
            self._scale = scaled.item()

    # ------------------------------------------------------------------ settings and state

    def get_scale(self) -> float:
        """The scale; 1.0 where the scaler is disabled."""
        return self._scale if self._enabled else 1.0

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
            "scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
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
        self._scale, self._growth_tracker = float(state_dict["scale"]), int(state_dict["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
