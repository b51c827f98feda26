"""Which jobs a sweep consists of, and how they are ranked."""

import math

import pytest

from expkit import config
from expkit.errors import ConfigError
from expkit.sweep import grid, ranking

GRIDS = [
    (["optim.lr=1,2"], [["optim.lr=1"], ["optim.lr=2"]]),
    (["seed=7", "optim.lr=1,2"], [["seed=7", "optim.lr=1"], ["seed=7", "optim.lr=2"]]),
    (["optim.lr=1,2", "model.hidden=[64],[8,8]"],
     [["optim.lr=1", "model.hidden=[64]"], ["optim.lr=1", "model.hidden=[8,8]"],
      ["optim.lr=2", "model.hidden=[64]"], ["optim.lr=2", "model.hidden=[8,8]"]]),
    (["seed=range(3)"], [["seed=0"], ["seed=1"], ["seed=2"]]),
    (["model=mlp,linear", "optim.lr=0.1"], [["model=mlp", "optim.lr=0.1"], ["model=linear", "optim.lr=0.1"]]),
    (["optim.lr=1,2", "optim.lr=3"], [["optim.lr=3"]]),
    (["~callbacks.early_stopping", "seed=1,2"],
     [["~callbacks.early_stopping", "seed=1"], ["~callbacks.early_stopping", "seed=2"]]),
    (["hydra.mode=MULTIRUN", "seed=1"], [["seed=1"]]),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "expected"), GRIDS, ids=lambda v: " ".join(map(str, v))[:40])
def test_jobs_are_all_combinations_in_order(overrides: list[str], expected: list[list[str]]) -> None:
    assert grid.jobs(config.compose(overrides, multirun=True), overrides) == expected


def test_params_of_the_config_are_swept_and_overrides_win() -> None:
    overrides = ["hparams_search=grid", "optim.lr=5"]
    found = grid.jobs(config.compose(overrides, multirun=True), overrides)
    assert len(found) == 2
    assert all("optim.lr=5" in job for job in found)


REFUSED = [
    ("optim.lr=interval(1,2)", "the grid needs a list of values"),
    ("model=glob(x*)", "no option of model matches"),
]


@pytest.mark.parametrize(("override", "message"), REFUSED)
def test_what_is_no_list_of_values_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        grid.jobs(config.compose([override], multirun=True), [override])


def test_a_glob_takes_the_options_of_a_group() -> None:
    overrides = ["optim=glob(adam*)"]
    found = grid.jobs(config.compose(overrides, multirun=True), overrides)
    assert found == [["optim=adam"], ["optim=adamax"], ["optim=adamw"]]


def test_varied_names_only_what_differs() -> None:
    assert grid.varied([["seed=1", "a=1"], ["seed=1", "a=2"]]) == [{"a": "1"}, {"a": "2"}]
    assert grid.varied([["seed=1"]]) == [{}]


RANKS = [
    ([0.5, 0.9, 0.7], "max", [1, 2, 0]),
    ([0.5, 0.9, 0.7], "min", [0, 2, 1]),
    ([None, 0.9, math.nan, 0.1], "max", [1, 3, 0, 2]),
    ([1.0, 1.0], "max", [0, 1]),
]


@pytest.mark.parametrize(("values", "mode", "order"), RANKS)
def test_ranking(values: list[float | None], mode: str, order: list[int]) -> None:
    assert ranking.ranked(values, mode) == order


CRITERIA = [
    ({"optimized_metric": "val/acc"}, ("val/acc", "max")),
    ({"optimized_metric": "val/loss"}, ("val/loss", "min")),
    ({"callbacks": {"c": {"monitor": "val/f1", "mode": "max"}}}, ("val/f1", "max")),
    ({"optimized_metric": "score", "callbacks": {"c": {"monitor": "score", "mode": "min"}}}, ("score", "min")),
    ({"callbacks": None}, (None, "max")),
]


@pytest.mark.parametrize(("conf", "expected"), CRITERIA)
def test_criterion(conf: dict, expected: tuple) -> None:
    assert ranking.criterion(conf) == expected
