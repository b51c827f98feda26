"""Train, validation and test: which sample goes where."""

from typing import NamedTuple

import numpy as np

from expkit.data.order import permutation
from expkit.errors import ConfigError


class Split(NamedTuple):
    """Sample numbers of the three parts: disjoint, ascending, int64."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def require_shares(val_fraction: float, test_fraction: float) -> None:
    """ConfigError for shares that cannot be, or leave nothing to train on."""
    for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise ConfigError(f"{name}={fraction} cannot be: it is a share of all samples, from 0 to below 1.")
    if val_fraction + test_fraction >= 1:
        raise ConfigError(f"val_fraction={val_fraction} and test_fraction={test_fraction} leave no training samples.")


def split(n: int, val_fraction: float, test_fraction: float, seed: int, classes: np.ndarray | None = None) -> Split:
    """A split of n samples that hangs on `seed` only, stratified by `classes` (n,) where given.

    Stratified: each class has its share of each part to within one sample, and at least one sample in training.
    ConfigError when the fractions leave nothing to train on.
    """
    require_shares(val_fraction, test_fraction)
    order = permutation(n, seed)
    kinds = np.zeros(n, dtype=np.int64) if classes is None else np.asarray(classes)
    _, kind_of, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    room = counts - 1
    take_test = np.minimum(_shares(counts, round(n * test_fraction)), room)
    take_val = np.minimum(_shares(counts, round(n * val_fraction)), room - take_test)
    parts: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    for kind, (first, second) in enumerate(zip(take_test, take_test + take_val, strict=True)):
        members = order[kind_of[order] == kind]
        for name, chosen in zip(("test", "val", "train"), np.split(members, [first, second]), strict=True):
            parts[name].append(chosen)
    return Split(*(np.sort(np.concatenate(parts[name])) if n else order for name in Split._fields))


def _shares(counts: np.ndarray, total: int) -> np.ndarray:
    """`total` shared out in proportion to `counts`: whole numbers, by the largest remainders."""
    exact = counts * (total / max(counts.sum(), 1))
    whole = np.floor(exact).astype(np.int64)
    left = total - whole.sum()
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return whole
