"""Headers: what a dataset says of itself without being read is what it is when it has been read."""

import numpy as np
import pytest

from expkit.data.header import headers_only
from expkit.errors import DataError
from expkit.registry import build
from tests.data.test_datasets import ALL, IDS, files  # noqa: F401  (a fixture)

SAID = ("derived", "class_names", "feature_names", "batch_size", "drop_last")


@pytest.mark.parametrize(("name", "arguments", "shape", "outputs", "task", "total"), ALL, ids=IDS)
def test_a_header_says_what_the_data_are(name, arguments, shape, outputs, task, total):
    entry = {"name": name, **arguments}
    with headers_only():
        known = build("data", entry)
    read = build("data", entry)
    assert {key: getattr(known, key) for key in SAID} == {key: getattr(read, key) for key in SAID}
    assert len(known.train_dataloader()) == len(read.train_dataloader())
    for mine, real in zip(known.train[0], read.train[0], strict=True):
        assert (mine.shape, mine.dtype) == (tuple(real.shape), real.dtype.dtype)


def test_samples_are_refused():
    with headers_only():
        known = build("data", {"name": "digits"})
    with pytest.raises(DataError, match="header"):
        next(iter(known.train_dataloader()))


def test_the_samples_of_an_archive_are_not_read(workdir, monkeypatch):
    np.savez(workdir / "classes.npz", x=np.zeros((40, 3, 8, 8), np.float32), y=np.arange(40) % 4)
    seen = []
    inner = np.lib.npyio.NpzFile.__getitem__
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda self, key: seen.append(key) or inner(self, key))
    with headers_only():
        known = build("data", {"name": "npz", "path": "classes.npz", "val_path": "classes.npz"})
    assert (known.input_shape, known.output_size, len(known.val), len(known.train)) == ((3, 8, 8), 4, 40, 32)
    assert set(seen) == {"y"}


def test_made_up_data_of_any_size_take_no_memory():
    with headers_only():
        known = build("data", {"name": "synthetic", "num_samples": 10**12, "shape": [3, 10**6]})
    assert known.input_shape == (3, 10**6)
