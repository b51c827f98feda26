"""What autocast does with tensors of a GPU: PyTorch's list for CUDA, on the stand-in for one."""

import sys

import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit.autograd import handle
from expkit.tensor import devices
from tests import fake_device


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_device.MODULE)
    devices.join_library(fake_device.MODULE)
    yield
    devices.ARRAY_LIBRARIES.pop(fake_device.FakeArray, None)
    handle.install(raw_types=frozenset(devices.ARRAY_LIBRARIES))


def there(*shape, dtype=ek.float32):
    return ek.ones(*shape, dtype=dtype).to("cuda")


LOWER = [
    lambda: there(2, 2) @ there(2, 2),
    lambda: ek.mm(there(2, 2), there(2, 2)),
    lambda: F.linear(there(2, 3), there(4, 3), there(4)),
    lambda: ek.mv(there(2, 2), there(2)),
    lambda: ek.einsum("ij,jk->ik", there(2, 2), there(2, 2)),
]
WIDE = [
    lambda: there(2, dtype=ek.float16).exp(),
    lambda: ek.log(there(2, dtype=ek.float16)),
    lambda: there(2, dtype=ek.float16).sum(),
    lambda: there(2, dtype=ek.float16) ** 2,
    lambda: 1 / there(2, dtype=ek.float16),
    lambda: there(2, 2, dtype=ek.float16).softmax(1),
    lambda: F.mse_loss(there(2, dtype=ek.float16), there(2, dtype=ek.float16)),
    lambda: F.layer_norm(there(2, 2, dtype=ek.float16), (2,)),
    lambda: ek.cat([there(2, dtype=ek.float16), there(2)]),
    lambda: ek.dot(there(2, dtype=ek.float16), there(2)),
]
SAME = [
    lambda: F.gelu(there(2, dtype=ek.float16)),
    lambda: ek.tanh(there(2, dtype=ek.float16)),
    lambda: there(2, dtype=ek.float16) * 2,
    lambda: ek.cat([there(2, dtype=ek.float16), there(2, dtype=ek.float16)]),
    lambda: ek.sum(there(2, dtype=ek.float16), dtype=ek.float16),
]


@pytest.mark.parametrize(
    ("fn", "dtype"),
    [*((fn, ek.float16) for fn in LOWER), *((fn, ek.float32) for fn in WIDE), *((fn, ek.float16) for fn in SAME)],
)
def test_results(fn, dtype):
    with ek.autocast("cuda"):
        assert fn().dtype is dtype


def test_the_other_devices_tensors_are_left_alone():
    with ek.autocast("cuda"):
        assert (ek.ones(2, 2) @ ek.ones(2, 2)).dtype is ek.float32
    with ek.autocast("cpu"):
        assert (there(2, 2) @ there(2, 2)).dtype is ek.float32


def test_a_loss_that_is_unsafe_is_refused():
    with ek.autocast("cuda"), pytest.raises(RuntimeError, match="binary_cross_entropy_with_logits"):
        F.binary_cross_entropy(there(2, dtype=ek.float16), there(2, dtype=ek.float16))


def test_loss_scaling_on_the_device():
    w = there(2).requires_grad_()
    optimizer = ek.optim.SGD([w], lr=0.5)
    scaler = ek.amp.GradScaler("cuda", init_scale=4.0)
    scaler.scale((w * w).sum()).backward()
    assert w.grad.cpu().tolist() == [8, 8]
    scaler.step(optimizer)
    scaler.update()
    assert w.detach().cpu().tolist() == [0, 0]
    assert scaler.get_scale() == 4.0
