"""Schedules that rise and fall: polynomial decay, warm restarts, cycles, one cycle; and several at once."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from expkit.errors import CheckpointError
from expkit.optim.optimizer import Optimizer
from expkit.optim.schedulers.base import LRScheduler, need
from expkit.optim.schedulers.decay import LambdaLR
from expkit.registry import register

Numbers = float | list[float]


class MultiplicativeLR(LambdaLR):
    """lr *= lr_lambda(epoch): one function for all parameter groups, or a list with one for each."""

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._current()
        return [lr * fn(self.last_epoch) for lr, fn in zip(self._current(), self.lr_lambdas, strict=True)]


@register("scheduler", "polynomial")
class PolynomialLR(LRScheduler):
    """lr times (1 - epoch / total_iters) ** power: down to 0 in `total_iters` epochs."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1) -> None:
        need(self, total_iters > 0, f"total_iters={total_iters} cannot be: it is the number of epochs down to 0")
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, n = self.last_epoch, self.total_iters
        if t == 0 or t > n:
            return self._current()
        return self._times(((1 - t / n) / (1 - (t - 1) / n)) ** self.power)


@register("scheduler", "cosine_restarts")
class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines from lr to `eta_min`, again and again: one of `T_0` epochs, each next one T_mult times longer.

    `step(epoch)` may be given fractions of epochs. Loshchilov and Hutter, arXiv:1608.03983.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        need(self, T_0 > 0, f"T_0={T_0} cannot be: it is the number of epochs to the first restart")
        need(self, T_mult >= 1, f"T_mult={T_mult} cannot be: it is an integer of at least 1")
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = 0.0
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        share = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def _advance(self, first: bool = False) -> None:
        self._place(self.last_epoch + 1)
        self.last_epoch += 1
        self._set(self.get_lr())

    def step(self, epoch: float | None = None) -> None:
        """Goes on by one epoch, or to `epoch`, a fraction allowed."""
        if epoch is None:
            self._advance()
            return
        need(self, epoch >= 0, f"step(epoch={epoch}): an epoch is not negative")
        self._place(epoch)
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _place(self, epoch: float) -> None:
        """T_cur and T_i: how far into which cycle an epoch lies."""
        start, length = 0, self.T_0
        if self.T_mult == 1:
            start = math.floor(epoch / length) * length
        while epoch >= start + length:
            start, length = start + length, length * self.T_mult
        self.T_cur, self.T_i = epoch - start, length


_ANNEALING: dict[str, Callable[[float, float, float], float]] = {
    "cos": lambda start, end, share: end + (start - end) / 2 * (1 + math.cos(math.pi * share)),
    "linear": lambda start, end, share: (end - start) * share + start,
}


class _Momentum(LRScheduler):
    """What the cyclic schedules share: they move momentum (or Adam's first beta) against the learning rate."""

    interval = "step"
    cycle_momentum: bool

    def _momentum_key(self) -> str:
        defaults = self.optimizer.defaults
        need(
            self,
            "momentum" in defaults or "betas" in defaults,
            "the optimizer has neither momentum nor betas: give cycle_momentum=False",
        )
        return "betas" if "betas" in defaults else "momentum"

    def _set_momentum(self, values: Sequence[float]) -> None:
        key = self._momentum_key()
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            group[key] = (value, *group["betas"][1:]) if key == "betas" else value

    def _each(self, name: str, value: Numbers) -> list[float]:
        count = len(self.optimizer.param_groups)
        values = [float(v) for v in value] if isinstance(value, list | tuple) else [float(value)] * count
        need(self, len(values) == count, f"{name} has {len(values)} numbers for {count} parameter groups")
        return values


