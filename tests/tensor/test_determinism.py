"""use_deterministic_algorithms, and random numbers forked."""

import pytest

import expkit as ek
from expkit.tensor import determinism


@pytest.fixture(autouse=True)
def _off_again():
    yield
    ek.use_deterministic_algorithms(False)


def test_the_switch():
    assert not ek.are_deterministic_algorithms_enabled()
    determinism.alert("scatter_add")
    ek.use_deterministic_algorithms(True)
    assert ek.are_deterministic_algorithms_enabled()
    assert not ek.is_deterministic_algorithms_warn_only_enabled()
    with pytest.raises(RuntimeError, match="scatter_add on a GPU is not deterministic"):
        determinism.alert("scatter_add")
    ek.use_deterministic_algorithms(True, warn_only=True)
    assert ek.is_deterministic_algorithms_warn_only_enabled()
    with pytest.warns(UserWarning, match="scatter_add"):
        determinism.alert("scatter_add")
    with pytest.raises(TypeError):
        ek.use_deterministic_algorithms("yes")


def test_the_cpu_goes_on():
    ek.use_deterministic_algorithms(True)
    assert ek.zeros(2).scatter_add(0, ek.tensor([0, 0, 1]), ek.ones(3)).tolist() == [2.0, 1.0]


def test_forked_random_numbers():
    ek.manual_seed(3)
    first = ek.rand(3)
    ek.manual_seed(3)
    with ek.random.fork_rng():
        assert (ek.rand(3) == first).all()
    assert (ek.rand(3) == first).all()
    ek.manual_seed(3)
    with ek.random.fork_rng(enabled=False):
        ek.rand(3)
    assert not (ek.rand(3) == first).all()
    with ek.random.fork_rng():
        ek.random.manual_seed(5)
    assert ek.random.initial_seed() == 3
    assert ek.random.seed() == ek.random.initial_seed()
