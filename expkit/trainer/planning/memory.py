"""What training steps need of memory: compiled, and as they run eagerly.

Where steps are compiled, the first of all is not: it makes the optimizer's state (trainer/step.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit.errors import TraceError
from expkit.trainer.planning.compiled import CompiledStage
from expkit.trainer.planning.stage import Stage, Step

EAGER, COMPILED, FIRST = "eager", "compiled", "first"  # FIRST: the eager step before compiled ones
SMALLEST = 2  # samples of a batch that is tried: batch norm cannot train on one sample of one pixel


class TrainingMemory:
    """Steps on batches of samples like `sample`.

    wanted: whether steps are to be compiled; `compiled`: whether they are, as far as can be told without running them.
    """

    def __init__(self, eager: Stage, compiling: Callable[[], CompiledStage], sample: Any, wanted: bool) -> None:
        self._eager, self._sample = eager, sample
        self._programs: CompiledStage | None = None
        try:
            opened = compiling()
            self._programs = opened if opened.train(sample, SMALLEST).peak else None
        except TraceError:  # training says why, and goes on eagerly
            pass
        self.compiled = wanted and self._programs is not None

    def steps(self, size: int) -> dict[str, Step]:
        """The kinds of steps that there may be, on batches of `size` samples, once there is a state."""
        found = {EAGER: self._eager.train(self._sample, size), FIRST: self._eager.first(self._sample, size)}
        if self._programs is not None:
            found[COMPILED] = self._programs.train(self._sample, size)
        return found

    def largest(self, steps: dict[str, Step]) -> Step:
        """Of the steps that will run, the one that needs most."""
        names = (FIRST, COMPILED) if self.compiled else (EAGER,)
        return max((steps[name] for name in names), key=lambda step: step.peak)

    def peak(self, sample: Any, size: int) -> int:
        """The peak in bytes of what will run on batches of another size."""
        if not self.compiled or self._programs is None:
            return self._eager.peak(sample, size)
        return max(self._eager.first(sample, size).peak, self._programs.peak(sample, size))
