"""Kernels in tests compile into a cache of their own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def kernel_cache(tmp_path_factory):
    """One cache for all tests of this process, so that nothing from outside is read and nothing is left behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPKIT_KERNEL_CACHE", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture
def threads():
    """set_num_threads, undone after the test."""
    from expkit.kernels.cpu.machine import pool

    yield pool.set_num_threads
    pool.set_num_threads(pool.default_threads())
