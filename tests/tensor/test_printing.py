"""repr(tensor): letter for letter as PyTorch's, but for the names of nodes."""

import re

import pytest

import expkit as ek
from tests.tensor.table_printing import SHOWN


def normal(text):
    """Without the library's name and the names of nodes."""
    return re.sub(r"grad_fn=<\w+>", "grad_fn=<>", text).replace("expkit.", "torch.")


@pytest.mark.torch
@pytest.mark.parametrize("name", SHOWN)
def test_as_pytorch_prints(name, torch):
    assert normal(repr(SHOWN[name](ek))) == normal(repr(SHOWN[name](torch)))


@pytest.mark.torch
@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"threshold": 5},
        {"edgeitems": 1, "threshold": 3},
        {"linewidth": 30},
        {"sci_mode": True},
        {"sci_mode": False},
        {"profile": "short"},
    ],
    ids=str,
)
def test_options(options, torch):
    try:
        for m in (ek, torch):
            m.set_printoptions(**options)
        for make in (
            lambda m: m.arange(12).reshape(3, 4) * 1.25,
            lambda m: m.tensor([1e-6, 1.0]),
            lambda m: m.arange(8),
        ):
            assert normal(repr(make(ek))) == normal(repr(make(torch)))
    finally:
        for m in (ek, torch):
            m.set_printoptions(profile="default")
            m.set_printoptions(sci_mode=None)


def test_what_is_printed_without_pytorch():
    assert repr(ek.tensor([[1.0, 2.5], [3.0, 4.0]])) == "tensor([[1.0000, 2.5000],\n        [3.0000, 4.0000]])"
    assert repr(ek.ones(2, dtype=ek.float64)) == "tensor([1., 1.], dtype=expkit.float64)"
    assert str(ek.tensor([1, 2])) == "tensor([1, 2])"
    assert f"{ek.tensor(1.23456):.2f}" == "1.23"
    assert f"{ek.tensor([1, 2])}" == "tensor([1, 2])"


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="unknown option 'digits'; there are precision"):
        ek.set_printoptions(digits=3)
    with pytest.raises(ValueError, match="unknown profile"):
        ek.set_printoptions(profile="long")


def test_inside_a_transform_shape_and_dtype_are_shown():
    seen = []
    ek.vmap(lambda v: seen.append(repr(v)) or v)(ek.ones(3, 2))
    assert "shape=[2]" in seen[0]
    assert "float32" in seen[0]
