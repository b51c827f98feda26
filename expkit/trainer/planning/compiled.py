"""Steps as programs: their memory is that of a recorded program, and of what there is outside of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from expkit import tree
from expkit.autograd.handle import aval_of
from expkit.compiler.abstract import Ghost
from expkit.compiler.footprint import footprint
from expkit.trainer.planning.stage import ACTIVATIONS, BATCH, GRADIENTS, PARAMETERS, STATE, Settings, Stage, Step
from expkit.trainer.task import Task


class CompiledStage(Stage):
    """A stage whose training steps are compiled. Peaks are 0 where there are no kernels to record."""

    def __init__(self, build: Callable[[], Task], settings: Settings | None = None) -> None:
        super().__init__(build, settings, whole=False)
        with self._open(PARAMETERS):
            for x in (*self.task.parameters(), *self.task.buffers()):
                if not isinstance(x.raw, Ghost):  # made of values, as counters are: programs read it at each run
                    x.raw = self.trace.make(aval_of(x.raw))

    def _step(self, sample: Any, size: int) -> Step:
        step, trace = super()._step(sample, size), self.trace
        known = {v.index: raw for v, raw in trace.consts.values() if isinstance(raw, np.ndarray)}
        numbers = [x for get in trace.numbers for x in get()]
        found = footprint(step.equations[step.last :], step.outputs, step.writes, known, numbers)
        if found is None:
            return replace(step, peak=0, kinds=Counter())
        held = {kind: sum(raw.block.nbytes for raw in raws) for kind, raws in self._owned().items()}
        batch = sum(x.raw.block.nbytes for x in tree.flatten(self._batch(sample, size))[0])
        gathered = held[GRADIENTS] if self.settings.gather > 1 else found.results
        kinds = Counter({
            PARAMETERS: held[PARAMETERS], GRADIENTS: gathered, STATE: held[STATE], BATCH: batch,
            ACTIVATIONS: found.arena - (0 if self.settings.gather > 1 else found.results),
        })  # fmt: skip
        return replace(step, peak=kinds.total(), kinds=kinds)
