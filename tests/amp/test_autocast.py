"""Autocast against PyTorch's: dtypes and values of every operation that PyTorch has test data for; contexts, caching,
gradients, transforms, custom Functions."""

import threading
import warnings

import numpy as np
import pytest

import expkit as ek
import expkit.nn.functional as F
from expkit.amp.settings import is_autocast_enabled
from expkit.autograd.mode import MODE
from expkit.errors import DeviceError
from expkit.tensor.precision import STATE, TABLE


def weights():
    return ek.randn(4, 3, requires_grad=True), ek.randn(2, 4)


# ---------------------------------------------------------------------- against PyTorch

torch = pytest.importorskip("torch")
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

# Random results, and what PyTorch casts inside of a composite that is one operation here.
OTHERS = {"corrcoef", "cov", "svd_lowrank", "pca_lowrank", "linalg.pinv", "nn.functional.linear_cross_entropy",
          "matrix_exp", "nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool3d"}  # fmt: skip
OPS = {op.name: op for op in reversed(op_db) if torch.float32 in op.dtypes}


def ours_of(name):
    """expkit's function of that name, or None."""
    found = ek
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if callable(found) else None


LISTED = [name for name in OPS if name.split(".")[-1] in TABLE or name in TABLE or name == "nn.functional.pad"]
UNLISTED = ["add", "mul", "softmax", "exp", "sum", "mean", "nn.functional.layer_norm", "nn.functional.gelu",
            "pow", "cumsum", "var", "nn.functional.max_pool2d", "outer", "mv"]  # fmt: skip


def here(value, dtype):
    """PyTorch's sample values as ours, floating-point tensors in `dtype`."""
    if isinstance(value, torch.Tensor):
        made = ek.tensor(value.detach().double().numpy() if value.is_floating_point() else value.detach().numpy())
        made = made.to(dtype) if value.is_floating_point() else made
        return made.reshape(value.shape)
    if isinstance(value, list | tuple):
        return type(value)(here(x, dtype) for x in value)
    return getattr(ek, str(value).removeprefix("torch.")) if isinstance(value, torch.dtype) else value


def fits(name, sample):
    """Whether a sample is for this test: not random, not without elements, not the odd shapes of margin losses."""
    least = 2 if "margin_loss" in name else 1
    x = sample.input
    whole = not isinstance(x, torch.Tensor) or (x.ndim >= least and x.numel() > 0)
    return whole and not sample.kwargs.get("dropout_p")


def there(value, dtype):
    if isinstance(value, torch.Tensor):
        return value.detach().to(dtype) if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(there(x, dtype) for x in value)
    return value


def flat(result):
    if isinstance(result, ek.Tensor | torch.Tensor):
        return [result]
    return [x for part in result for x in flat(part)] if isinstance(result, list | tuple) else []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [n for n in (*LISTED, *UNLISTED) if ours_of(n) is not None and n not in OTHERS])
def test_dtypes_and_values_are_pytorchs(name, dtype):
    fn = ours_of(name)
    samples = [s for s in OPS[name].sample_inputs("cpu", torch.float32) if fits(name, s)][:3]
    for sample in samples:
        args = [sample.input, *sample.args]
        with warnings.catch_warnings(), torch.autocast("cpu", dtype=torch.bfloat16):
            warnings.simplefilter("ignore")
            d = getattr(torch, dtype)
            try:
                want = OPS[name].op(*there(args, d), **{k: there(v, d) for k, v in sample.kwargs.items()})
            except (RuntimeError, ValueError, TypeError):
                continue  # PyTorch has no such operation in this dtype
        d = getattr(ek, dtype)
        with ek.autocast("cpu", dtype=ek.bfloat16):
            mine = (args[1], *here(args[0], d)) if name == "einsum" else here(args, d)
            got = fn(*mine, **{k: here(v, d) for k, v in sample.kwargs.items()})
        got, want = flat(got), flat(want)
        assert [str(x.dtype).split(".")[-1] for x in got] == [str(x.dtype).split(".")[-1] for x in want]
        for a, b in zip(got, want, strict=True):
            if a.dtype.is_floating_point and "svd" not in name and "qr" not in name and "eig" not in name:
                x, y = a.double().numpy(), b.detach().double().numpy()
                np.testing.assert_allclose(x, y, rtol=4e-2, atol=4e-2 * (np.abs(y).max(initial=0) + 1))


