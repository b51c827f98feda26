"""Metrics: scikit-learn's formulas, exact over any split into batches."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from sklearn import metrics as sk

from expkit.errors import ShapeError
from expkit.registry import build, lookup, names
from expkit.tensor import from_numpy, tensor
from expkit.trainer.metrics import TASK_METRICS, MeanMetric

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(57, 5)).astype(np.float32)
CLASSES = RNG.integers(0, 4, 57)  # class 4 is predicted and never true
VALUES = RNG.normal(1e4, 1.0, size=57).astype(np.float32)  # far from zero: sums of squares would lose everything
NEAR = (VALUES + RNG.normal(0, 0.5, 57)).astype(np.float32)
TWO = np.stack([VALUES, SCORES[:, 0]], 1)
LOGIT = SCORES[:, 0]


class Row(NamedTuple):
    name: str
    preds: np.ndarray
    target: np.ndarray
    expected: Callable[[np.ndarray, np.ndarray], float]
    tolerance: float = 1e-12


def macro_f1(target: np.ndarray, guess: np.ndarray) -> float:
    return sk.f1_score(target, guess, average="macro", zero_division=0)


def f64(function: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda p, t: function(t.astype(np.float64), p.astype(np.float64))


ROWS = {
    "acc of scores": Row("acc", SCORES, CLASSES, lambda p, t: sk.accuracy_score(t, p.argmax(1))),
    "acc of classes": Row("acc", SCORES.argmax(1), CLASSES, lambda p, t: sk.accuracy_score(t, p)),
    "acc of one logit": Row("acc", LOGIT[:, None], CLASSES % 2, lambda p, t: sk.accuracy_score(t, p[:, 0] > 0)),
    "acc of flat logits": Row("acc", LOGIT, CLASSES % 2, lambda p, t: sk.accuracy_score(t, p > 0)),
    "acc of pixels": Row(
        "acc", np.stack([SCORES, -SCORES], 1), (SCORES > 0).astype(np.int64),
        lambda p, t: float(((p[:, 0] < p[:, 1]) == t).mean())),
    "f1 of scores": Row("f1", SCORES, CLASSES, lambda p, t: macro_f1(t, p.argmax(1))),
    "f1 of one logit": Row("f1", LOGIT[:, None], CLASSES % 2, lambda p, t: macro_f1(t, p[:, 0] > 0)),
    "mae": Row("mae", NEAR, VALUES, f64(sk.mean_absolute_error)),
    "mae of columns": Row("mae", TWO, TWO[::-1].copy(), f64(sk.mean_absolute_error)),
    "mae of (N, 1)": Row("mae", NEAR[:, None], VALUES, lambda p, t: f64(sk.mean_absolute_error)(p[:, 0], t)),
    "r2": Row("r2", NEAR, VALUES, f64(sk.r2_score), 1e-9),
    "r2 of columns": Row("r2", TWO + SCORES[:, :2], TWO, f64(sk.r2_score), 1e-9),
    "r2 of a constant": Row("r2", LOGIT, np.ones(57, np.float32), f64(sk.r2_score)),
    "r2 of a constant hit exactly": Row("r2", np.ones(57, np.float32), np.ones(57, np.float32), f64(sk.r2_score)),
    "mean": Row("mean", VALUES, np.ones(57), lambda p, t: float(p.astype(np.float64).mean())),
    "mean with weights": Row(
        "mean", VALUES, SCORES[:, 0] ** 2, lambda p, t: np.average(p.astype(np.float64), weights=t)),
}  # fmt: skip

SPLITS = {"whole": [57], "ones": [1] * 57, "uneven": [1, 30, 7, 19], "last small": [28, 28, 1]}


@pytest.mark.parametrize("sizes", SPLITS.values(), ids=SPLITS.keys())
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_equals_the_formula_over_any_split(row, sizes):
    metric = build("metric", {"name": row.name})
    for part in np.split(np.arange(57), np.cumsum(sizes)[:-1]):
        metric.update(from_numpy(row.preds[part]), from_numpy(row.target[part]))
    assert metric.compute() == pytest.approx(row.expected(row.preds, row.target), rel=row.tolerance, abs=row.tolerance)


def test_every_registered_metric_has_a_row():
    assert set(names("metric")) == {row.name for row in ROWS.values()}
    assert {name for chosen in TASK_METRICS.values() for name in chosen} <= set(names("metric"))


@pytest.mark.parametrize("name", sorted({row.name for row in ROWS.values()}))
def test_state_goes_on_and_reset_forgets(name):
    row = next(row for row in ROWS.values() if row.name == name)
    make = lookup("metric", name)
    whole, first = make(), make()
    whole.update(row.preds, row.target)
    first.update(row.preds[:20], row.target[:20])
    again = make()
    again.load_state_dict(first.state_dict())
    again.update(row.preds[20:], row.target[20:])
    assert again.compute() == pytest.approx(whole.compute(), rel=1e-9)
    again.load_state_dict(make().state_dict())
    assert math.isnan(again.compute())
    whole.reset()
    assert math.isnan(whole.compute())


def test_calling_gives_the_value_of_the_batch():
    metric = build("metric", {"name": "acc"})
    assert metric(tensor([[1.0, 0.0]]), tensor([0])) == 1.0
    assert metric(tensor([[1.0, 0.0]]), tensor([1])) == 0.0
    assert metric.compute() == 0.5


def test_a_weight_of_zero_leaves_out_an_infinite_value():
    metric = MeanMetric()
    metric.update(float("inf"), 0.0)
    metric.update(2.0, 3.0)
    assert metric.compute() == 2.0


@pytest.mark.parametrize(
    ("name", "preds", "target", "said"),
    [
        ("acc", (4, 3), (5,), "do not fit targets"),
        ("mae", (4,), (5,), "mae: predictions of shape (4,)"),
        ("r2", (4, 2), (4,), "r2: predictions of shape (4, 2)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, preds, target, said):
    with pytest.raises(ShapeError) as caught:
        build("metric", {"name": name}).update(np.zeros(preds, np.float32), np.zeros(target, np.int64))
    assert said in str(caught.value)


def test_f1_refuses_negative_classes():
    with pytest.raises(ShapeError, match="counted from 0"):
        build("metric", {"name": "f1"}).update(np.array([0, 1]), np.array([-1, 1]))
