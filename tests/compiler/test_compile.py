"""expkit.compile: what a compiled function returns, writes and records is what the function itself would have."""

import itertools
import warnings

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit import nn
from expkit.errors import InplaceError, TraceError


def randn(*shape: int, seed: int = 0) -> ek.Tensor:
    return ek.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def labels(n: int, classes: int, seed: int = 0) -> ek.Tensor:
    return ek.tensor(np.random.default_rng(seed).integers(0, classes, n))


def same(a: ek.Tensor, b: ek.Tensor, **tolerance: float) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), **(tolerance or {"rtol": 2e-5, "atol": 1e-6}))


def classifier(dropout: float = 0.25) -> nn.Module:
    ek.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(dropout), nn.LayerNorm(32), nn.Linear(32, 4))


def images() -> nn.Module:
    ek.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 4))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block = nn.Embedding(11, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.block(self.embed(x)).mean(1))


def recurrent() -> nn.Module:
    ek.manual_seed(0)
    return Recurrent()


def attending() -> nn.Module:
    ek.manual_seed(0)
    return Attending()


MODELS = {
    "classifier": (classifier, lambda k: randn(16, 8, seed=k)),
    "images": (images, lambda k: randn(6, 3, 8, 8, seed=k)),
    "recurrent": (recurrent, lambda k: randn(5, 7, 8, seed=k)),
    "attending": (attending, lambda k: labels(30, 11, seed=k).reshape(5, 6)),
}
OPTIMIZERS = {
    "sgd": lambda p: ek.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: ek.optim.Adam(p, lr=0.01),
    "adamw": lambda p: ek.optim.AdamW(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: ek.optim.RMSprop(p, lr=0.01, centered=True),
}


def steps(model, optimizer, batch, compiled: bool, count: int = 6):
    """The losses of some training steps, the learning rate changing on the way."""

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    run = ek.compile(step, fullgraph=True) if compiled else step
    ek.manual_seed(7)
    losses = []
    for k in range(count):
        x = batch(k)
        x = x.double() if x.is_floating_point() else x
        losses.append(run(x, labels(len(x), 4, seed=k)).item())
        optimizer.param_groups[0]["lr"] *= 0.8
    if compiled:
        (entry,) = run.entries.values()
        assert len(entry.replays) == 1
        assert not entry.eager
    return losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_training_steps_are_those_of_the_plain_loop(model, optimizer):
    build, batch = MODELS[model]
    plain, compiled = (
        build().double(),
        build().double(),
    )  # rounding alone moves parameters without a gradient in float32
    first = steps(plain, OPTIMIZERS[optimizer](plain.parameters()), batch, compiled=False)
    second = steps(compiled, OPTIMIZERS[optimizer](compiled.parameters()), batch, compiled=True)
    np.testing.assert_allclose(second, first, rtol=1e-5)
    for (name, a), b in zip(plain.state_dict().items(), compiled.state_dict().values(), strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    for p, q in zip(plain.parameters(), compiled.parameters(), strict=True):
        same(q.grad, p.grad, rtol=1e-4, atol=1e-6)


def test_the_optimizers_state_goes_on_where_a_state_dict_was_loaded():
    model = classifier(0.0)
    optimizer = ek.optim.Adam(model.parameters(), lr=0.01)

    @ek.compile(fullgraph=True)
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    x = randn(16, 8)
    for _ in range(3):
        step(x)
    kept = {k: v.clone() for k, v in model.state_dict().items()}, optimizer.state_dict()
    moments = {k: {n: v.clone() for n, v in s.items()} for k, s in kept[1]["state"].items()}
    expected = [step(x).item() for _ in range(3)]
    model.load_state_dict(kept[0])
    optimizer.load_state_dict({**kept[1], "state": moments})
    np.testing.assert_allclose([step(x).item() for _ in range(3)], expected, rtol=1e-5)


def test_gradients_add_up_and_can_be_taken_away():
    plain, compiled = classifier(0.0), classifier(0.0)

    def accumulate(model):
        return lambda x: model(x).square().mean().backward()

    runs = accumulate(plain), ek.compile(accumulate(compiled), fullgraph=True)
    for k in range(6):
        if k == 4:
            for p in [*plain.parameters(), *compiled.parameters()]:
                p.grad = None
        for run in runs:
            run(randn(16, 8, seed=k))
        for p, q in zip(plain.parameters(), compiled.parameters(), strict=True):
            same(q.grad, p.grad)


def test_results_take_part_in_eager_autograd():
    model = classifier(0.0)
    compiled = ek.compile(model)
    x = randn(16, 8).requires_grad_()
    variables = [x, *model.parameters()]
    for _ in range(3):
        y = compiled(x)
        expected = ek.autograd.grad(model(x).square().sum(), variables)
        for a, b in zip(ek.autograd.grad(y.square().sum(), variables), expected, strict=True):
            same(a, b)
    y = compiled(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_a_parameter_that_was_overwritten_before_backward_is_an_error():
    model = classifier(0.0)
    compiled = ek.compile(model)
    x = randn(16, 8)
    compiled(x)
    y = compiled(x)
    with ek.no_grad():
        model[4].weight.mul_(2)
    with pytest.raises(InplaceError, match="modified in place"):
        y.sum().backward()


def test_train_and_eval_and_new_parameters_are_noticed():
    model = images()
    compiled = ek.compile(lambda x: model(x), fullgraph=True)
    x = randn(6, 3, 8, 8)
    for change in (None, None, model.eval, model.eval, model.train):
        if change is not None:
            change()
        twin = images()
        twin.load_state_dict(model.state_dict())
        twin.train(model.training)
        same(compiled(x), twin(x))
    model[4] = nn.Linear(4 * 36, 4)
    same(compiled(x)[0], model(x)[0], rtol=1e-4, atol=1e-4)


def test_random_numbers_are_those_of_the_plain_function():
    def f(x):
        return F.dropout(x, 0.5) + ek.randn(4)

    compiled = ek.compile(f, fullgraph=True)
    x = ek.ones(4)
    ek.manual_seed(3)
    expected = [f(x).tolist() for _ in range(5)]
    ek.manual_seed(3)
    np.testing.assert_allclose([compiled(x).tolist() for _ in range(5)], expected, rtol=1e-6, atol=1e-6)
    ek.manual_seed(3)
    np.testing.assert_allclose(compiled(x).tolist(), expected[0], rtol=1e-6, atol=1e-6)


def test_writes_to_arguments_and_to_tensors_outside_are_seen():
    counter, table = ek.zeros(()), ek.zeros(3, 2)
    row = table[1]

    def f(x):
        counter.add_(1)
        row.add_(x)
        x.mul_(2)
        return x + counter

    compiled = ek.compile(f, fullgraph=True)
    for k in range(1, 5):
        x = ek.ones(2)
        assert compiled(x).tolist() == [2.0 + k] * 2
        assert (x.tolist(), counter.item(), table.tolist()) == ([2.0, 2.0], k, [[0.0, 0.0], [float(k)] * 2, [0.0, 0.0]])


def test_results_do_not_share_memory_with_what_comes_later():
    weight = ek.ones(3)

    def f(x):
        weight.add_(1)
        return weight, weight.reshape(3, 1), x.reshape(3, 1)

    compiled = ek.compile(f, fullgraph=True)
    results = [compiled(ek.full((3,), float(k))) for k in range(4)]
    for k in range(1, 4):
        again, column, x = results[k]
        assert column.flatten().tolist() == [2.0 + k] * 3
        assert x.flatten().tolist() == [float(k)] * 3
        assert again.tolist() in ([2.0 + k] * 3, weight.tolist())


def test_containers_static_values_and_shapes_make_signatures():
    traced = itertools.count()  # a list that the function fills would be what it depends on

    def f(batch, scale, *, offset=None):
        next(traced)
        out = batch["x"] * scale
        return {"out": out if offset is None else out + offset, "rest": (batch["x"].sum(), "text", scale)}

    compiled = ek.compile(f, fullgraph=True)
    for scale in (2, 3):
        for size in (3, 5):
            for k in range(3):
                got = compiled({"x": ek.full((size,), float(k))}, scale)
                assert got["out"].tolist() == [float(k * scale)] * size
                assert got["rest"][1:] == ("text", scale)
    assert compiled({"x": ek.ones(3)}, 2, offset=ek.ones(3))["out"].tolist() == [3.0] * 3
    assert next(traced) == 5  # each signature is traced once


def by_value(x):
    return x * 2 if x.sum() > 0 else x


def test_control_flow_on_values_runs_eagerly_and_says_which_line():
    compiled = ek.compile(by_value)
    x = ek.ones(3)
    assert compiled(x).tolist() == [2.0] * 3
    with pytest.warns(UserWarning, match=r"by_value runs eagerly.*(\n.*)*test_compile.py:\d+: return x \* 2"):
        assert compiled(x).tolist() == [2.0] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(-x).tolist() == [-1.0] * 3


@pytest.mark.parametrize(
    "f", [by_value, lambda x: x[x > 0], lambda x: x * x.max().item(), ek.unique], ids=["if", "mask", "item", "unique"]
)
def test_fullgraph_refuses_what_depends_on_values(f):
    compiled = ek.compile(f, fullgraph=True)
    compiled(ek.ones(3))
    with pytest.raises(TraceError):
        compiled(ek.ones(3))


def test_the_value_of_a_tensor_from_outside_is_not_baked_in():
    outside = ek.tensor(2.0)
    compiled = ek.compile(lambda x: x * outside)
    got = []
    for k in range(4):
        outside.fill_(float(k))
        got.append(compiled(ek.ones(1)).item())
    assert got == [0.0, 1.0, 2.0, 3.0]


def test_what_changes_at_each_call_ends_in_one_warning():
    model = nn.Linear(2, 2)
    flips = []

    def f(x):
        return model(x)

    compiled = ek.compile(f)
    x = ek.ones(1, 2)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(14):
            model.weight = nn.Parameter(model.weight.detach() + 1)
            flips.append(compiled(x).sum().item() - f(x).sum().item())
    assert flips == [0.0] * 14
    assert len([w for w in heard if "runs eagerly" in str(w.message)]) == 1


def test_inside_a_transform_it_is_part_of_the_transform():
    compiled = ek.compile(lambda x: (x**3).sum())
    x = ek.tensor([1.0, 2.0])
    for _ in range(3):
        assert compiled(x).item() == 9.0
        assert ek.func.grad(compiled)(x).tolist() == [3.0, 12.0]
    assert ek.vmap(compiled)(ek.stack([x, x])).tolist() == [9.0, 9.0]
    inner = ek.compile(lambda x: ek.func.grad(lambda v: (v**3).sum())(x), fullgraph=True)
    assert [inner(x).tolist() for _ in range(3)] == [[3.0, 12.0]] * 3


def test_a_tensor_passed_twice_may_be_read_but_not_written():
    x = ek.ones(2)
    reads = ek.compile(lambda a, b: a + b, fullgraph=True)
    assert [reads(x, x).tolist() for _ in range(3)] == [[2.0, 2.0]] * 3
    writes = ek.compile(lambda a, b: a.add_(1) + b, fullgraph=True)
    writes(x, x)
    with pytest.raises(TraceError, match="two ways"):
        writes(x, x)


def test_nothing_is_written_when_a_call_fails():
    state = ek.zeros(2)

    def f(x, i):
        state.add_(1)
        return x.gather(0, i)

    compiled = ek.compile(f, fullgraph=True)
    for _ in range(2):
        compiled(ek.ones(2), ek.tensor([0, 1]))
    with pytest.raises(IndexError):
        compiled(ek.ones(2), ek.tensor([0, 5]))
    assert state.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("bad", [3, "text"])
def test_only_functions_are_compiled(bad):
    with pytest.raises(TypeError, match="function or Module"):
        ek.compile(bad)
