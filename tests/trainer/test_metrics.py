"""Metrics: scikit-learn's formulas, exact over any split into batches."""

import math

import numpy as np
import pytest

from expkit.errors import ConfigError, ShapeError
from expkit.registry import build, lookup, names
from expkit.tensor import from_numpy, tensor
from expkit.trainer.callbacks import EarlyStopping, ModelCheckpoint
from expkit.trainer.metrics import AUROC, F1, TASK_METRICS, ConfusionMatrix, MeanMetric, direction, make_metrics
from tests.trainer.table_metrics import COUNT, LABEL, LOGIT, ROWS, SCORES

SPLITS = {"whole": [57], "ones": [1] * 57, "uneven": [1, 30, 7, 19], "last small": [28, 28, 1], "empty": [20, 0, 37]}


def streamed(metric, row, sizes):
    for part in np.split(np.arange(COUNT), np.cumsum(sizes)[:-1]):
        metric.update(from_numpy(row.preds[part]), from_numpy(row.target[part]))
    return metric


@pytest.mark.parametrize("sizes", SPLITS.values(), ids=SPLITS.keys())
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:RuntimeWarning")  # scikit-learn's, of the oracle
def test_equals_the_formula_over_any_split(row, sizes):
    value = streamed(build("metric", {"name": row.name, **row.args}), row, sizes).compute()
    expected = row.expected(row.preds, row.target)
    np.testing.assert_allclose(value, expected, rtol=row.tolerance, atol=row.tolerance)


def test_every_registered_metric_has_a_row():
    assert set(names("metric")) == {row.name for row in ROWS.values()}
    assert {name for chosen in TASK_METRICS.values() for name in chosen} <= set(names("metric"))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_state_goes_on_and_reset_forgets(row):
    def make():
        return lookup("metric", row.name)(**row.args)

    whole, first = streamed(make(), row, [20, 37]), make()
    first.update(row.preds[:20], row.target[:20])
    again = make()
    again.load_state_dict(first.state_dict())
    again.update(row.preds[20:], row.target[20:])
    np.testing.assert_array_equal(again.compute(), whole.compute())
    again.load_state_dict(make().state_dict())
    assert math.isnan(again.compute())
    whole.reset()
    assert math.isnan(whole.compute())
    assert all(array.dtype in (np.float64, np.int64) for array in first.state_dict()["total"].values())


SCORED = sorted({row.name for row in ROWS.values()} - {"mean", "mae", "mse", "rmse", "mape", "r2"})


@pytest.mark.parametrize(
    ("name", "scores"), [*((name, SCORES) for name in SCORED), *((name, LOGIT) for name in SCORED if name != "top_k")]
)
def test_nan_among_the_scores_makes_the_value_nan(name, scores):
    spoiled = scores.copy()
    spoiled[3] = np.nan
    metric = build("metric", {"name": name})
    for part in (slice(0, 30), slice(30, COUNT)):
        metric.update(spoiled[part], LABEL[part])
    assert np.isnan(metric.compute()).all()


@pytest.mark.parametrize("name", ["mae", "mse", "rmse", "mape", "r2"])
def test_nan_among_numbers_makes_the_value_nan(name):
    metric = build("metric", {"name": name})
    metric.update(np.array([1.0, np.nan]), np.array([1.0, 1.0]))
    assert math.isnan(metric.compute())


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_what_is_kept_shares_no_memory_with_the_batch(row):
    """A program writes the next batch where this one was."""
    metric, again = (build("metric", {"name": row.name, **row.args}) for _ in range(2))
    preds, target = row.preds.copy(), row.target.copy()
    metric.update(preds, target)
    again.update(row.preds, row.target)
    preds[:], target[:] = 0, 1
    np.testing.assert_array_equal(metric.compute(), again.compute())


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


def test_one_logit_ranks_by_itself_so_that_certain_ones_are_told_apart():
    metric = AUROC()
    metric.update(np.array([40.0, 50.0, 60.0], np.float32), np.array([0, 1, 1]))  # probabilities of 1.0, all of them
    assert metric.compute() == 1.0


def test_scores_in_a_histogram_take_no_room():
    kept, counted = AUROC(), AUROC(thresholds=64)
    for _ in range(50):
        kept.update(SCORES, LABEL)
        counted.update(SCORES, LABEL)
    assert kept.state_dict()["total"]["scores"].shape == (5, 50 * COUNT)
    assert counted.state_dict()["total"]["true"].shape == (5, 64)


REFUSED = {
    "shapes": ("acc", {}, (4, 3), np.zeros(5, int), "do not fit targets of shape (5,)"),
    "shapes of pixels": ("iou", {}, (4, 3, 2, 2), np.zeros((4, 2, 3), int), "do not fit targets"),
    "mae": ("mae", {}, (4,), np.zeros(5), "MeanAbsoluteError: predictions of shape (4,)"),
    "r2": ("r2", {}, (4, 2), np.zeros(4), "R2: predictions of shape (4, 2)"),
    "a negative class": ("f1", {}, (2, 3), np.array([-1, 1]), "counted from 0 to 2; a target is -1"),
    "a class too many": ("acc", {}, (2, 3), np.array([0, 255]), "ignore_index=255"),
    "of num_classes": ("acc", {"num_classes": 3}, None, np.array([0, 3]), "counted from 0 to 2"),
    "soft targets": ("acc", {}, (2, 3), np.full((2, 3), 0.3), "must be class numbers, got 0.3"),
    "classes for auroc": ("auroc", {}, None, np.array([0, 1]), "needs scores of classes"),
    "logits for probabilities": ("log_loss", {"logits": False}, (2, 3), np.array([0, 1]), "is no probability"),
}


