"""Manual optimization: tasks that call backward and their optimizers' steps themselves, as Lightning's.

    class GAN(Task):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            first, second = self.optimizers()
            ...
            self.manual_backward(loss)
            first.step()

All of the step is one program where it can be (trainer.compile); it runs eagerly where hooks come in between.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from expkit.errors import ConfigError, HookError, TraceError
from expkit.optim import Optimizer
from expkit.optim.traced import live_trace
from expkit.tensor import Tensor, get_rng_state
from expkit.trainer import diagnose
from expkit.trainer.deferred import later
from expkit.trainer.optimizers import clip, has_gradients
from expkit.trainer.programs import Programs, detached
from expkit.trainer.state import same_training_after
from expkit.trainer.step import INDEX

if TYPE_CHECKING:
    from expkit.trainer.runtime import Runtime

BETWEEN = ("on_before_backward", "on_after_backward", "on_before_optimizer_step")  # hooks inside of a step


class ManualOptimizer:
    """An optimizer as `self.optimizers()` gives it: step() is counted, hooked, and scaled where the precision needs it.

    Everything else is the optimizer's own.
    """

    def __init__(self, t: "Runtime", optimizer: Optimizer) -> None:
        self._t: Any = t
        self.optimizer = optimizer
        self._frozen: list[Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["optimizer"], name)

    def __repr__(self) -> str:
        return repr(self.optimizer)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """The optimizer's step; with loss scaling, gradients that overflowed make none. HookError where the trainer
        makes the steps."""
        t = self._t
        if t.task.automatic_optimization:
            raise HookError(
                f"{type(t.task).__name__} calls step() of an optimizer, but the trainer makes the steps: write "
                "`self.automatic_optimization = False` in its __init__ to make them yourself."
            )
        if t.training_step.inert:
            return None
        if t.training_step.scheduled and live_trace() is not None:
            raise TraceError("an optimizer's step follows that of a schedule: make the schedule's the last one")
        loss = self._scaled_step(closure) if t.scaler is not None else self._plain_step(closure)
        if not later(self._count):
            self._count()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        if not self._t.training_step.inert:
            self.optimizer.zero_grad(set_to_none=set_to_none)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Within it only this optimizer's parameters want gradients. sync_grad makes no difference: one process."""
        self.toggle()
        try:
            yield
        finally:
            self.untoggle()

    def toggle(self) -> None:
        """Parameters that only other optimizers have want no gradients, until `untoggle`."""
        mine = {id(p) for p in parameters_of(self.optimizer)}
        others = (p for other in self._t.optimizers if other is not self.optimizer for p in parameters_of(other))
        self._frozen += [p for p in others if id(p) not in mine and p.requires_grad]
        for p in self._frozen:
            p.requires_grad_(False)

    def untoggle(self) -> None:
        """What `toggle` has changed is as before."""
        for p in self._frozen:
            p.requires_grad_(True)
        self._frozen.clear()

    def clip(self, value: float | None, algorithm: str) -> None:
        """Clips the gradients, without the scale of the loss."""
        if self._t.training_step.inert:
            return
        if self._t.scaler is not None and has_gradients(self.optimizer):
            self._t.training_step.unscale(self.optimizer)
        clip(self.optimizer, value, algorithm)

    def _plain_step(self, closure: Callable[[], Any] | None) -> Any:
        self._look()
        return self.optimizer.step() if closure is None else self.optimizer.step(closure)

    def _scaled_step(self, closure: Callable[[], Any] | None) -> Any:
        if closure is not None:
            raise ConfigError(
                f"precision={self._t.precision!r} scales the loss, which steps with a closure cannot have: use "
                "bf16-mixed or 32-true."
            )
        if not has_gradients(self.optimizer):
            return self._plain_step(None)
        self._t.training_step.unscale(self.optimizer)
        self._look()
        return self._t.training_step.scaled_step(self.optimizer)

    def _look(self) -> None:
        """Hooks and checks before the update; no program has any."""
        t = self._t
        if live_trace() is None and not t.sanity_checking:
            t.call("on_before_optimizer_step", self.optimizer)
            if t.detect_anomaly:
                diagnose.check_gradients(t)

    def _count(self) -> None:
        self._t.progress.global_step += 1


