"""Which constants of a graph are fixed. What rests on these alone needs no folding: a trace has its value already."""

from __future__ import annotations

from typing import Any

import numpy as np

from expkit.autograd.equations import Graph


def fixed_of(graph: Graph) -> dict[int, Any]:
    """The constants that are the same at each run, by Var: arrays that the function makes of nothing."""
    found = {v.index: (v, raw) for v, raw in graph.consts}
    changing = {i for v, _ in found.values() for i in _changing(v.trace)}
    return {i: raw for i, (_, raw) in found.items() if i not in changing and raw.__class__ is np.ndarray}


def _changing(trace: Any) -> set[int]:
    """The constants of a trace that are read again at each run."""
    if not trace.live:
        return {v.index for v, _ in trace.consts.values()}
    return {*trace.sources, *(v.index for v, _ in trace.reads)}
