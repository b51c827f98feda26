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
    assert "(0): Parameter containing: [expkit.float32 of size 2]" in repr(held)
    with pytest.raises(RuntimeError, match="should not be called"):
        held(1)
    named = nn.ParameterDict({"w": ek.ones(2)})
    named["b"] = ek.zeros(1)
    assert list(named.state_dict()) == ["w", "b"]
    assert "(w): Parameter containing: [expkit.float32 of size 2]" in repr(named)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.held, self.named = held, named

    assert [name for name, _ in Net().named_parameters()] == ["held.0", "held.1", "held.2", "named.w", "named.b"]


def test_a_parameter_list_is_a_list_of_anything(torch):
    def run(lib, modules):
        held = modules.ParameterList([lib.ones(2), "text", None])
        held += [lib.zeros(1)]
        held[1] = lib.ones(1)
        held[-2] = 5
        part = held[1:3]
        with pytest.raises(IndexError):
            held[4]
        with pytest.raises(TypeError):
            held.extend(lib.ones(2))
        kinds = [type(v).__name__ for v in held]
        return kinds, list(held.state_dict()), len(held), len(part), type(part).__name__, list(map(str, dir(held)[-3:]))

    assert run(ek, nn)[:5] == run(torch, torch.nn)[:5]


def test_a_parameter_dict_is_a_dict_of_anything(torch):
    def run(lib, modules):
        held = modules.ParameterDict({"a": lib.ones(2), "b": 3})
        held.update([("c", lib.ones(1))])
        held.setdefault("d", lib.ones(4))
        held.setdefault("a", None)
        other = held.copy() | {"e": 1}
        other |= modules.ParameterDict({"a": lib.zeros(3)})
        last = other.popitem()
        del held["b"]
        made = held.fromkeys(["x", "y"], 2)
        with pytest.raises(KeyError if lib is ek else AttributeError):
            held["gone"]
        found = [
            list(held), list(reversed(held)), list(other.keys()), list(other.state_dict()), last,
            [tuple(v.shape) for v in held.values()], held.get("gone", 7), dict(made.items()), "a" in held,
            tuple(other["a"].shape), held.pop("a") is not None, len(held), tuple(({"q": 1} | held).keys()),
        ]  # fmt: skip
        held.clear()
        return [*found, len(held)]

    assert run(ek, nn) == run(torch, torch.nn)


def test_a_sequential_is_repeated():
    a, b = lines(2, 2, 2)
    net = nn.Sequential(a, b)
    assert list(2 * net) == list(net * 2) == [a, b, a, b]
    net *= 3
    assert len(net) == 6
    with pytest.raises(ValueError, match="at least once"):
        _ = net * 0
    with pytest.raises(TypeError, match="by an int"):
        _ = net * 1.5


def test_defaults_are_empty():
    for kind in (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict):
        assert len(kind()) == 0
