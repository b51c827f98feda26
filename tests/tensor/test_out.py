"""out=: results in tensors that the caller brings."""

import pytest

import expkit as ek
from expkit.errors import AutogradError, ShapeError
from expkit.tensor.out import TAKING


def x() -> ek.Tensor:
    return ek.arange(6, dtype=ek.float32).reshape(2, 3)


def test_the_result_is_in_out_which_is_returned():
    out = ek.empty(2)
    assert ek.sum(x(), 1, out=out) is out
    assert out.tolist() == [3, 12]


def test_it_is_converted_and_views_are_written_through():
    out = ek.zeros(3, 2, dtype=ek.float64)
    ek.exp(x() * 0, out=out.T)
    assert out.tolist() == [[1, 1]] * 3


def test_several_results_keep_their_names():
    values, indices = ek.empty(2), ek.empty(2, dtype=ek.int64)
    got = ek.max(x(), 1, out=(values, indices))
    assert got.values is values
    assert got.indices is indices
    assert (values.tolist(), indices.tolist()) == ([2, 5], [2, 2])


def test_an_empty_tensor_takes_the_shape_and_another_one_with_a_warning():
    assert ek.exp(x(), out=ek.empty(0)).shape == (2, 3)
    with pytest.warns(UserWarning, match="takes the result's shape"):
        assert ek.exp(x(), out=ek.empty(5)).shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ek.exp(x(), out=ek.zeros(2, 3, dtype=ek.int64)), TypeError, "can't be cast"),
        (lambda: ek.exp(x(), out=3), TypeError, "must be a Tensor, not int"),
        (lambda: ek.max(x(), 1, out=ek.empty(2)), TypeError, "a tuple of 2 Tensors"),
        (lambda: ek.exp(x().requires_grad_(), out=ek.empty(2, 3)), AutogradError, "no gradient"),
        (lambda: ek.exp(x(), out=ek.empty(4)[:2]), ShapeError, "is a view"),
        (lambda: ek.argmax(x(), fill=2), TypeError, "unexpected keyword"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_pytorch_has_it_for_each_name(torch):
    assert {name for name in TAKING if not hasattr(torch, name)} == set()
