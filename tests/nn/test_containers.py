"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

import itertools

import pytest

import expkit as ek
from expkit import nn


def lines(*sizes):
    return [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]


def test_sequential_calls_its_modules_in_order():
    a, b, c = lines(2, 3, 4, 5)
    net = nn.Sequential(a, b, c)
    assert net(ek.ones(1, 2)).shape == (1, 5)
    assert list(net) == [a, b, c]
    assert len(net) == 3
    assert net[-1] is c
    assert list(net.state_dict()) == [f"{i}.{name}" for i in range(3) for name in ("weight", "bias")]
    named = nn.Sequential({"first": a, "second": b})
    assert named.second is b
    assert list(named[1:].state_dict()) == ["second.weight", "second.bias"]
    assert next(iter(net[1:].state_dict())) == "1.weight"
    named.append(c)
    assert list(dict(named.named_children())) == ["first", "second", "2"]
    assert nn.Sequential()(7) == 7


@pytest.mark.parametrize("kind", [nn.Sequential, nn.ModuleList])
def test_module_lists_change_like_lists(kind):
    a, b, c = lines(2, 2, 2, 2)
    holder = kind(a, b) if kind is nn.Sequential else kind([a, b])
    holder.append(c)
    holder.insert(0, c)
    assert list(holder) == [c, a, b, c]
    assert holder.pop(0) is c
    holder[1] = a
    assert list(holder) == [a, a, c]
    del holder[0]
    assert [name for name, _ in holder.named_children()] == ["0", "1"]
    holder.extend([b])
    assert list(holder + [a]) == [a, c, b, a]
    holder += [a]
    assert len(holder) == 4
    assert list(holder[1:3]) == [c, b]
    with pytest.raises(IndexError, match="index 9 is out of range"):
        holder[9]
    with pytest.raises(TypeError, match="holds Modules, got int"):
        holder.append(3)


def test_module_dict_changes_like_a_dict():
    a, b, c = lines(2, 2, 2, 2)
    d = nn.ModuleDict({"a": a})
    d["b"] = b
    d.update([("c", c)])
    assert list(d) == list(d.keys()) == ["a", "b", "c"]
    assert list(d.values()) == [a, b, c]
    assert dict(d.items())["b"] is b
    assert "a" in d
    assert len(d) == 3
    assert d.pop("c") is c
    del d["a"]
    assert list(d.state_dict()) == ["b.weight", "b.bias"]
    d.clear()
    assert len(d) == 0
    with pytest.raises(TypeError, match="holds Modules"):
        d["x"] = ek.ones(1)
    with pytest.raises(KeyError, match="already exists"):
        d["forward"] = a
    with pytest.raises(KeyError):
        d["gone"]


def test_parameters_in_lists_and_dicts():
    held = nn.ParameterList([ek.ones(2), nn.Parameter(ek.zeros(1))])
    held.append(ek.ones(3))
    assert [name for name, _ in held.named_parameters()] == ["0", "1", "2"]
    assert all(isinstance(p, nn.Parameter) for p in held)
    assert held[2].shape == (3,)
    assert "(0): Parameter of size (2,)" in repr(held)
    with pytest.raises(TypeError, match="expected a Parameter or a Tensor"):
        held.append(3)
    named = nn.ParameterDict({"w": ek.ones(2)})
    named["b"] = ek.zeros(1)
    assert list(named.state_dict()) == ["w", "b"]
    assert "(w): Parameter of size (2,)" in repr(named)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.held, self.named = held, named

    assert [name for name, _ in Net().named_parameters()] == ["held.0", "held.1", "held.2", "named.w", "named.b"]


def test_defaults_are_empty():
    for kind in (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict):
        assert len(kind()) == 0
