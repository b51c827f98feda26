"""The picture of a training step: what is compiled of it, by module and phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from expkit.autograd.equations import Equation, Graph, Var
from expkit.compiler.diagram import Diagram, diagram
from expkit.config import Composed
from expkit.trainer.planning.plan import staged
from expkit.trainer.planning.stage import Stage, Step


def make_picture(composed: Composed) -> tuple[Diagram, str]:
    """The picture of a composed experiment's training step, and its title."""
    with staged(composed, whole=False) as (stage, config, data, *_):
        made = picture(stage, data.train[0], data.batch_size)
        return made, f"{config['model']['name']} on {config['data']['name']}, {data.batch_size} samples"


def picture(stage: Stage, sample: Any, size: int) -> Diagram:
    """The diagram of one training step on batches of `size` samples like this one, of a Stage with whole=False."""
    step = stage.train(sample, size)
    graph = Graph([], [], step.equations)
    return diagram(graph, step.results, places_of(stage, step))


def places_of(stage: Stage, step: Step) -> Callable[[Equation], tuple[str, str] | None]:
    """(module, phase) of an equation. An update belongs to the module that made the gradient."""
    found: dict[int, tuple[str, str]] = {}
    modules: dict[int, str] = {}
    for n, e in enumerate(step.equations):
        phase = "forward" if n < step.backward else "backward" if n < step.update else "update"
        if phase == "update":
            known = {modules[a.index] for a in e.args if isinstance(a, Var) and modules.get(a.index)}
            module = known.pop() if len(known) == 1 else ""
        else:
            node = step.made[n].node
            module = stage.places.at(step.times[n] if node is None else node)
        found[e.outs[0].index] = (module or "step", phase)
        modules.update(dict.fromkeys((v.index for v in e.outs), module))
    return lambda e: found.get(e.outs[0].index)
