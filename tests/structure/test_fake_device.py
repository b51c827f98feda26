"""The engine on a device that is not the CPU: every row of the op table and whole training steps on the stand-in.

Results equal the CPU's, lie on the device, and nothing is copied between device and host on the way.
"""

import sys

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.autograd import handle
from expkit.errors import DeviceError
from expkit.nn import functional as F
from expkit.tensor import devices
from tests import fake_device
from tests.fake_device import FakeArray, transfers
from tests.ops import checkers
from tests.ops.rows import Row, Sample, assert_close, tensors, to_ek
from tests.ops.table import ROWS

# Rows (and which of their samples) that copy between device and host, and why; an entry no longer needed fails.
CREATED = "made on the host and uploaded: creation, outside a training step"
READ_BACK = "a 0-d index is read back to become a slice, as in PyTorch"
ANSWERED = "its answer is Python's, as in PyTorch"
MEASURED = "its result's size is a sum of counts, as in PyTorch"
CROSSES = dict.fromkeys(
    (
        "arange",
        "linspace",
        "logspace",
        "eye",
        "tril_indices",
        "triu_indices",
        "combinations",
        "vander",
        "linalg.vander",
    ),
    CREATED,
)
CROSSES |= {"equal": ANSWERED, "allclose": ANSWERED, "repeat_interleave": MEASURED}
CROSSES |= {"Tensor.__getitem__": READ_BACK, "Tensor.__setitem__": READ_BACK}


def crosses(row: Row, sample: Sample) -> bool:
    """Whether the table says that this sample's data crosses."""
    whole = [x for x in sample.arrays() if x.dtype.kind == "i"]
    if CROSSES.get(row.name) == READ_BACK:
        return any(x.ndim == 0 for x in whole)
    return bool(whole) if CROSSES.get(row.name) == MEASURED else row.name in CROSSES


@pytest.fixture
def cuda(monkeypatch):
    """The stand-in takes CuPy's place."""
    monkeypatch.setitem(sys.modules, "cupy", fake_device.MODULE)
    yield ek.device("cuda")
    devices.ARRAY_LIBRARIES.pop(FakeArray, None)
    handle.install(raw_types=frozenset(devices.ARRAY_LIBRARIES))


def rows(condition) -> list:
    named = {}
    for number, row in enumerate(ROWS):
        if condition(row):
            named[f"{row.name}-{number}"] = row
    return [pytest.param(row, id=name) for name, row in named.items()]


def has_tensors(row: Row) -> bool:
    return any(sample.arrays() for sample in row.make())


def can_be_made_there(row: Row) -> bool:
    return not has_tensors(row) and row.call is None


def run_there(row: Row, sample: Sample, device: ek.device) -> bool | None:
    """Checks the results there against those here; says whether data crossed, None where the CPU refuses the sample."""
    here = to_ek(sample, "float32")
    expected, refused = checkers.attempt(lambda: row.function()(*here.args, **here.kw))
    there = here.map(lambda x: x.to(device))
    keywords = there.kw if there.arrays() else {**there.kw, "device": device}
    before = fake_device.TRANSFERS.total()
    got, error = checkers.attempt(lambda: row.function()(*there.args, **keywords))
    crossed = fake_device.TRANSFERS.total() - before
    if refused is not None:
        assert error is not None
        return None
    if error is not None:
        raise error
    for y, e in zip(tensors(got), tensors(expected), strict=True):
        assert isinstance(y.raw, FakeArray), f"{row.name}{sample!r}: the result lies on {y.device}"
        assert y.dtype == e.dtype
        if row.name not in ("empty", "empty_like"):
            assert_close(y.cpu(), e, "float32", f"{row.name}{sample!r}", row.tolerance)
    return crossed > 0


@pytest.mark.parametrize("row", rows(lambda row: has_tensors(row) or can_be_made_there(row)))
def test_an_operation_stays_on_the_device(row, cuda):
    for sample in row.make():
        if sample.arrays() or not has_tensors(row):
            crossed = run_there(row, sample, cuda)
            assert crossed in (None, crosses(row, sample)), f"{row.name}{sample!r}"


@pytest.mark.parametrize("row", rows(lambda row: row.grad and "vjp" not in row.gaps))
def test_a_gradient_stays_on_the_device(row, cuda):
    for sample in row.make():
        here = to_ek(sample, "float64", requires_grad=True)
        out, refused = checkers.attempt(lambda: row.function()(*here.args, **here.kw))  # noqa: B023
        results = [] if refused else [y for y in tensors(out) if y.requires_grad]
        if not results:
            continue
        there = to_ek(sample).map(lambda x: x.to(cuda).requires_grad_(x.dtype == ek.float64))
        weights = [ek.randn(y.shape, dtype=ek.float64).to(cuda) for y in results]
        got = [y for y in tensors(row.function()(*there.args, **there.kw)) if y.requires_grad]
        with transfers():
            ek.autograd.backward(got, weights)
        ek.autograd.backward(results, [w.cpu() for w in weights])
        for y, e in zip(there.arrays(), here.arrays(), strict=True):
            if e.grad is not None:
                assert isinstance(y.grad.raw, FakeArray)
                assert_close(y.grad.cpu(), e.grad, "float64", f"{row.name}{sample!r}", 10.0)


