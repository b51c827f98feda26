"""Module: attributes, walking the tree, modes, conversion, hooks, printing, copies, errors with their place."""

import copy
import sys

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.errors import ConfigError, ShapeError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.scale = nn.Parameter(ek.ones(3))
        self.register_buffer("seen", ek.zeros(1))
        self.register_buffer("scratch", ek.zeros(2), persistent=False)
        self.number = 7

    def forward(self, x, *, shift=0.0):
        return self.norm(self.linear(x)) * self.scale + shift


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(3, 2, bias=False)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


BLOCK_KEYS = [
    "scale", "seen", "linear.weight", "linear.bias", "norm.weight", "norm.bias", "norm.running_mean",
    "norm.running_var", "norm.num_batches_tracked",
]  # fmt: skip


def names(pairs):
    return [name for name, _ in pairs]


# --- attributes -------------------------------------------------------------------------------------------------------


def test_assignment_registers_parameters_modules_and_buffers():
    m = Block()
    assert names(m.named_parameters()) == ["scale", "linear.weight", "linear.bias", "norm.weight", "norm.bias"]
    assert names(m.named_parameters(recurse=False)) == ["scale"]
    assert names(m.named_parameters(prefix="net"))[0] == "net.scale"
    assert names(m.named_buffers(recurse=False)) == ["seen", "scratch"]
    assert names(m.named_children()) == ["linear", "norm"]
    assert m.number == 7
    assert {"scale", "seen", "linear", "number"} <= set(dir(m))


def test_an_attribute_changes_its_kind_with_what_is_assigned():
    m = nn.Module()
    m.x = 1
    m.x = nn.Parameter(ek.ones(2))
    assert names(m.named_parameters()) == ["x"]
    assert "x" not in m.__dict__
    m.x = nn.Linear(1, 1)
    assert names(m.named_parameters()) == ["x.weight", "x.bias"]
    m.x = None
    assert names(m.named_children()) == []
    assert m.x is None
    m.register_buffer("b", ek.zeros(1))
    m.b = ek.ones(1)
    assert names(m.named_buffers()) == ["b"]
    m.c = nn.Buffer(ek.zeros(1), persistent=False)
    assert names(m.named_buffers()) == ["b", "c"]
    assert list(m.state_dict()) == ["b"]
    del m.b
    assert names(m.named_buffers()) == ["c"]
    m.c = ek.ones(1)  # a tensor given to a buffer's name: still a buffer, still not persistent
    assert names(m.named_buffers()) == ["c"]
    assert list(m.state_dict()) == []
    m.c = nn.Buffer(ek.ones(1))
    assert list(m.state_dict()) == ["c"]
    m.later = None
    m.later = nn.Buffer(ek.ones(1), persistent=False)
    m.later = nn.Parameter(ek.ones(1))
    assert list(m.state_dict()) == ["later", "c"]
    m.t = ek.zeros(1)  # a plain tensor is a plain attribute
    assert names(m.named_buffers()) == ["c"]


