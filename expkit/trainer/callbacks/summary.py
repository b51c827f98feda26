"""RichModelSummary: the layers of a model, their shapes and parameters."""

import math
from typing import Any

from rich.table import Table

from expkit.errors import ConfigError
from expkit.registry import register
from expkit.trainer.callbacks.base import Callback
from expkit.trainer.console import console, say


@register("callback", "model_summary")
class RichModelSummary(Callback):
    """Prints a table of the layers before training. max_depth: how deep; -1 = all levels, 0 = no table."""

    def __init__(self, max_depth: int = 3) -> None:
        if max_depth < -1:
            raise ConfigError(f"RichModelSummary: max_depth={max_depth}: expected -1 (all), 0 (none) or a depth.")
        self.max_depth = max_depth

    def on_fit_start(self, trainer: Any, task: Any) -> None:
        if self.max_depth == 0:
            return
        rows = layers(task, trainer.shapes, self.max_depth)
        if console.is_terminal:
            console.print(_table(rows))
        total, trainable, size = counts(task)
        fixed = f", {total - trainable:,} of them fixed" if trainable < total else ""
        say(f"model: {total:,} parameters{fixed}, {size / 2**20:.3g} MiB")


def counts(task: Any) -> tuple[int, int, int]:
    """(parameters, trainable ones, bytes) of a model."""
    params = list(task.parameters())
    sizes = [math.prod(param.shape) for param in params]
    trainable = sum(size for param, size in zip(params, sizes, strict=True) if param.requires_grad)
    return sum(sizes), trainable, sum(size * param.element_size() for size, param in zip(sizes, params, strict=True))


def layers(task: Any, shapes: dict[str, Any], max_depth: int) -> list[tuple[str, str, int, str, str]]:
    """(path, type, parameters, input shape, output shape) of each module down to `max_depth`."""
    rows = []
    for path, module in task.named_modules():
        if path and (max_depth == -1 or path.count(".") < max_depth):
            before, after = shapes.get(path, ("", ""))
            number = sum(math.prod(param.shape) for param in module.parameters())
            rows.append((path, module.brief(), number, _text(before), _text(after)))
    return rows


def _text(shape: Any) -> str:
    return "x".join(map(str, shape)) if isinstance(shape, tuple) else str(shape or "")


def _table(rows: list[tuple[str, str, int, str, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title, justify in (
        ("name", "left"),
        ("type", "left"),
        ("parameters", "right"),
        ("in", "left"),
        ("out", "left"),
    ):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for path, kind, number, before, after in rows:
        table.add_row(path, kind, f"{number:,}", before, after)
    return table
