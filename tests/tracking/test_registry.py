"""Versions, aliases and champions in MLflow's registry: in a database, and on a server."""

import os

import numpy as np
import pytest

from expkit.errors import ConfigError, TrackingError
from expkit.registry import build
from expkit.tracking import predictor, register_model
from expkit.tracking.loggers import MLFlowLogger
from expkit.tracking.packaged import Description
from tests.tracking.support import free_port

pytestmark = [pytest.mark.usefixtures("no_shipper"), pytest.mark.slow]


@pytest.fixture(params=["database", "server"])
def store(request, zygote, outputs, database):
    """The address of a store."""
    if request.param == "database":
        yield f"sqlite:///{database.path}"
        return
    port = free_port()
    with zygote.server(port, database.path, outputs / "remote"):
        yield f"http://127.0.0.1:{port}"


def finished(zygote, outputs, store, name, score, **options):
    """A run with a packaged model, shipped."""
    run_dir = outputs / name
    logger = MLFlowLogger("digits", run_dir=str(run_dir), tracking_uri=store, **options)
    logger.log_metrics({"val/acc": score}, step=5)
    description = Description({"name": "linear"}, {"input_shape": [2], "output_size": 3}, expkit="0.1.0")
    weights = build("model", description.model, given=description.given).state_dict()
    predictor.save(run_dir / "model", description, weights, {}, np.zeros((2, 2), np.float32))
    logger.log_model(run_dir / "model", step=5, metrics={"val/acc": score}, primary=("val/acc", True))
    logger.finalize("FINISHED")
    assert zygote.follow(run_dir) == 0
    return run_dir


def versions(database):
    """{version: (name of its run, metric, value)}"""
    names = dict(database.query("select run_uuid, name from runs"))
    tags = {}
    for version, key, value in database.query("select version, key, value from model_version_tags"):
        tags.setdefault(version, {})[key] = value
    rows = database.query("select version, run_id from model_versions where name = 'digits'")
    return {v: (names[run], tags[v]["expkit.metric"], float(tags[v]["expkit.value"])) for v, run in rows}


def aliases(database):
    return dict(database.query("select alias, version from registered_model_aliases"))


def test_the_best_version_is_champion(zygote, outputs, database, store):
    how = {"register_as": "digits", "aliases": ["candidate"]}
    finished(zygote, outputs, store, "a", 0.8, **how)
    assert aliases(database) == {"champion": 1, "candidate": 1}
    finished(zygote, outputs, store, "b", 0.7, **how)
    assert aliases(database) == {"champion": 1, "candidate": 2}
    last = finished(zygote, outputs, store, "c", 0.9, **how)
    assert aliases(database) == {"champion": 3, "candidate": 3}
    expected = {1: ("a", "val/acc", 0.8), 2: ("b", "val/acc", 0.7), 3: ("c", "val/acc", 0.9)}
    assert versions(database) == expected

    os.remove(last / "tracking.state.json")  # everything is sent again, and found to be there
    assert zygote.follow(last) == 0
    assert versions(database) == expected
    assert database.query("select count(*) from logged_models") == [(3,)]


def test_a_run_can_be_registered_later(zygote, outputs, database):
    uri = f"sqlite:///{database.path}"
    run_dir = finished(zygote, outputs, uri, "a", 0.8)
    assert database.query("select count(*) from registered_models") == [(0,)]
    assert register_model(run_dir, "digits", ["blue"], champion="best") == "1"
    assert aliases(database) == {"blue": 1, "best": 1}
    (text,) = database.query("select tag_value from logged_model_tags where tag_key = 'mlflow.modelVersions'")
    assert text[0].count('"version"') == 1


def test_a_run_without_a_model_cannot(zygote, outputs, database):
    run_dir = outputs / "none"
    logger = MLFlowLogger("digits", run_dir=str(run_dir), tracking_uri=f"sqlite:///{database.path}")
    logger.log_metrics({"a": 1})
    logger.finalize()
    with pytest.raises(TrackingError, match=r"MLflow has no model of this run \(yet\): `expkit sync"):
        register_model(run_dir, "digits")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aliases": ["a"]}, "say its name by register_as"),
        ({"register_as": "x", "aliases": ["v1"]}, "alias 'v1'"),
        ({"register_as": "x", "champion": "latest"}, "alias 'latest'"),
        ({"register_as": "a/b"}, "no '/' and no ':'"),
        ({"system_metrics_interval": 0}, "expected seconds above 0"),
    ],
)
def test_what_mlflow_would_refuse_is_refused_before_training(options, message):
    with pytest.raises(ConfigError, match=message):
        MLFlowLogger(**options)