def test_a_recurrent_layer_and_a_model_give_pytorchs_dtypes():
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.GELU(), torch.nn.Linear(4, 2))
    ours = ek.nn.Sequential(ek.nn.Linear(3, 4), ek.nn.LayerNorm(4), ek.nn.GELU(), ek.nn.Linear(4, 2))
    ours.load_state_dict({name: ek.from_numpy(value.numpy()) for name, value in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with torch.autocast("cpu"):
        want = theirs(torch.tensor(x))
        loss = torch.nn.functional.cross_entropy(want, torch.tensor([0, 1, 1, 0, 1]))
    with ek.autocast("cpu"):
        got = ours(ek.tensor(x))
        mine = F.cross_entropy(got, ek.tensor([0, 1, 1, 0, 1]))
    assert (got.dtype, mine.dtype) == (ek.bfloat16, ek.float32)
    assert abs(mine.item() - loss.item()) < 2e-2
    loss.backward()
    mine.backward()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert a.grad.dtype is ek.float32
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=2e-2)


# ---------------------------------------------------------------------- contexts


def test_contexts_nest_and_leave_everything_as_it_was():
    w, x = weights()
    assert MODE.autocast is None
    with ek.autocast("cpu"):
        assert is_autocast_enabled("cpu")
        assert (x @ w).dtype is ek.bfloat16
        with ek.autocast("cpu", enabled=False):
            assert (x @ w).dtype is ek.float32
        with ek.autocast("cpu", dtype=ek.float16):
            assert ek.get_autocast_dtype("cpu") is ek.float16
            assert ek.mm(x, w).dtype is ek.float16
        assert x.matmul(w).dtype is ek.bfloat16
    assert MODE.autocast is None
    assert (x @ w).dtype is ek.float32
    assert not STATE.cache


def test_it_is_a_decorator_and_may_be_entered_again():
    @ek.autocast("cpu")
    def f(x, depth):
        return f(x, depth - 1) if depth else x @ x

    assert f(ek.ones(2, 2), 2).dtype is ek.bfloat16
    assert MODE.autocast is None


def test_an_error_inside_ends_it():
    with pytest.raises(ZeroDivisionError), ek.autocast("cpu"):
        raise ZeroDivisionError
    assert MODE.autocast is None


def test_other_threads_are_not_concerned():
    seen = []
    with ek.autocast("cpu"):
        thread = threading.Thread(target=lambda: seen.append((ek.ones(2, 2) @ ek.ones(2, 2)).dtype))
        thread.start()
        thread.join()
    assert seen == [ek.float32]


def test_settings_without_a_context():
    ek.set_autocast_enabled("cpu", True)
    try:
        assert (ek.ones(2, 2) @ ek.ones(2, 2)).dtype is ek.bfloat16
    finally:
        ek.set_autocast_enabled("cpu", False)
    assert not ek.is_autocast_enabled("cpu")


def test_what_it_leaves_alone():
    with ek.autocast("cpu"):
        wide, whole = ek.ones(2, 2, dtype=ek.float64), ek.ones(2, 2, dtype=ek.int64)
        assert (wide @ wide).dtype is ek.float64
        assert (whole @ whole).dtype is ek.int64
        into = ek.zeros(2, 2)
        ek.mm(ek.ones(2, 2), ek.ones(2, 2), out=into)  # out= and in-place forms are not cast, as in PyTorch
        assert into.dtype is ek.float32
        assert into.addmm_(ek.ones(2, 2), ek.ones(2, 2)).dtype is ek.float32


def test_a_gpu_that_is_not_there_is_warned_of():
    if ek.cuda.is_available():
        pytest.skip("there is one")
    with pytest.warns(UserWarning, match="no usable GPU"), ek.autocast("cuda"):
        assert (ek.ones(2, 2) @ ek.ones(2, 2)).dtype is ek.float32


def test_what_cannot_be():
    with pytest.raises(DeviceError, match="Did you mean 'cuda'"):
        ek.autocast("cudda")
    with pytest.raises(TypeError, match="device_type"):
        ek.autocast(3)
    with pytest.warns(UserWarning, match="not expkit.float32"), ek.autocast("cpu", dtype=ek.float32):
        assert (ek.ones(2, 2) @ ek.ones(2, 2)).dtype is ek.float32


# ---------------------------------------------------------------------- caching, gradients, transforms


def test_a_weights_cast_is_kept_for_the_outermost_context():
    w, x = weights()
    with ek.autocast("cpu"):
        x @ w
        kept = STATE.cache[id(w)][-1]
        x @ w
        assert STATE.cache[id(w)][-1] is kept
        with ek.no_grad():
            w.mul_(2)
        np.testing.assert_allclose((x @ w).float().detach().numpy(), x.numpy() @ w.detach().numpy(), atol=0.1)
        assert STATE.cache[id(w)][-1] is not kept
    with ek.autocast("cpu", cache_enabled=False):
        x @ w
        assert not STATE.cache


def test_a_kept_cast_serves_several_backward_passes():
    w, x = weights()
    with ek.autocast("cpu"):
        with ek.no_grad():
            x @ w
        first, second = (x @ w).sum(), (x @ w).sum()
    first.backward()
    once = w.grad.clone()
    second.backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * once.numpy())


