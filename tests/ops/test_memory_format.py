"""In which order results lie in memory, where users rely on it: `view` wants it."""

import pytest

import expkit as ek


@pytest.mark.parametrize("size", [3, 130])  # NumPy, and a kernel
@pytest.mark.parametrize("join", [ek.cat, ek.stack])
def test_what_is_joined_lies_in_the_order_of_its_shape(join, size):
    x = ek.arange(size * 2 * size).reshape(size, 2, size).permute(2, 0, 1)
    joined = join([x, x])
    assert joined.is_contiguous()
    assert joined.view(-1).tolist() == join([x.contiguous(), x.contiguous()]).flatten().tolist()


@pytest.mark.parametrize("size", [3, 60])
def test_images_that_are_joined_stay_in_channels_last(size):
    x = ek.ones(2, 3, size, size).to(memory_format=ek.channels_last)
    assert ek.cat([x, x], 1).is_contiguous(memory_format=ek.channels_last)
    assert ek.cat([x, x.contiguous()], 1).is_contiguous()
