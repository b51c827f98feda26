"""Versions of a model in MLflow's registry, and who is champion. Part of the shipper, since it imports mlflow."""

import json
import math
from collections.abc import Iterable

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from expkit.tracking.store import Store, translated

METRIC_TAG, VALUE_TAG = "expkit.metric", "expkit.value"


def register(
    store: Store,
    model_id: str,
    run_id: str,
    score: tuple[str, float, bool] | None,
    name: str,
    aliases: Iterable[str] = (),
    champion: str | None = None,
) -> ModelVersion:
    """The version of the registered model `name` that is this model; made unless it is there.

    score: (metric, value, whether greater is better). champion: the alias that the version takes over if its score
    beats that of the version which has it; one without a score by the same metric is beaten by any.
    """
    with translated():
        mlflow.set_tracking_uri(store.uri)  # the registry looks for the model in the global store
        version = _version(store, model_id, run_id, name)
        for alias in aliases:
            store.client.set_registered_model_alias(name, alias, version.version)
        if score is not None:
            store.client.set_model_version_tag(name, version.version, METRIC_TAG, score[0])
            store.client.set_model_version_tag(name, version.version, VALUE_TAG, repr(score[1]))
        if champion and score is not None and beats(score, _holder(store, name, champion)):
            store.client.set_registered_model_alias(name, champion, version.version)
        return version


def _version(store: Store, model_id: str, run_id: str, name: str) -> ModelVersion:
    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for found in store.client.search_model_versions(f"name = '{name}' AND run_id = '{run_id}'"):
        if found.model_id == model_id or found.source == f"models:/{model_id}":
            return found
    made = store.client.create_model_version(name, f"models:/{model_id}", run_id=run_id, model_id=model_id)
    known = json.loads(store.client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    entries = [*known, {"name": name, "version": made.version}]  # by which the model's page finds its versions
    store.client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(entries)})
    return made


def _holder(store: Store, name: str, alias: str) -> ModelVersion | None:
    """The version that has the alias."""
    try:
        return store.client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def beats(score: tuple[str, float, bool], holder: ModelVersion | None) -> bool:
    """Is this score better than the holder's?"""
    metric, value, greater = score
    if holder is None or holder.tags.get(METRIC_TAG) != metric:
        return not math.isnan(value)
    present = float(holder.tags[VALUE_TAG])
    return value > present if greater else value < present
