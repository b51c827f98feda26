"""The stage of a plan: a task without memory, on which steps are run and measured.

`Stage(build)` builds task and optimizer in an abstract trace. `train` runs two steps, as trainer/step.py does: the
second finds gradients and the optimizer's state where they will be from then on, and is the one that is described;
`first` is one before which there is no state. `infer` is a forward pass without gradients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from expkit import tree
from expkit.autograd.equations import Equation, Var
from expkit.autograd.handle import Aval, wrap
from expkit.autograd.mode import interpreting
from expkit.compiler.abstract import Abstract, Ghost, Made
from expkit.optim import Optimizer
from expkit.tensor import Tensor, default_generator, no_grad
from expkit.tensor.devices import CPU
from expkit.trainer import optimizers
from expkit.trainer.planning.listener import Listener, Unmeasured
from expkit.trainer.planning.places import Places
from expkit.trainer.precision import dtype_of, in_precision
from expkit.trainer.task import Task, flexible, loss_of

# gradients: those of parameters, and whatever else the backward pass makes. gaps: between the blocks of a heap
KINDS = ("parameters", "gradients", "optimizer state", "batch", "activations", "gaps")
PARAMETERS, GRADIENTS, STATE, BATCH, ACTIVATIONS, GAPS = KINDS


@dataclass
class Step:
    """One step: equations, where its phases begin, its peak memory in bytes, in all and by kind."""

    equations: list[Equation]
    made: list[Made]
    times: list[int]
    backward: int  # the number of the first equation of the backward pass
    update: int
    peak: int
    kinds: Counter[str]
    results: list[Any] = field(default_factory=list)  # what is held after it: parameters, state, the loss
    last: int = 0  # the number of the first equation of the last batch; of that:
    outputs: list[Var] = field(default_factory=list)  # the loss, and gradients that take no others' place
    writes: list[tuple[Var, Var]] = field(default_factory=list)  # what is overwritten: its value before and after

    def phases(self) -> dict[str, list[Equation]]:
        """Equations of the forward pass, of the backward pass, of the update."""
        cuts = (("forward", 0, self.backward), ("backward", self.backward, self.update), ("update", self.update, None))
        return {name: self.equations[start:stop] for name, start, stop in cuts}


@dataclass(frozen=True)
class Settings:
    """What of the trainer's arguments a step depends on."""

    precision: Any = "32-true"
    gather: int = 1
    clip: float | None = None
    clip_algorithm: str = "norm"


