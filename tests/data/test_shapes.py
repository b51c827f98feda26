"""data=shapes: the figures are where and what the classes say, and the same each time."""

import numpy as np
import pytest

from expkit.data.header import headers_only
from expkit.errors import ConfigError
from expkit.registry import build


def make(**arguments):
    return build("data", {"name": "shapes", "num_samples": 60, **arguments})


def arrays(module, part="train"):
    return [tensor.numpy() for tensor in getattr(module, part).tensors]


def test_what_it_is():
    module = make(size=20)
    x, y = arrays(module)
    assert (module.task, module.input_shape, module.output_size, module.num_classes) == (
        "segmentation", (1, 20, 20), 4, 4)  # fmt: skip
    assert module.class_names == ["background", "circle", "square", "triangle"]
    assert x.shape == (42, 1, 20, 20)
    assert y.shape == (42, 20, 20)
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert set(np.unique(y)) == {0, 1, 2, 3}
    assert (len(module.val), len(module.test)) == (6, 12)
    with headers_only():
        header = make(size=20)
    assert {**header.derived, "class_names": None} == {**module.derived, "class_names": None}
    assert header.train[0][1].shape == (20, 20)


def test_figures_are_brighter_than_the_ground():
    x, y = arrays(make(noise=0.0, normalize=False))
    assert (x[:, 0][y == 0] == 0).all()
    assert x[:, 0][y > 0].min() >= 0.5
    assert x.max() <= 1.0


@pytest.mark.parametrize(("figure", "low", "high"), [("circle", 0.7, 0.86), ("square", 1, 1), ("triangle", 0.45, 0.62)])
def test_figures_have_their_shape(figure, low, high):
    """The share of the smallest box around a figure that it fills: π/4, 1 and 1/2."""
    _, y = arrays(make(figures=[figure], max_figures=1, size=64))
    for mask in y:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if rows[0] == 0 or columns[0] == 0 or rows[-1] == 63 or columns[-1] == 63:
            continue  # cut off by the edge
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert low <= box.mean() <= high


def test_the_same_each_time_and_another_with_another_seed():
    first, again, other = (arrays(make(seed=seed)) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[1] != other[1]).any()


REFUSED = {
    "figure": ({"figures": ["circel"]}, "Did you mean 'circle'"),
    "no figure": ({"figures": []}, "figures is empty"),
    "size": ({"size": 4}, "size=4: at least 8"),
    "noise": ({"noise": -1.0}, "noise=-1.0"),
    "max_figures": ({"max_figures": 0}, "max_figures=0"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_wrong_arguments_are_refused(arguments, said):
    with pytest.raises(ConfigError, match=said):
        make(**arguments)
