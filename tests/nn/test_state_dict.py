"""State dicts: keys, loading, what does not fit (in PyTorch's words), hooks."""

from collections import OrderedDict

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.errors import CheckpointError
from tests.nn.test_module import BLOCK_KEYS, Net

KEYS = [*(f"blocks.{i}.{key}" for i in (0, 1) for key in BLOCK_KEYS), "head.weight"]


def test_the_keys_are_pytorchs_own_first_then_the_childrens():
    net = Net()
    state = net.state_dict()
    assert list(state) == KEYS
    assert next(iter(net.state_dict(prefix="model."))) == "model.blocks.0.scale"
    assert not state["head.weight"].requires_grad
    assert net.state_dict(keep_vars=True)["head.weight"] is net.head.weight
    with ek.no_grad():
        net.head.weight.fill_(3.0)
    assert (state["head.weight"] == 3).all()  # the module's own memory


def test_a_round_trip_restores_every_value_in_place():
    a, b = Net(), Net()
    a(ek.randn(5, 3))
    weight = b.head.weight
    result = b.load_state_dict(a.state_dict())
    assert result == ([], [])
    assert repr(result) == "<All keys matched successfully>"
    assert b.head.weight is weight
    assert weight.requires_grad
    for key, value in a.state_dict().items():
        np.testing.assert_array_equal(b.state_dict()[key].numpy(), value.numpy())
        assert not np.shares_memory(b.state_dict()[key].numpy(), value.numpy())


def test_loading_converts_to_the_modules_dtype_and_assign_does_not():
    state = {key: value.double() if value.is_floating_point() else value for key, value in Net().state_dict().items()}
    net = Net()
    net.load_state_dict(state)
    assert net.head.weight.dtype == ek.float32
    assert net.load_state_dict(state, assign=True) == ([], [])
    assert net.head.weight.dtype == ek.float64
    assert isinstance(net.head.weight, nn.Parameter)
    assert net.head.weight.requires_grad
    net.double()(ek.randn(4, 3, dtype=ek.float64)).sum().backward()
    assert net.head.weight.grad is not None


def without(*keys):
    return lambda state: {key: value for key, value in state.items() if key not in keys}


def plus(**extra):
    return lambda state: {**state, **{key.replace("_", "."): value for key, value in extra.items()}}


# (what is done to a fitting state dict of a Linear(2, 3), the message after the first line)
MISFITS = [
    (without("bias"), '\tMissing key(s) in state_dict: "bias". '),
    (without("weight", "bias"), '\tMissing key(s) in state_dict: "weight", "bias". '),
    (plus(more=1, head_weight=2), '\tUnexpected key(s) in state_dict: "more", "head.weight". '),
    (
        plus(weight=ek.ones(2, 2)),
        "\tsize mismatch for weight: copying a param with shape (2, 2) from checkpoint, "
        "the shape in current model is (3, 2).",
    ),
    (
        lambda state: {"weight": ek.ones(3), "extra": 1},
        '\tMissing key(s) in state_dict: "bias". \n\tUnexpected key(s) in state_dict: "extra". \n'
        "\tsize mismatch for weight: copying a param with shape (3,) from checkpoint, "
        "the shape in current model is (3, 2).",
    ),
]


@pytest.mark.parametrize(("change", "message"), MISFITS, ids=range(len(MISFITS)))
def test_what_does_not_fit_is_listed_and_nothing_is_written(change, message):
    m = nn.Linear(2, 3)
    before = {key: value.numpy().copy() for key, value in m.state_dict().items()}
    state = change(nn.Linear(2, 3).state_dict())
    with pytest.raises(RuntimeError) as caught:
        m.load_state_dict(state)
    assert str(caught.value) == f"Error(s) in loading state_dict for Linear:\n{message}"
    assert isinstance(caught.value, CheckpointError)
    for key, value in m.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


@pytest.mark.parametrize(("change", "message"), MISFITS, ids=range(len(MISFITS)))
def test_the_wording_is_pytorchs(change, message, torch):
    m = torch.nn.Linear(2, 3)
    state = change({key: torch.from_numpy(value.numpy()) for key, value in nn.Linear(2, 3).state_dict().items()})
    state = {k: torch.tensor(v.tolist()) if isinstance(v, ek.Tensor) else v for k, v in state.items()}
    with pytest.raises(RuntimeError) as caught:
        m.load_state_dict(state)
    theirs = str(caught.value).replace("torch.Size([2, 2])", "(2, 2)").replace("torch.Size([3, 2])", "(3, 2)")
    assert theirs.replace("torch.Size([3])", "(3,)") == f"Error(s) in loading state_dict for Linear:\n{message}"


def test_a_lenient_load_takes_what_fits():
    m = nn.Linear(2, 3)
    result = m.load_state_dict({"weight": ek.ones(3, 2), "more": ek.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"]
    assert result.unexpected_keys == ["more"]
    assert "missing_keys=['bias']" in repr(result)
    assert (m.weight == 1).all()
    with pytest.raises(CheckpointError, match="size mismatch"):
        m.load_state_dict({"weight": ek.ones(1)}, strict=False)


def test_other_things_than_tensors_are_refused():
    m = nn.Linear(2, 3)
    with pytest.raises(TypeError, match="dict-like"):
        m.load_state_dict([1, 2])
    with pytest.raises(CheckpointError, match=r'parameter named "weight", expected expkit.Tensor.*received.*list'):
        m.load_state_dict({"weight": [1.0], "bias": ek.ones(3)})


def test_hooks_on_state_dicts():
    m, seen = nn.Sequential(nn.Linear(2, 3)), []
    m[0].register_state_dict_pre_hook(lambda module, prefix, keep_vars: seen.append(("save", prefix)))
    m[0].register_state_dict_post_hook(lambda module, state, prefix, meta: state.pop(f"{prefix}bias"))
    assert list(m.state_dict()) == ["0.weight"]
    assert seen == [("save", "0.")]

    def rename(module, state, prefix, meta, strict, missing, unexpected, errors):
        state[f"{prefix}weight"] = state.pop(f"{prefix}kernel")

    handle = m[0].register_load_state_dict_pre_hook(rename)
    m.register_load_state_dict_post_hook(lambda module, keys: seen.append(keys.missing_keys))
    given = OrderedDict({"0.kernel": ek.ones(3, 2), "0.bias": ek.ones(3)})
    m.load_state_dict(given)
    assert (m[0].weight == 1).all()
    assert list(given) == ["0.kernel", "0.bias"]  # the caller's dictionary is left alone
    assert seen[-1] == []
    handle.remove()
    with pytest.raises(CheckpointError, match="Missing"):
        m.load_state_dict(given)
