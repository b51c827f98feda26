"""Norms with elementwise programs inside: beside the norm and the program one after the other."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")
from expkit.kernels.cpu.loops.program import Program, Ref, Step
from expkit.tensor.generated import norm
from expkit.tensor.ops import norm_arrays
from tests.kernels.replayable import assert_replayable

TOLERANCE = {"f4": 2e-5, "f8": 1e-13}
FORMS = {  # name: shape, axes, at
    "batch": ((6, 20, 9, 7), (0, 2, 3), (1,)),
    "batch, many channels": ((5, 1100, 4, 2), (0, 2, 3), (1,)),
    "batch of rows": ((70, 30), (0,), (1,)),
    "group": ((4, 3, 10, 40), (2, 3), (1, 2)),
}


def relu(kind):
    return Program((kind,), (Step("relu", (Ref(0),)),), (1,))


def add_relu(kind):
    return Program((kind, kind), (Step("add", (Ref(0), Ref(1))), Step("relu", (Ref(2),))), (3,))


def masked(kind):
    """(g, normalised value) -> g where the value is positive"""
    return Program((kind, kind), (Step("positive", (Ref(1),)), Step("mul", (Ref(0), Ref(2)))), (3,))


def masked_by_result(kind):
    """(g, result, normalised value) -> g where the result is positive, twice: it is a gradient of its own"""
    return Program((kind,) * 3, (Step("positive", (Ref(1),)), Step("mul", (Ref(0), Ref(3)))), (4, 4))


@pytest.fixture(
    params=[(name, kind, nhwc) for name in FORMS for kind in ("f4", "f8") for nhwc in (False, True)], ids=str
)
def case(request):
    """(images x, r, g; weight, bias; the keywords)"""
    name, kind, nhwc = request.param
    (shape, axes, at), rng = FORMS[name], np.random.default_rng(0)

    def image():
        if not nhwc or len(shape) < 4:
            return rng.standard_normal(shape).astype(kind)
        order = (0, 2, 3, 1) if name.startswith("batch") else (0, 3, 1, 2)
        made = rng.standard_normal([shape[i] for i in order]).astype(kind)
        return made.transpose(np.argsort(order))

    images, affine = (
        [image() for _ in range(3)],
        [rng.standard_normal([shape[i] for i in at]).astype(kind) for _ in "wb"],
    )
    return kind, images, affine, {"axes": axes, "at": at, "eps": 1e-5}


def close(found, wanted, kind):
    assert found.shape == wanted.shape
    assert found.dtype == np.dtype(kind)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[kind] * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("residual", [False, True])
def test_relu_behind_a_norm(case, residual):
    kind, (x, r, _), affine, kw = case
    program, others = (add_relu(kind), [r]) if residual else (relu(kind), [])
    found = norm.normalize(x, *affine, program=program, others=others, **kw)
    value, mean, var = norm.normalize(x, *affine, **kw)
    assert found[0].strides == value.strides
    for a, b in zip(found, (np.maximum(value + r if residual else value, 0), mean, var), strict=True):
        np.testing.assert_array_equal(a, b)
    assert_replayable(
        lambda x, w, b, *others: norm.normalize(x, w, b, program=program, others=others, **kw),
        *(a.copy("K") for a in (x, *affine, *others)),
    )  # fmt: skip


@pytest.mark.parametrize("grads", [0, 1, 2])
@pytest.mark.parametrize("residual", [False, True])
def test_its_gradient(case, residual, grads):
    kind, (x, r, g), affine, kw = case
    affine = affine[:grads]
    kw["at"] = kw["at"] if grads else ()
    value, mean, var = norm.normalize(x, *affine, **kw)
    y = np.maximum(value + r if residual else value, 0)
    program, sources = (masked_by_result(kind), [g, y]) if residual else (masked(kind), [g])
    found = norm.normalize_grad_of(sources, mean, var, x, *affine, program=program, grads=grads, **kw)
    through = np.where(y > 0, g, 0)
    wide = (a.astype("f8") for a in (through, mean, var, x, *affine[:1]))
    wanted = norm_arrays.normalize_grad.__wrapped__(*wide, grads=grads, **kw)
    wanted = [*(wanted if grads else (wanted,)), *([through] if residual else [])]
    for a, b in zip(found, wanted, strict=True):
        close(a, b, kind)
    operands = [a.copy("K") for a in (*sources, mean, var, x, *affine)]

    def run(*operands):
        k = len(sources)
        return norm.normalize_grad_of(operands[:k], *operands[k:], program=program, grads=grads, **kw)

    assert_replayable(run, *operands)


def test_the_mask_found_again_is_that_of_the_result():
    """Bit for bit: also where a result is hardly positive."""
    rng = np.random.default_rng(0)
    for shape in ((64, 64, 8, 8), (64, 3, 9, 9)):
        image = rng.standard_normal(shape).astype("f4")
        for x in (image, image.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)):
            affine = [rng.standard_normal(shape[1]).astype("f4") for _ in "wb"]
            kw = {"axes": (0, 2, 3), "at": (1,), "eps": 1e-5}
            y, mean, var = norm.normalize(x, *affine, program=relu("f4"), **kw)
            program = masked("f4")._replace(outputs=(3, 2))
            *_, mask = norm.normalize_grad_of([x], mean, var, x, *affine, program=program, grads=2, **kw)
            np.testing.assert_array_equal(mask, y > 0)


def test_norms_of_rows_decline():
    x, stat, kw = np.ones((4, 5, 6), "f4"), np.ones((4, 5), "f4"), {"axes": (2,), "at": (), "eps": 1e-5}
    assert not norm.takes_programs(x.shape, (2,), ())
    assert norm.normalize(x, program=relu("f4"), **kw) is None
    assert norm.normalize_grad_of([x], stat, stat, x, program=masked("f4"), grads=0, **kw) is None