class Reader(nn.Module):
    """One recurrent layer after another over (N, 4, 5)."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.LSTM(5, 4, bidirectional=True), nn.GRU(8, 4), nn.RNN(4, 4), nn.LSTM(4, 4, proj_size=3)]
        )

    def forward(self, x):
        x = x.transpose(0, 1)
        for layer in self.layers:
            x, _ = layer(x)
        return x[-1]


MODELS = {
    "recurrent": (Reader, (4, 5)),
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(),
            nn.Linear(16, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3),
        ),
        (12,),
    ),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3),
        ),
        (2, 6, 6),
    ),
}  # fmt: skip
OPTIMIZERS = {
    "sgd": lambda ps: ek.optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "rmsprop": lambda ps: ek.optim.RMSprop(ps, lr=0.01),
    "adam": lambda ps: ek.optim.Adam(ps, lr=0.01),
    "adamw": lambda ps: ek.optim.AdamW(ps, lr=0.01),
}


def train(model, optimizer, x, y, steps: int = 3) -> ek.Tensor:
    """The losses of a few steps, without reading them in between."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return ek.stack(losses)


@pytest.mark.parametrize("optim", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_training_stays_on_the_device_and_equals_the_cpus(model, optim, cuda):
    build, shape = MODELS[model]
    here = build()
    there = build()
    there.load_state_dict(here.state_dict())
    there.to(cuda)
    x, y = ek.randn(10, *shape), ek.randint(0, 3, (10,))
    expected = train(here, OPTIMIZERS[optim](here.parameters()), x, y)
    optimizer, x, y = OPTIMIZERS[optim](there.parameters()), x.to(cuda), y.to(cuda)
    with transfers():
        losses = train(there, optimizer, x, y)
    assert_close(losses.cpu(), expected, "float32", f"{model} with {optim}", 10.0)
    for name, value in there.state_dict().items():
        assert value.device == cuda, name


def test_dropout_draws_on_the_device_what_it_draws_on_the_cpu(cuda):
    x = ek.ones(50, 4)
    ek.manual_seed(7)
    expected = F.dropout(x, 0.4)
    ek.manual_seed(7)
    there = x.to(cuda)
    with transfers():
        got = F.dropout(there, 0.4)
    np.testing.assert_array_equal(got.cpu().numpy(), expected.numpy())


MIXED = {
    "sum": lambda x, y: x + y,
    "matrix product": lambda x, y: x @ y,
    "in place": lambda x, y: x.add_(y),
    "concatenation": lambda x, y: ek.cat([x, y]),
}


@pytest.mark.parametrize("what", MIXED)
def test_devices_do_not_mix(what, cuda):
    here, there = ek.ones(2, 2), ek.ones(2, 2, device=cuda)
    for x, y in ((here, there), (there, here)):
        with pytest.raises(DeviceError, match="same device"):
            MIXED[what](x, y)


def test_a_number_on_the_cpu_mixes_with_the_device(cuda):
    result = ek.tensor(2.0) * ek.ones(3, device=cuda)
    assert result.device == cuda
    assert result.tolist() == [2.0, 2.0, 2.0]


def test_without_a_gpu_the_error_says_what_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="CuPy"):
        ek.ones(2, device="cuda")


def test_a_device_number_that_is_not_there(cuda):
    with pytest.raises(DeviceError, match=r"1 GPU"):
        ek.ones(2, device="cuda:3")


INDICES = {
    "list": ([2, 0, -1],),
    "index": (ek.tensor([2, 0, -1]),),
    "two indices": (ek.tensor([[2], [0]]), ek.tensor([1, -1], dtype=ek.int32)),
    "mask": (ek.tensor([True, False, True]),),
    "mask of everything": (ek.arange(12).reshape(3, 4) % 3 == 0,),
    "behind a slice": (slice(1, None), ek.tensor([3, 0, 0])),
}


@pytest.mark.parametrize("name", INDICES)
def test_indices_in_host_memory_serve_tensors_on_the_device(name, cuda):
    key, x = INDICES[name], ek.arange(12.0).reshape(3, 4)
    here, there = (y.clone().requires_grad_() for y in (x, x.to(cuda)))
    for y in (here, there):
        (y[key] ** 2).sum().backward()
    assert_close(there.grad.cpu(), here.grad, "float32", name)
    for value in (1.5, ek.tensor(-2.0)):
        here, there = x.clone(), x.to(cuda)
        here[key], there[key] = value, value
        assert_close(there.cpu(), here, "float32", name)
        assert isinstance(there.raw, FakeArray)


def test_indices_in_host_memory_are_looked_at_there_and_no_other_tensor_moves_unasked(cuda):
    x = ek.arange(3.0).to(cuda)
    with pytest.raises(IndexError, match="index 3 is out of bounds"):
        x[[0, 3]]
    for wrong in (lambda: x.index_select(0, ek.tensor([0])), lambda: x.cpu()[ek.tensor([0]).to(cuda)]):
        with pytest.raises(DeviceError, match="same device"):
            wrong()