@pytest.mark.parametrize(("name", "args", "shape", "target", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused(name, args, shape, target, said):
    preds = np.zeros(2, np.int64) if shape is None else np.full(shape, 2.0, np.float32)
    with pytest.raises(ShapeError) as caught:
        build("metric", {"name": name, **args}).update(preds, target)
    assert said in str(caught.value)


ARGUMENTS = {
    "average": ("f1", {"average": "makro"}, "'makro'"),
    "k": ("top_k", {"k": 0}, "k=0: expected an int of at least 1"),
    "thresholds": ("auroc", {"thresholds": 1}, "thresholds=1"),
    "beta": ("fbeta", {"beta": 0.0}, "beta=0.0"),
    "n_bins": ("calibration_error", {"n_bins": 0}, "n_bins=0"),
    "num_classes": ("acc", {"num_classes": 0}, "num_classes=0"),
}


@pytest.mark.parametrize(("name", "args", "said"), ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_wrong_arguments_are_refused(name, args, said):
    for make in (lambda: build("metric", {"name": name, **args}), lambda: lookup("metric", name)(**args)):
        with pytest.raises(ConfigError) as caught:
            make()
        assert said in str(caught.value)


def test_binary_averages_are_for_two_classes():
    metric = F1(average="binary")
    metric.update(SCORES, np.arange(COUNT) % 3)
    with pytest.raises(ConfigError, match="for two classes"):
        metric.compute()
    empty = F1(average="binary")
    empty.update(np.zeros(3, np.int64), np.zeros(3, np.int64))
    assert empty.compute() == 0.0


def test_a_score_for_each_class_is_logged_by_its_number():
    metric = F1(average="none", num_classes=4)
    metric.update(np.array([0, 1, 1]), np.array([0, 1, 0]))
    assert metric.suffixes() == ["_0", "_1", "_2", "_3"]
    logged = metric.values()
    assert logged["_1"] == pytest.approx(2 / 3)
    assert math.isnan(logged["_3"])
    with pytest.raises(ConfigError, match="give num_classes"):
        F1(average="none").suffixes()
    assert ConfusionMatrix().suffixes() == []
    assert ConfusionMatrix().values() == {}


class TestMakeMetrics:
    def test_auto_is_what_suits_the_data(self):
        for task, found in TASK_METRICS.items():
            assert tuple(make_metrics("auto", task, 3)()) == found

    @pytest.mark.parametrize(
        "entries",
        [
            ["acc", {"name": "top_k", "k": 2}],
            {"acc": {"name": "acc"}, "top_k": {"name": "top_k", "k": 2}, "off": None},
        ],
    )
    def test_lists_and_named_entries(self, entries):
        made = make_metrics(entries, "classification", 5)()
        assert list(made) == ["acc", "top_k"]
        assert made["top_k"].k == 2
        assert made["acc"].num_classes == 5

    def test_auto_among_others_gives_way_to_them(self):
        made = make_metrics({"auto": {"name": "auto"}, "f1": {"name": "f1", "average": "micro"}}, "classification")()
        assert list(made) == ["acc", "f1"]
        assert made["f1"].average == "micro"
        assert list(make_metrics(["auto", "mcc"], "classification")()) == ["acc", "f1", "mcc"]

    def test_each_call_gives_new_ones(self):
        make = make_metrics("auto", "regression")
        assert make()["mae"] is not make()["mae"]

    def test_probabilities_are_said_to_be(self):
        assert not make_metrics(["acc", "log_loss"], logits=False)()["log_loss"].logits

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            (["acc", "acc"], "two metrics would be logged as 'acc'"),
            (["acs"], "Did you mean 'acc'"),
            ([3], "metrics.0: expected the name of a metric"),
            ({"f1": {"name": "f1", "average": "none"}, "f1_0": {"name": "f1"}}, "'f1_0' is logged by f1 already"),
            ({"loss": {"name": "log_loss"}}, "'loss' is logged by loss already"),
            ([{"name": "f1", "averag": "micro"}], "Did you mean 'average'"),
            (["mae"], "is for predicted numbers, but the data is for classification"),
        ],
    )
    def test_wrong_choices_are_refused(self, entries, said):
        with pytest.raises(ConfigError) as caught:
            make_metrics(entries, "classification", 3)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("val/loss", "min"), ("train/loss_epoch", "min"), ("test/f1_micro", "max"), ("val/top5", "max"),
        ("val/auroc_3", "max"), ("val/calibration_error", "min"), ("val/brier", "min"), ("perplexity", "min"),
        ("val/average_precision", "max"), ("val/confusion_matrix", None), ("val/mine", None), ("val/accident", None),
    ],
)  # fmt: skip
def test_the_name_says_which_way_is_better(name, expected):
    assert direction(name) == expected


def test_monitors_ask_the_metric_which_way_is_better():
    assert EarlyStopping("val/acc", mode="auto").mode == "max"
    assert ModelCheckpoint(monitor="val/loss", mode="auto").mode == "min"
    assert ModelCheckpoint(mode="auto").mode == "min"
    with pytest.raises(ConfigError, match="whether less of 'val/mine' is better"):
        EarlyStopping("val/mine", mode="auto").check_mode()