@register("scheduler", "one_cycle")
class OneCycleLR(_Momentum):
    """From max_lr / div_factor up to max_lr and down to 1 / final_div_factor of where it began, over all steps.

    Momentum (or Adam's first beta) goes the other way. Give `total_steps`, or `epochs` and `steps_per_epoch`.
    Smith and Topin, arXiv:1708.07120.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if total_steps is None:
            need(self, bool(epochs and steps_per_epoch), "give total_steps, or both epochs and steps_per_epoch")
            total_steps = (epochs or 0) * (steps_per_epoch or 0)
        need(self, total_steps > 0, f"total_steps={total_steps} cannot be: it is a positive integer")
        need(self, 0 <= pct_start <= 1, f"pct_start={pct_start} cannot be: it is between 0 and 1")
        need(self, anneal_strategy in _ANNEALING, f"anneal_strategy={anneal_strategy!r}: 'cos' or 'linear'")
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        self.phases = _phases(total_steps, pct_start, three_phase)
        self.max_lrs = self._each("max_lr", max_lr)
        self.final_div_factor, self.div_factor = final_div_factor, div_factor
        self.momenta = [self._each("base_momentum", base_momentum), self._each("max_momentum", max_momentum)]
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, self.max_lrs, strict=True):
                group["initial_lr"] = top / div_factor
        if cycle_momentum:
            self._momentum_key()
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        step = self.last_epoch
        need(
            self,
            step <= self.total_steps,
            f"step {step} is beyond total_steps={self.total_steps}: the cycle has ended",
        )
        number = sum(step > end for end, _, _ in self.phases[:-1])
        begin = self.phases[number - 1][0] if number else 0.0
        end, falls, final = self.phases[number]
        share = (step - begin) / (end - begin) if end != begin else 1.0
        curve = _ANNEALING[self.anneal_strategy]
        if self.cycle_momentum:
            low, high = self.momenta
            ends = (high, high) if final and len(self.phases) == 3 else (low, high) if falls else (high, low)
            self._set_momentum([curve(a, b, share) for a, b in zip(*ends, strict=True)])
        return [curve(*self._ends(top, falls, final), share) for top in self.max_lrs]

    def _ends(self, top: float, falls: bool, final: bool) -> tuple[float, float]:
        start = top / self.div_factor
        least = start / self.final_div_factor
        if final:
            return (start if len(self.phases) == 3 else top), least
        return (top, start) if falls else (start, top)


def _phases(total: int, share: float, three: bool) -> list[tuple[float, bool, bool]]:
    """(its last step, does the learning rate fall, is it the last) of each phase."""
    if three:
        return [(share * total - 1, False, False), (2 * share * total - 2, True, False), (total - 1, True, True)]
    return [(share * total - 1, False, False), (total - 1, True, True)]


@register("scheduler", "cyclic")
class CyclicLR(_Momentum):
    """Between base_lr and max_lr and back, `step_size_up` steps up and `step_size_down` (as many) down.

    mode: "triangular", "triangular2" (each cycle half as high), "exp_range" (the height times gamma ** step); or the
    height by `scale_fn` of the cycle's or the step's number (`scale_mode`: "cycle", "iterations").
    Smith, arXiv:1506.01186.
    """

    _not_saved = ("optimizer", "scale_fn")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Any = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        need(self, scale_fn is not None or mode in _HEIGHTS, f"mode={mode!r}: one of {', '.join(_HEIGHTS)}")
        up, down = float(step_size_up), float(step_size_up if step_size_down is None else step_size_down)
        need(self, up > 0 and down >= 0, f"step_size_up={step_size_up} and step_size_down={step_size_down} cannot be")
        self.total_size, self.step_ratio, self.gamma = up + down, up / (up + down), gamma
        self.mode, self.scale_fn = mode, scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        self.max_lrs, self.cycle_momentum = self._each("max_lr", max_lr), cycle_momentum
        self.momenta = [self._each("base_momentum", base_momentum), self._each("max_momentum", max_momentum)]
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, self._each("base_lr", base_lr), strict=True):
                group["initial_lr"] = lr
        if cycle_momentum:
            self._momentum_key()
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        place = 1.0 + self.last_epoch / self.total_size - cycle
        share = place / self.step_ratio if place <= self.step_ratio else (place - 1) / (self.step_ratio - 1)
        number = cycle if self.scale_mode == "cycle" else self.last_epoch
        height = self.scale_fn(number) if self.scale_fn is not None else _HEIGHTS[self.mode](number, self.gamma)
        if self.cycle_momentum:
            self._set_momentum([top - (top - low) * share * height for low, top in zip(*self.momenta, strict=True)])
        pairs = zip(self.base_lrs, self.max_lrs, strict=True)
        return [base + (top - base) * share * height for base, top in pairs]


_HEIGHTS: dict[str, Callable[[float, float], float]] = {
    "triangular": lambda _cycle, _gamma: 1.0,
    "triangular2": lambda cycle, _gamma: 1 / 2 ** (cycle - 1),
    "exp_range": lambda step, gamma: gamma**step,
}


class ChainedScheduler(LRScheduler):
    """Several schedules at once: each step is a step of all, one after another."""

    _not_saved = ("optimizer", "_schedulers")

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        need(self, len(schedulers) > 0, "needs at least one schedule")
        self._attach(optimizer or schedulers[0].optimizer)
        for schedule in schedulers:
            need(self, schedule.optimizer is self.optimizer, f"{type(schedule).__name__} is of another optimizer")
        self._schedulers, self.last_epoch = list(schedulers), 0
        self._last_lr = self._current()

    def step(self) -> None:
        for schedule in self._schedulers:
            schedule.step()
        self.last_epoch += 1
        self._last_lr = self._current()

    def restart(self) -> None:
        for schedule in self._schedulers:
            schedule.restart()
        self.last_epoch, self._last_lr = 0, self._current()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        saved = state_dict.get("_schedulers", [])
        if len(saved) != len(self._schedulers):
            here = len(self._schedulers)
            raise CheckpointError(f"ChainedScheduler: {len(saved)} schedules were saved, {here} are here.")
        super().load_state_dict(state_dict)
        for schedule, state in zip(self._schedulers, saved, strict=True):
            schedule.load_state_dict(state)
