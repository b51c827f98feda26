"""The verifier finds what is planted: a fault for each rule, and nothing in what is right."""

import numpy as np
import pytest

import expkit as ek
from expkit.autograd.equations import Equation, State, Var
from expkit.autograd.handle import Aval
from expkit.autograd.trace import trace
from expkit.compiler.units import Unit
from expkit.compiler.verify import RULES, UNIT_RULES, verify, verify_units
from expkit.errors import TraceError

NEVER = -1  # a number that no Var has


def graph():
    outside = ek.tensor(np.ones(3, np.float32))
    return trace(lambda x: (x + outside).reshape(3, 1).sum(1) * 2, ek.tensor(np.ones(3, np.float32)))


def stray(like, **changed):
    aval = Aval(like.shape, like.dtype, like.device)._replace(**changed)
    return Var(like.trace, aval, NEVER)


def _used_before_made(g):
    g.equations.reverse()
    return "is used before it is made"


def _made_twice(g):
    g.equations.append(g.equations[0])
    return "is made twice"


def _result_never_made(g):
    g.outputs = [stray(g.outputs[0])]
    return "the result %-1 is never made"


def _operand(g):
    e = g.equations[0]
    g.equations[0] = Equation(e.prim, (e.args[0], np.ones(3, np.float32)), e.kw, e.outs)
    return "neither a Var nor a number but ndarray"


def _parameters(g):
    e = g.equations[1]
    g.equations[1] = Equation(e.prim, e.args, {"shape": [3, 1]}, e.outs)
    return "the parameter shape cannot be hashed"


def _constant(g):
    (v, _), *rest = g.consts
    g.consts = [(v, np.ones(4, np.float32)), *rest]
    return "its array float32[4]"


def _shape(g):
    g.equations[0].outs[0]._shape = (4,)
    return "shape: "


def _dtype(g):
    g.equations[-1].outs[0]._dtype = np.dtype(np.float64)
    return "dtype: "


def _device(g):
    g.equations[-1].outs[0]._device = "cuda"
    return "device: "


def _written_twice(g):
    state = State(ek.tensor(np.ones(3, np.float32)), None, g.outputs[0])
    g.state = [state, state]
    return "from outside is written twice"


def _written_as_it_is(g):
    g.state = [State(ek.tensor(np.ones(4, np.float32)), None, g.outputs[0])]
    return "the tensor float32[4]"


FAULTS = {
    "used_before_made": _used_before_made, "made_twice": _made_twice, "result_never_made": _result_never_made,
    "operand": _operand, "parameters": _parameters, "constant": _constant, "shape": _shape, "dtype": _dtype,
    "device": _device, "written_twice": _written_twice, "written_as_it_is": _written_as_it_is,
}  # fmt: skip


@pytest.mark.parametrize("name", [rule.__name__ for rule in RULES])
def test_a_planted_fault_is_found(name):
    g = graph()
    verify(g)
    message = FAULTS[name](g)
    with pytest.raises(TraceError, match=r"graph: \d+ faults") as caught:
        verify(g)
    assert message in str(caught.value)
    assert list(next(rule for rule in RULES if rule.__name__ == name)(g)), "found by another rule"


def units():
    """Three units: b from a, c overwrites a in place, d from b."""
    g = graph()
    a, b, c, d = (Var(g.inputs[0].trace, Aval((3,), np.dtype(np.float32), "cpu"), n) for n in range(4))
    update = Unit(list, [a], [c], "update", in_place=list, overwrites=(0,))
    return [Unit(list, [a], [b], "first"), update, Unit(list, [b, 2.0], [d], "last")]


def _out_of_order(found):
    found.reverse()


def _unit_twice(found):
    found.append(found[0]._replace(args=[]))


def _overwritten(found):
    found[2] = found[2]._replace(args=found[0].args)


UNIT_FAULTS = {
    "unit_out_of_order": _out_of_order, "unit_made_twice": _unit_twice, "read_after_overwritten": _overwritten,
}  # fmt: skip


@pytest.mark.parametrize("name", [rule.__name__ for rule in UNIT_RULES])
def test_a_planted_fault_among_units_is_found(name):
    found = units()
    verify_units(found)
    UNIT_FAULTS[name](found)
    with pytest.raises(TraceError, match=r"units: \d+ faults"):
        verify_units(found)
    assert list(next(rule for rule in UNIT_RULES if rule.__name__ == name)(found)), "found by another rule"
