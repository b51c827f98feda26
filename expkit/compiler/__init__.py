"""compile: a function of tensors as one program, traced once for each signature and replayed.

    @expkit.compile
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

`capture.py` traces the function with all that it reads and writes outside, `replay.py` brings that in and leaves it;
`passes/` simplify the graph, `layouts.py` chooses memory formats; `groups.py` and `cores.py` say which equations share
a kernel, `fusion.py` makes these; `program.py` is their order, `recorded.py` its first run, in which the kernel calls
are noted, and `rerun.py` all further ones; `compiled.py` keeps the programs and decides which one fits.
"""

from expkit.compiler.compiled import Compiled, compile
from expkit.compiler.dynamic import mark_dynamic

__all__ = ["Compiled", "compile", "mark_dynamic"]
