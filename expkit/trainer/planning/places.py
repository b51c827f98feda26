"""Which module makes what, and the shapes that go into and come out of each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from expkit.autograd.mode import tick
from expkit.nn.module import Module
from expkit.trainer.rehearse import Shapes, shape_of


class Places:
    """Modules entered and left, by the clock of the tape. A node's module is the one that ran when it was recorded."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.shapes: Shapes = {}
        self._times: list[int] = []
        self._paths: list[str] = []
        self._open: list[str] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Notes what the modules do within it."""
        handles: list[Any] = []
        for path, module in self.model.named_modules():
            if path:
                handles += [
                    module.register_forward_pre_hook(lambda _m, _x, path=path: self._enter(path)),
                    module.register_forward_hook(lambda _m, x, y, path=path: self._leave(path, x, y), always_call=True),
                ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str) -> None:
        self._open.append(path)
        self._mark()

    def _leave(self, path: str, inputs: Any, output: Any) -> None:
        self.shapes.setdefault(path, (shape_of(inputs), shape_of(output)))
        self._open.pop()
        self._mark()

    def _mark(self) -> None:
        self._times.append(tick())
        self._paths.append(self._open[-1] if self._open else "")

    def at(self, time: int) -> str:
        """The path of the innermost module that ran at this time; "" for none."""
        place = bisect_right(self._times, time) - 1
        return self._paths[place] if place >= 0 else ""
