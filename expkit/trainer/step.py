"""A training batch: forward, backward and, when enough batches are gathered, the optimizer's step.

Where nothing has to be done in between, all of it is one program (trainer.compile). It is cut where something has to:

    forward | backward | update     hooks on_before_zero_grad or on_before_backward are written
    forward, backward | update      hooks on_after_backward or on_before_optimizer_step are written, or gradients are
                                    looked at (detect_anomaly), or parameters are float16 or bfloat16

Without compiling, the first line is how it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expkit.optim.traced import live_trace
from expkit.tensor import Tensor, get_rng_state
from expkit.trainer import diagnose
from expkit.trainer.deferred import Changing
from expkit.trainer.optimizers import clip, has_gradients
from expkit.trainer.programs import Programs, detached
from expkit.trainer.task import loss_of

if TYPE_CHECKING:
    from expkit.trainer.runtime import Runtime

INDEX = Changing("batch_idx")
Clipping = tuple[float | None, str]  # to what, and by what


@dataclass(frozen=True)
class Plan:
    """What a program of a batch does, besides forward and backward; each plan has its own."""

    first: bool  # of its optimizer step: earlier gradients are forgotten
    gather: int  # batches whose gradients make a step
    clipping: Clipping | None  # None: the optimizer's step is not in it


class TrainingStep:
    """step(batch, index, first, complete): what training_step returned; the optimizer has made its step if complete.

    The first step of a run is made as it is written: it makes the optimizer's state.
    """

    def __init__(self, t: "Runtime", programs: Programs) -> None:
        self.t: Any = t
        self.programs, user = programs, t.task.training_step
        self.cut_forward = t.hooked("on_before_zero_grad", "on_before_backward")
        short = t.dtype.itemsize == 2  # no kernel updates such parameters: a program of the rest is worth having
        self.cut_update = short or t.detect_anomaly or t.hooked("on_after_backward", "on_before_optimizer_step")
        self.forward = programs.make("the training step", self._forward, user)
        self.joined = programs.make("the training step", self._joined, user, check=self._check)
        self.update = programs.make("the optimizer's step", self._update)
        self.batch, self.index, self.generator = None, 0, (0, 0)

    def __call__(self, batch: Any, index: int, *, first: bool, complete: bool) -> Any:
        t = self.t
        self.batch, self.index, self.generator = batch, index, get_rng_state()
        gather, clipping = t.accumulate_grad_batches, (t.gradient_clip_val, t.gradient_clip_algorithm or "norm")
        plain = not self.programs.on or t.progress.global_step == 0
        if plain or self.cut_forward:
            outputs = self._in_parts(self._forward if plain else self.forward, batch, first, gather)
        else:
            whole = complete and not self.cut_update
            outputs = self.joined(batch, Plan(first, gather, clipping if whole else None))
            if whole:
                return outputs
            t.call("on_after_backward")
        if complete:
            self._finish(self._update if plain else self.update, clipping)
        return outputs

    # ---- the parts, and all of it

    def _forward(self, batch: Any) -> Any:
        return self.t.steps["train"](batch, self.index if live_trace() is None else INDEX)

    def _backward(self, loss: Tensor, gather: int) -> None:
        share = loss if gather == 1 else loss / gather
        (share if self.t.scaler is None else self.t.scaler.scale(share)).backward()

    def _update(self, clipping: Clipping) -> None:
        clip(self.t.optimizer, *clipping)
        self.t.optimizer.step()

    def _joined(self, batch: Any, plan: Plan) -> Any:
        """All of it, or without the update: what training_step returned."""
        t = self.t
        outputs = self._forward(batch)
        loss = loss_of(outputs, t.task)
        if plan.first:
            t.optimizer.zero_grad()
        if live_trace() is None:
            self._check(outputs)
        if loss is not None:
            self._backward(loss, plan.gather)
        if plan.clipping is not None:
            if t.scaler is None or not has_gradients(t.optimizer):
                self._update(plan.clipping)
            else:
                t.scaler.unscale_(t.optimizer)
                clip(t.optimizer, *plan.clipping)
                t.scaler.step(t.optimizer)
                t.scaler.update()
        return detached(outputs)

    def _check(self, outputs: Any) -> None:
        """NonFiniteError unless the loss is finite; as a program's check, before anything has changed."""
        loss = loss_of(outputs, self.t.task)
        if loss is not None:
            diagnose.check_loss(self.t, loss, self.batch, self.index, self.generator)

    # ---- in parts, with the hooks between them

    def _in_parts(self, forward: Callable[[Any], Any], batch: Any, first: bool, gather: int) -> Any:
        t = self.t
        outputs = forward(batch)
        if first:
            t.call("on_before_zero_grad", t.optimizer)
            t.optimizer.zero_grad()
        loss = loss_of(outputs, t.task)
        if loss is not None:
            self._check(outputs)
            t.call("on_before_backward", loss)
            self._backward(loss, gather)
            t.call("on_after_backward")
        return outputs

    def _finish(self, update: Callable[..., None], clipping: Clipping) -> None:
        """The optimizer's step. With loss scaling, gradients that overflowed make none."""
        t, scaler = self.t, self.t.scaler
        finite = None if scaler is None else scaler.divide_(t.optimizer)
        t.call("on_before_optimizer_step", t.optimizer)
        if finite is None:  # no loss scaling, or no gradients
            if t.detect_anomaly:
                diagnose.check_gradients(t)
            update(clipping)
            return
        if scaler.found_finite(t.optimizer, finite):
            update(clipping)
        scaler.update()


class EvaluationStep:
    """step(batch, index, number of the loader): what validation_step, test_step or predict_step returned."""

    def __init__(self, t: "Runtime", programs: Programs, stage: str, user: Any) -> None:
        self.t, self.stage, self.index = t, stage, 0
        self.program = programs.make(f"the {stage} step", self._run, user)

    def __call__(self, batch: Any, index: int, number: int) -> Any:
        self.index = index
        return self.program(batch, number=number)

    def _run(self, batch: Any, *, number: int) -> Any:
        return self.t.steps[self.stage](batch, self.index if live_trace() is None else INDEX, number)
