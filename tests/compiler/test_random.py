"""Random numbers in compiled functions: drawn anew at each call, from the generator as it is then."""

import numpy as np
import pytest

import expkit as ek
from expkit import nn
from expkit.errors import TraceError
from expkit.utils.checkpoint import checkpoint


def draws(f, calls=4):
    ek.manual_seed(0)
    return [f().tolist() for _ in range(calls)], ek.get_rng_state()


def test_calls_draw_what_eager_ones_draw():
    def f():
        return ek.rand(3) + ek.nn.functional.dropout(ek.ones(3), 0.5)

    assert draws(f) == draws(ek.compile(f, fullgraph=True))


def test_a_generator_of_the_functions_own_begins_anew():
    def f():
        return ek.rand(5, generator=ek.Generator().manual_seed(3))

    assert draws(f) == draws(ek.compile(f, fullgraph=True))


def test_seeding_belongs_outside():
    def f():
        ek.manual_seed(1)
        return ek.rand(3)

    compiled = ek.compile(f, fullgraph=True)
    compiled()
    with pytest.raises(TraceError, match="manual_seed"):
        compiled()
    with pytest.warns(UserWarning, match="manual_seed"):
        assert draws(ek.compile(f)) == draws(f)


def test_what_is_computed_again_draws_the_same():
    ek.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), ek.randn(4, 8)

    def f():
        model.zero_grad()
        loss = (checkpoint(model, x, use_reentrant=False) ** 2).sum() + checkpoint(model, x, use_reentrant=False).sum()
        loss.backward()
        return model[0].weight.grad + loss

    (eager, state), (compiled, after) = draws(f), draws(ek.compile(f, fullgraph=True))
    np.testing.assert_allclose(compiled, eager, rtol=1e-4)
    assert after == state
