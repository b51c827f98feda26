"""Packaged models (packaged.py) as MLflow's: a LoggedModel of the run, loadable by mlflow.pyfunc, and a version in the
registry. Part of the shipper, since it imports mlflow.

Each step looks first whether it was done before: the shipper may be killed at any moment and then does it all again.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import pyfunc
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from expkit.errors import TrackingError
from expkit.tracking import journal, names, registering
from expkit.tracking.packaged import Description, read_example
from expkit.tracking.runinfo import State, published, read_info
from expkit.tracking.store import Store, translated

LOADER = "expkit.tracking.pyfunc"
KIND = "expkit"
PACKAGE_TAG = "expkit.package"  # tells the packages of one run apart: the time of the journal's record


def publish(store: Store, experiment_id: str, run_id: str, run_dir: Path, record: Mapping[str, Any]) -> None:
    """Publish the model of a journal record, and register it where the record says so."""
    folder = run_dir / record["model"]
    with translated(too_old=True):
        model = _logged_model(store, experiment_id, run_id, folder, record)
        if model.status.name != "READY":
            _upload(store, model, run_id, folder)
        measured = [Metric(*row, model_id=model.model_id) for row in _measured(run_dir, record)]
        store.client.log_batch(run_id, metrics=measured)
        outputs = store.client.get_run(run_id).outputs
        if all(known.model_id != model.model_id for known in (outputs.model_outputs if outputs else [])):
            store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, record["step"])])
        if model.status.name != "READY":
            store.client.finalize_logged_model(model.model_id, "READY")
        if record["register"]:
            registering.register(store, model.model_id, run_id, _score(record), **record["register"])


def register_last(run_dir: Path, registration: Mapping[str, Any]) -> str:
    """Register the model that the run published last; its version. TrackingError when it was deleted since."""
    state, record = State.read(run_dir), published(run_dir)
    store, run_id = Store(read_info(run_dir).tracking_uri), str(state.run_id)
    with translated(too_old=True):
        model = _find(store, str(state.experiment_id), run_id, Path(record["model"]).name, str(record["t"]))
        if model is None:
            raise TrackingError(f"{run_dir}: its model was deleted in MLflow.")
        version = registering.register(store, model.model_id, run_id, _score(record), **registration)
    return str(version.version)


def _logged_model(
    store: Store, experiment_id: str, run_id: str, folder: Path, record: Mapping[str, Any]
) -> LoggedModel:
    """The model as MLflow has it, created unless an earlier try did."""
    name, key = folder.name, str(record["t"])
    found = _find(store, experiment_id, run_id, name, key)
    if found is not None:
        return found
    params = dict(names.flatten({"model": Description.read(folder).model}))
    return store.client.create_logged_model(
        experiment_id, name=name, source_run_id=run_id, tags={PACKAGE_TAG: key},
        params=names.cleaned(params.items(), 250), model_type=KIND,
    )  # fmt: skip


def _find(store: Store, experiment_id: str, run_id: str, name: str, key: str) -> LoggedModel | None:
    wanted = f"source_run_id = '{run_id}' AND name = '{name}'"
    known = store.client.search_logged_models([experiment_id], filter_string=wanted)
    return next((model for model in known if model.tags.get(PACKAGE_TAG) == key), None)


def _upload(store: Store, model: LoggedModel, run_id: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="expkit-model-") as temporary:
        local = Path(temporary) / "model"
        write_mlflow_model(local, folder, run_id, model.model_id, model.artifact_location)
        store.client.log_model_artifacts(model.model_id, str(local))


def write_mlflow_model(
    local: Path, folder: Path, run_id: str | None = None, model_id: str | None = None, location: str | None = None
) -> None:
    """Write the model of `folder` to `local` in MLflow's form: MLmodel, requirements, signature and input example."""
    description = Description.read(folder)
    example, said = read_example(folder)
    environment = json.loads((folder.parent / "environment.json").read_text(encoding="utf-8"))
    metadata = {"expkit_model": description.model["name"], "expkit_plugins": description.plugins}
    metadata |= {"class_names": description.class_names, "feature_names": description.feature_names}
    pyfunc.save_model(
        local,
        loader_module=LOADER,
        data_path=str(folder),
        mlflow_model=Model(artifact_path=location, run_id=run_id, model_id=model_id, model_uuid=model_id),
        signature=ModelSignature(
            _inputs(example, description), Schema([TensorSpec(said.dtype, (-1, *said.shape[1:]))])
        ),
        input_example=_as_frame(example, description),
        pip_requirements=requirements(environment["packages"], description.expkit),
        metadata=metadata,
    )


def _inputs(example: Any, description: Description) -> Schema:
    """Samples that are vectors may come as a DataFrame or an array (hence columns without names); others as arrays."""
    if example.ndim == 2 and example.dtype.kind == "f":
        return Schema([ColSpec(DataType.double) for _ in range(example.shape[1])])
    return Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))])


def _as_frame(example: Any, description: Description) -> Any:
    if example.ndim != 2 or not description.feature_names:
        return example
    import pandas  # noqa: PLC0415

    return pandas.DataFrame(example, columns=description.feature_names)


def requirements(installed: Mapping[str, str], expkit: str) -> list[str]:
    """What a model needs where it is loaded, in the versions that it was trained with."""
    needed = ("numpy", "ml-dtypes", "llvmlite")
    return [f"expkit=={expkit}", *(f"{name}=={installed[name]}" for name in needed if name in installed)]


def _measured(run_dir: Path, record: Mapping[str, Any]) -> list[tuple[str, float, int, int]]:
    """(name, value, t, step) of what was measured of the model: the run's own rows, so none is doubled."""
    values = {name: float(value) for name, value in record["measured"].items()}
    rows = {name: (names.key(name), value, record["t"], record["step"]) for name, value in values.items()}
    for row in journal.rows(run_dir):
        for name in values.keys() & row.values.keys():
            if row.values[name] == values[name] and (row.step == record["step"] or rows[name][2] == record["t"]):
                rows[name] = (names.key(name), values[name], row.t, row.step)
    return list(rows.values())


def _score(record: Mapping[str, Any]) -> tuple[str, float, bool] | None:
    """(metric, value, whether greater is better) by which versions are compared."""
    name, greater = record["primary"] or (None, False)
    return (str(name), float(record["measured"][name]), bool(greater)) if name in record["measured"] else None
