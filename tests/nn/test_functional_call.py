"""functional_call: a module as a function of its tensors."""

import numpy as np
import pytest

import expkit as ek
from expkit import func, nn


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("shift", ek.ones(3))

    def forward(self, x, scale=1.0):
        return self.second(self.first(x)) * scale + self.shift


def test_the_given_tensors_are_used_and_the_modules_put_back() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), ek.randn(5, 3)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    other = {name: ek.randn(*p.shape) for name, p in model.named_parameters()}
    model.eval()
    expected = func.functional_call(model, other, x)
    assert all(np.array_equal(model.state_dict()[name].numpy(), own[name].numpy()) for name in own)
    model.load_state_dict(own | other)
    np.testing.assert_array_equal(model(x).detach().numpy(), expected.detach().numpy())


def test_it_is_put_back_after_an_error() -> None:
    model = nn.Linear(3, 4)
    weight = model.weight
    with pytest.raises(RuntimeError):
        func.functional_call(model, {"weight": ek.randn(4, 2)}, ek.randn(5, 3))
    assert model.weight is weight


@pytest.mark.parametrize(("tie", "power"), [(True, 2), (False, 1)])
def test_shared_tensors_are_replaced_together(tie: bool, power: int) -> None:
    x, new = ek.randn(2, 3), ek.eye(3) * 2
    model = Tied()
    with ek.no_grad():
        model.first.weight.copy_(ek.eye(3))
    given = ({"first.weight": new}, {"shift": ek.zeros(3)})
    out = func.functional_call(model, given, (x,), {"scale": 3.0}, tie_weights=tie)
    np.testing.assert_allclose(out.detach().numpy(), 3 * 2**power * x.numpy(), rtol=1e-6)


def test_gradients_per_sample_with_vmap() -> None:
    model, x, y = nn.Linear(3, 2), ek.randn(6, 3), ek.randint(0, 2, (6,))
    params = {name: p.detach() for name, p in model.named_parameters()}

    def loss(p, one, target):
        return nn.functional.cross_entropy(func.functional_call(model, p, one.unsqueeze(0)), target.unsqueeze(0))

    each = func.vmap(func.grad(loss), in_dims=(None, 0, 0))(params, x, y)
    for i in range(6):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        np.testing.assert_allclose(each["weight"][i].numpy(), model.weight.grad.numpy(), rtol=1e-5, atol=1e-6)


BAD = [
    ({"wieght": ek.zeros(2, 3)}, True, "Did you mean 'weight'"),
    ({"weight": ek.zeros(2, 3)}, True, "nothing is given for bias"),
]


@pytest.mark.parametrize(("given", "strict", "message"), BAD)
def test_unknown_and_missing_names(given, strict, message) -> None:
    layer = nn.Linear(3, 2)
    with pytest.raises(RuntimeError, match=message):
        func.functional_call(layer, given, ek.zeros(1, 3), strict=strict)
    assert func.functional_call(layer, given, ek.zeros(1, 3)).tolist() == [layer.bias.tolist()]