def test_gradients_transforms_and_second_order():
    w, x = weights()

    @ek.autocast("cpu")
    def loss(w):
        return F.mse_loss(x @ w, ek.ones(2, 3))

    g = ek.func.grad(loss)(w.detach())
    assert g.dtype is ek.float32
    loss(w).backward()
    np.testing.assert_allclose(g.numpy(), w.grad.numpy(), atol=1e-2)
    value, tangent = ek.func.jvp(loss, (w.detach(),), (ek.ones(4, 3),))
    assert value.dtype is tangent.dtype is ek.float32
    np.testing.assert_allclose(tangent.item(), g.sum().item(), rtol=5e-2)
    (first,) = ek.autograd.grad(loss(w), w, create_graph=True)
    assert ek.autograd.grad((first * first).sum(), w)[0].isfinite().all()
    with ek.autocast("cpu"):
        assert ek.vmap(lambda v: v @ w)(x).dtype is ek.bfloat16


@pytest.mark.parametrize("cast", [None, ek.float32])
def test_custom_functions_run_both_ways_in_one_precision(cast):
    seen = []

    class Product(ek.autograd.Function):
        @staticmethod
        @ek.amp.custom_fwd(device_type="cpu", cast_inputs=cast)
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            out = a.mm(b)
            seen.append(out.dtype)
            return out

        @staticmethod
        @ek.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            seen.append(is_autocast_enabled("cpu"))
            return g.to(b.dtype).mm(b.t()), a.t().mm(g.to(a.dtype))

    a = ek.randn(2, 2, dtype=ek.bfloat16 if cast else ek.float32, requires_grad=True)
    with ek.autocast("cpu"):
        out = Product.apply(a, a)
    out.sum().backward()
    assert seen == ([ek.float32, False] if cast else [ek.bfloat16, True])
    assert a.grad.dtype is a.dtype


def test_what_a_checkpoint_computes_again_is_cast_alike():
    w, x = weights()
    seen = []

    def product(w):
        out = x @ w
        seen.append(out.dtype)
        return out.float().square()

    with ek.autocast("cpu"):
        out = ek.utils.checkpoint.checkpoint(product, w, use_reentrant=False).sum()
    out.backward()
    assert seen == [ek.bfloat16, ek.bfloat16]
    again = w.grad.clone()
    w.grad = None
    with ek.autocast("cpu"):
        plain = (x @ w).float().square().sum()
    plain.backward()
    assert (again == w.grad).all()