class PutOffSchedule:
    """A schedule while the step is traced: step() is made when the program has run, as its last act."""

    def __init__(self, t: "Runtime", scheduler: Any) -> None:
        self.__dict__.update(_t=t, _scheduler=scheduler)

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # tasks ask whether it is a ReduceLROnPlateau
        return type(self._scheduler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TraceError(f"{type(self._scheduler).__name__}.{name} is set in a step that is compiled")

    def step(self, metrics: Tensor | None = None) -> None:
        """Puts the schedule's step off. metrics: what a ReduceLROnPlateau looks at."""
        self._t.training_step.scheduled = True
        later(self._scheduler.step, *([] if metrics is None else [metrics]))


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """The parameters that an optimizer moves."""
    return [param for group in optimizer.param_groups for param in group["params"]]


class ManualStep:
    """step(batch, index): what training_step returned, after it has made whatever steps it wanted.

    The first step of a run is made as it is written: it makes the optimizers' state.
    """

    def __init__(self, t: "Runtime", programs: Programs) -> None:
        self.t: Any = t
        self.programs = programs
        self.plain = t.detect_anomaly or t.hooked(*BETWEEN)
        self.program = programs.make("the training step", self._run, t.task.training_step, check=self._check)
        self.batch, self.index, self.generator = None, 0, (0, 0)
        self.inert = False  # while the step is looked at, and must not change anything
        self.scheduled = False  # whether a trace has put off a schedule's step
        self._losses: list[Tensor] = []
        self._unscaled: set[int] = set()  # optimizers whose gradients are without the scale
        self._stepped: set[int] = set()  # optimizers that made a step since the scale was moved

    def __call__(self, batch: Any, index: int, *, first: bool = True, complete: bool = True) -> Any:
        t = self.t
        _refuse_automatic(t)
        self.batch, self.index, self.generator = batch, index, get_rng_state()
        if self.plain and self.programs.on:
            self._explain()
        if self.plain or not self.programs.on or t.progress.batches == 0:
            return self._run(batch)[0]
        return self.program(batch)[0]

    def _run(self, batch: Any) -> Any:
        """(what training_step returned, the losses that it went backward from)"""
        t = self.t
        self._losses.clear()
        self.scheduled = False
        outputs = t.steps["train"](batch, self.index if live_trace() is None else INDEX)
        self._move_scale()
        return detached(outputs), tuple(self._losses)

    def _check(self, outcome: Any) -> None:
        """NonFiniteError unless each loss is finite; as a program's check, before anything has changed."""
        for loss in outcome[1]:
            diagnose.check_loss(self.t, loss, self.batch, self.index, self.generator)

    def _explain(self) -> None:
        """Why the step is no program. TraceError where it has to be one."""
        t = self.t
        hooks = [name for name in BETWEEN if t.hooked(name)]
        why = f"{' and '.join(hooks) or 'detect_anomaly'} come between its parts"
        if t.compile is True:
            raise TraceError(f"trainer.compile=true: the training step of {type(t.task).__name__} cannot be compiled: "
                             f"{why}, and with manual optimization it is one program or none.")  # fmt: skip
        self.programs.say(f"the training step of {type(t.task).__name__} runs eagerly: {why}.")

    # ---- what tasks and their optimizers ask for

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """loss.backward(), checked, hooked and scaled."""
        t = self.t
        if self.inert:
            return
        hooks = live_trace() is None and not t.sanity_checking
        if live_trace() is not None:
            self._losses.append(loss.detach())
        elif hooks:
            diagnose.check_loss(t, loss, self.batch, self.index, self.generator)
            t.call("on_before_backward", loss)
        (loss if t.scaler is None else t.scaler.scale(loss)).backward(*args, **kwargs)
        if hooks:
            t.call("on_after_backward")

    def schedulers(self) -> list[Any]:
        """The schedules, as training_step steps them."""
        found = [schedule.scheduler for schedule in self.t.schedules]
        return found if live_trace() is None else [PutOffSchedule(self.t, scheduler) for scheduler in found]

    def unscale(self, optimizer: Optimizer) -> None:
        """Divides an optimizer's gradients by the scale, once before each of its steps."""
        if id(optimizer) in self._stepped:
            self._move_scale()
        if id(optimizer) not in self._unscaled:
            self._unscaled.add(id(optimizer))
            self.t.scaler.unscale_(optimizer)

    def scaled_step(self, optimizer: Optimizer) -> Any:
        """The step of an optimizer whose gradients are unscaled, if they are finite."""
        self._stepped.add(id(optimizer))
        return self.t.scaler.step(optimizer)

    def _move_scale(self) -> None:
        if self._unscaled:
            self.t.scaler.update()
        self._unscaled.clear()
        self._stepped.clear()

    @contextmanager
    def looked_at(self) -> Iterator[None]:
        """Within it training_step makes no steps and goes not backward; what schedules do is undone."""
        self.inert = True
        try:
            with same_training_after(self.t):
                yield
        finally:
            self.inert = False


def _refuse_automatic(t: Any) -> None:
    """ConfigError for arguments of the trainer that need the trainer to make the steps."""
    for name, plain, instead in (
        ("accumulate_grad_batches", 1, "call step() and zero_grad() every few batches in training_step"),
        ("gradient_clip_val", None, "call self.clip_gradients(optimizer, gradient_clip_val=...) before step()"),
    ):
        value = getattr(t, name)
        if value != plain:
            raise ConfigError(
                f"{t.where(f'trainer.{name}')}{name}={value}: {type(t.task).__name__} makes its steps itself "
                f"(automatic_optimization = False), so {instead}."
            )