class Stage:
    """A task on an abstract trace. whole: as it runs eagerly; else as it is compiled."""

    def __init__(self, build: Callable[[], Task], settings: Settings | None = None, *, whole: bool = True) -> None:
        self.settings = settings or Settings()
        self.trace = Abstract(whole=whole)
        self.listener = Listener(CPU)
        with self._open(PARAMETERS):
            self.task = build()
            self.task.to(dtype=dtype_of(self.settings.precision))
            self.task.__dict__["_trainer"] = self.listener
            for metrics in getattr(self.task, "metrics", {}).values():
                metrics.update({name: Unmeasured(metric) for name, metric in metrics.items()})
            self.optimizer, self.schedules = optimizers.single(self.task)
        self.places = Places(self.task)

    @contextmanager
    def _open(self, kind: str) -> Iterator[None]:
        before = default_generator.seed_, default_generator.offset
        with interpreting(self.trace):
            self.trace.meter.kind = kind
            yield
        default_generator.seed_, default_generator.offset = before  # nothing was drawn: the next draw is what it was

    def train(self, sample: Any, size: int) -> Step:
        """The second of two training steps on batches of `size` samples like this one (shapes and dtypes count)."""
        with self._open(BATCH):
            self.task.train()
            self._step(sample, size)
            return self._step(sample, size)

    def first(self, sample: Any, size: int) -> Step:
        """A step that makes the optimizer's state, as the first one does."""
        with self._open(BATCH):
            self.optimizer.state.clear()
            self.optimizer.zero_grad()
            return self._step(sample, size)

    def peak(self, sample: Any, size: int) -> int:
        """The peak memory in bytes of a further training step, on a batch of another size."""
        with self._open(BATCH):
            return self._step(sample, size).peak

    def evaluate(self, stage: str, sample: Any, size: int) -> None:
        """A step of "val" or "test", for the sake of what it logs; nothing where the task has none."""
        names = {"val": "validation_step", "test": "test_step"}
        if not self.task.has_step(names[stage]):
            return
        self.listener.stage = stage
        with self._open(ACTIVATIONS), no_grad():
            self.task.eval()
            flexible(getattr(self.task, names[stage]), ("batch", "batch_idx", "dataloader_idx"))(
                self._batch(sample, size), 0, 0
            )
        self.listener.stage = "train"

    def infer(self, sample: Any, size: int) -> int:
        """Peak memory in bytes of a forward pass in evaluation, the parameters with it."""
        meter = self.trace.meter
        with self._open(BATCH), no_grad():
            self.task.eval()
            others = meter.live - meter.held[PARAMETERS]
            batch = self._batch(sample, size)
            meter.kind = ACTIVATIONS
            meter.forget()
            self.task.predict_step(batch, 0)
            return meter.peak - others

    def _batch(self, sample: Any, size: int) -> Any:
        dtype = dtype_of(self.settings.precision).dtype

        def stacked(x: Any) -> Tensor:
            own = getattr(x.dtype, "dtype", x.dtype)
            return wrap(self.trace.make(Aval((size, *x.shape), dtype if own.kind == "f" else own, "cpu")))

        return tree.map(stacked, list(sample) if isinstance(sample, tuple) else sample)

    def _step(self, sample: Any, size: int) -> Step:
        trace, meter = self.trace, self.trace.meter
        start = len(trace.equations)
        self.places = Places(self.task)
        meter.forget()
        step = in_precision(self.settings.precision, CPU, flexible(self.task.training_step, ("batch", "batch_idx")))
        gather = min(self.settings.gather, 2)
        for index in range(gather):
            last, before, gathered = len(trace.equations), self._variables(), self._gradients() if index else {}
            meter.kind = BATCH
            batch = self._batch(sample, size)
            with self.places.watched():
                meter.kind = ACTIVATIONS
                loss = loss_of(step(batch, index), self.task)
            if index == 0:
                self.optimizer.zero_grad()
            border = len(trace.equations)
            meter.kind = GRADIENTS
            if loss is not None:
                (loss if gather == 1 else loss / self.settings.gather).backward()
        after = len(trace.equations)
        self._update()
        kinds = meter.at_peak + self._gaps()
        return Step(
            trace.equations[start:], trace.made_by[start:], trace.times[start:], border - start, after - start,
            kinds.total(), kinds, [x.twin for x in self._kept(loss)],
            last - start, *self._left(loss, before, gathered),
        )  # fmt: skip

    def _gaps(self) -> Counter[str]:
        """What an eager step's heap cannot use: small blocks settle in what a large one left, which it then misses.

        That happens or not, by where the process lies in memory: half of the largest block is between both.
        """
        return Counter({GAPS: self.trace.meter.largest // 2 if self.trace.whole else 0})

    def _update(self) -> None:
        """The optimizer's step: one kernel that writes in place, or operation by operation."""
        optimizer, settings = self.optimizer, self.settings
        one_kernel = optimizer.fusible and self.trace.whole
        with self.trace.kernel(in_place=True) if one_kernel else nullcontext():
            optimizers.clip(optimizer, settings.clip, settings.clip_algorithm)
            optimizer.step()
        for kind, raws in self._owned().items():
            for raw in raws:
                raw.block.become(kind)

    def _owned(self) -> dict[str, list[Ghost]]:
        """What is held between steps, by kind."""
        tensors = [*self.task.parameters(), *self.task.buffers()]
        return {
            PARAMETERS: _ghosts(tensors),
            GRADIENTS: _ghosts([p.grad for p in self.task.parameters() if p.grad is not None]),
            STATE: _ghosts(state_of(self.optimizer)),
        }

    def _variables(self) -> dict[int, Var]:
        """What steps overwrite, as it stands in equations: that holds no memory."""
        tensors = [*self.task.parameters(), *self.task.buffers(), *state_of(self.optimizer)]
        return {id(x): x.raw.twin for x in tensors if isinstance(x.raw, Ghost)}

    def _gradients(self) -> dict[int, Var]:
        """Those that there are, by their parameters."""
        return {id(p): p.grad.raw.twin for p in self.task.parameters() if p.grad is not None}

    def _left(
        self, loss: Tensor | None, before: dict[int, Var], gathered: dict[int, Var]
    ) -> tuple[list[Var], list[tuple[Var, Var]]]:
        """(what a program of the last batch returns, what it overwrites)"""
        now, gradients = self._variables(), self._gradients()
        made = [x.twin for x in _ghosts([] if loss is None else [loss])]
        made += [g for key, g in gradients.items() if key not in gathered]
        pairs = [(then, now[key]) for key, then in before.items() if key in now and now[key] is not then]
        pairs += [(then, gradients[key]) for key, then in gathered.items() if gradients[key] is not then]
        return made, pairs

    def _kept(self, loss: Tensor | None) -> list[Ghost]:
        owned = self._owned()
        return [*_ghosts([] if loss is None else [loss]), *owned[PARAMETERS], *owned[STATE]]


def _ghosts(tensors: list[Tensor]) -> list[Ghost]:
    return [x.raw for x in tensors if isinstance(x.raw, Ghost)]


def state_of(optimizer: Optimizer) -> list[Tensor]:
    """The tensors of an optimizer's state."""
    return [x for state in optimizer.state.values() for x in tree.flatten(state)[0] if isinstance(x, Tensor)]