class Early(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter(ek.ones(1))


WRONG = [
    (lambda m: setattr(m, "scale", ek.ones(3)), TypeError, "cannot assign 'Tensor' as parameter 'scale'"),
    (lambda m: setattr(m, "linear", 3), TypeError, "cannot assign 'int' as child module 'linear'"),
    (lambda m: setattr(m, "seen", 3), TypeError, "cannot assign 'int' as buffer 'seen'"),
    (lambda m: m.register_buffer("linear", ek.ones(1)), KeyError, "attribute 'linear' already exists"),
    (lambda m: m.register_buffer("a.b", ek.ones(1)), KeyError, "contain"),
    (lambda m: m.register_buffer("x", 3), TypeError, "cannot assign 'int' object to buffer 'x'"),
    (lambda m: m.register_parameter("", None), KeyError, "empty string"),
    (lambda m: m.register_parameter("w", ek.ones(1)), TypeError, "cannot assign 'Tensor' object to parameter 'w'"),
    (lambda m: m.register_parameter("number", None), KeyError, "already exists"),
    (lambda m: m.add_module("x", 3), TypeError, "int is not a Module subclass"),
    (lambda m: m.lineer, AttributeError, "'Block' object has no attribute 'lineer'"),
    (lambda m: delattr(m, "nothing"), AttributeError, "nothing"),
    (lambda m: m.get_submodule("linear.sub"), AttributeError, "Linear has no submodule `sub`"),
    (lambda m: m.get_parameter("linear.w"), AttributeError, "Linear has no parameter `w`"),
    (lambda m: m.get_buffer("scale"), AttributeError, "Block has no buffer `scale`"),
    (lambda m: m.train(1), ValueError, "boolean"),
    (lambda m: m.to(ek.int64), TypeError, "floating point"),
    (lambda m: Early(), AttributeError, r"before Module.__init__\(\) call"),
    (lambda m: nn.Module()(1), NotImplementedError, 'missing the required "forward"'),
]


@pytest.mark.parametrize(("act", "error", "message"), WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_wrong_use_is_refused(act, error, message):
    with pytest.raises(error, match=message):
        act(Block())


def test_python_suggests_a_close_match_for_a_mistyped_name(capsys):
    with pytest.raises(AttributeError) as caught:
        Block().lineer  # noqa: B018
    sys.__excepthook__(caught.type, caught.value, None)
    assert "Did you mean: 'linear'" in capsys.readouterr().err


# --- the tree ---------------------------------------------------------------------------------------------------------


def test_the_tree_is_walked_as_in_pytorch():
    net = Net()
    assert names(net.named_modules()) == [
        "", "blocks", "blocks.0", "blocks.0.linear", "blocks.0.norm", "blocks.1", "blocks.1.linear", "blocks.1.norm",
        "head",
    ]  # fmt: skip
    assert net.get_submodule("blocks.1.norm") is net.blocks[1].norm
    assert net.get_submodule("") is net
    assert net.get_parameter("blocks.0.scale") is net.blocks[0].scale
    assert net.get_buffer("blocks.0.norm.running_mean") is net.blocks[0].norm.running_mean
    order = []
    net.apply(lambda m: order.append(type(m).__name__))
    assert order[:3] == ["Linear", "BatchNorm1d", "Block"]
    assert order[-2:] == ["Linear", "Net"]


def tied():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    return net


def test_tied_parameters_are_one_parameter():
    net = tied()
    assert names(net.named_parameters()) == ["0.weight", "0.bias", "2.bias"]
    assert names(net.named_parameters(remove_duplicate=False)) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    twin = copy.deepcopy(net).double()
    assert twin[0].weight is twin[2].weight
    assert twin[0].weight is not net[0].weight
    other = tied()
    other.load_state_dict(net.state_dict())
    assert other[0].weight is other[2].weight
    other.load_state_dict(tied().state_dict(), assign=True)
    assert other[0].weight is other[2].weight
    assert next(iter(other.parameters())) is other[2].weight


# --- modes, gradients, conversion -------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.blocks[0].train()
    assert [m.training for m in net.blocks] == [True, False]


def test_gradients_are_frozen_and_forgotten():
    net = Net()
    net.blocks[0].requires_grad_(False)
    net(ek.randn(4, 3)).sum().backward()
    assert net.blocks[0].scale.grad is None
    grad = net.head.weight.grad
    assert grad is not None
    net.zero_grad(set_to_none=False)
    assert (net.head.weight.grad == 0).all()
    net.zero_grad()
    assert net.head.weight.grad is None


def test_conversion_keeps_the_parameters_and_their_gradients():
    net = Net()
    before = list(net.parameters())
    net(ek.randn(4, 3)).sum().backward()
    assert net.double() is net
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert {p.dtype for p in net.parameters()} == {ek.float64}
    assert net.head.weight.grad.dtype == ek.float64
    assert net.blocks[0].norm.running_mean.dtype == ek.float64
    assert net.blocks[0].norm.num_batches_tracked.dtype == ek.int64
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())
    net(ek.randn(4, 3, dtype=ek.float64)).sum().backward()
    for dtype, convert in ((ek.float32, net.float), (ek.float16, net.half), (ek.bfloat16, net.bfloat16)):
        assert convert().head.weight.dtype == dtype
    assert net.to(ek.zeros(1, dtype=ek.float64)).head.weight.dtype == ek.float64
    assert net.to("cpu", ek.float32).head.weight.dtype == ek.float32
    assert net.cpu().to(device="cpu", dtype=ek.float64).head.weight.dtype == ek.float64


def test_a_shared_buffer_stays_shared_when_converted():
    net = nn.Sequential(nn.Module(), nn.Module())
    net[0].register_buffer("b", ek.ones(1))
    net[1].register_buffer("b", net[0].b)
    net.double()
    assert net[0].b is net[1].b
    assert net[0].b.dtype == ek.float64


def test_a_gpu_that_is_not_there_is_an_error():
    if not ek.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"(?i)cupy|gpu|cuda"):
            nn.Linear(2, 2).cuda()


# --- hooks ------------------------------------------------------------------------------------------------------------


def test_hooks_see_and_replace_arguments_and_output():
    m, calls = Block().eval(), []
    x = ek.ones(2, 3)
    plain = m(x)
    handles = [
        m.register_forward_pre_hook(lambda module, args: calls.append(("pre", module is m, len(args)))),
        m.register_forward_pre_hook(lambda module, args: args[0] * 1, prepend=True),
        m.register_forward_pre_hook(lambda module, args, kwargs: (args, {**kwargs, "shift": 2.0}), with_kwargs=True),
        m.register_forward_hook(lambda module, args, output: calls.append("post")),
        m.register_forward_hook(lambda module, args, kwargs, output: output * kwargs["shift"], with_kwargs=True),
        m.register_forward_hook(lambda module, args, output: calls.append("first"), prepend=True),
    ]
    out = m(x)
    np.testing.assert_allclose(out.detach().numpy(), (plain.detach().numpy() + 2) * 2, rtol=1e-6)
    assert calls == [("pre", True, 1), "first", "post"]
    for handle in handles:
        handle.remove()
    calls.clear()
    np.testing.assert_array_equal(m(x).detach().numpy(), plain.detach().numpy())
    assert calls == []


def test_a_hook_ends_with_its_block_and_may_remove_itself():
    m, calls = nn.Identity(), []
    with m.register_forward_hook(lambda *_: calls.append(1)):
        m(0)
    m(0)
    handle = m.register_forward_hook(lambda *_: handle.remove())
    m(0)
    m(0)
    assert calls == [1]
    assert not m._forward_hooks


def test_wrong_hooks_are_refused():
    m = nn.Identity()
    with pytest.raises(TypeError, match="must be callable"):
        m.register_forward_hook(3)
    m.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="None or a tuple of"):
        m(1)


# --- printing, copies -------------------------------------------------------------------------------------------------


class TorchLike:
    """The same model in expkit or torch."""

    @staticmethod
    def make(nn):
        inner = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.25))
        return nn.Sequential(inner, nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), nn.Sequential(), nn.ModuleList())


def test_a_model_prints_as_in_torch(torch):
    assert repr(TorchLike.make(nn)) == repr(TorchLike.make(torch.nn))


def test_extra_lines_stand_before_the_submodules():
    class Described(nn.Sequential):
        def extra_repr(self):
            return "first\nsecond"

    assert repr(Described(nn.Tanh())) == "Described(\n  first\n  second\n  (0): Tanh()\n)"


def test_a_deep_copy_shares_nothing():
    net = Net()
    net(ek.randn(4, 3)).sum().backward()
    twin = copy.deepcopy(net)
    assert names(twin.named_parameters()) == names(net.named_parameters())
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert isinstance(b, nn.Parameter)
        assert b.requires_grad
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        assert not np.shares_memory(a.detach().numpy(), b.detach().numpy())
    with ek.no_grad():
        twin.head.weight.zero_()
    assert (net.head.weight != 0).any()
    twin(ek.randn(4, 3)).sum().backward()


# --- errors name their place ------------------------------------------------------------------------------------------


class Task(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


MLP = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2))

PLACES = [
    (nn.Linear(3, 4), "in model (Linear(3 -> 4))"),
    (MLP, "in model.2 (Linear(5 -> 2))"),
    (Task(MLP), "in model.2 (Linear(5 -> 2))"),
    (nn.Sequential(Net(), nn.Identity()), "in model.0.blocks.0.linear (Linear(3 -> 3))"),
]


@pytest.mark.parametrize(("model", "place"), PLACES, ids=[place for _, place in PLACES])
def test_a_shape_error_names_the_innermost_module_once(model, place):
    with pytest.raises(ShapeError) as caught:
        model(ek.ones(2, 3 if model in (MLP, PLACES[2][0]) else 7))
    message = str(caught.value)
    assert message.endswith(place)
    assert message.count("\n  in ") == 1
    assert "last dimension" in message


def test_a_module_made_in_forward_is_named_by_its_type():
    class Sneaky(nn.Module):
        def forward(self, x):
            return nn.Linear(9, 1)(x)

    with pytest.raises(ShapeError, match=r"in model \(Linear\(9 -> 1\)\)"):
        Sneaky()(ek.ones(2, 3))


def test_other_errors_pass_unchanged():
    class Failing(nn.Module):
        def forward(self, x):
            raise ConfigError("as it was")

    with pytest.raises(ConfigError, match=r"^as it was$"):
        nn.Sequential(Failing())(1)
