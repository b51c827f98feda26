"""JSON schemas: every YAML file in conf/ validates, with jsonschema as the judge, and planted mistakes do not."""

import copy
import json

import jsonschema
import pytest
from omegaconf import OmegaConf

from expkit.config import builtin_conf, compose
from expkit.config.schema import config_schema, folders, group_schema

FILES = sorted(path for path in builtin_conf().glob("*/*.yaml") if path.parent.name in folders())
CHECKER = jsonschema.Draft202012Validator
_validators = {}


def validator(name):
    if name not in _validators:
        schema = json.loads(json.dumps(config_schema() if name == "config" else group_schema(name)))
        CHECKER.check_schema(schema)
        _validators[name] = CHECKER(schema)
    return _validators[name]


def content(path):
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def complaints(name, value):
    return [error.message for error in validator(name).iter_errors(value)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_validates(path):
    assert complaints(path.parent.name, content(path)) == []


@pytest.mark.parametrize("path", [p for p in FILES if "name" in content(p)], ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_key_and_a_name_that_do_not_exist_are_found(path):
    value = content(path)
    assert complaints(path.parent.name, value | {"naem": 1}) != []
    assert complaints(path.parent.name, value | {"name": "nothing"}) != []


def test_every_group_of_the_registry_has_files():
    with_files = {path.parent.name for path in FILES}
    assert with_files == set(folders())


def test_the_primary_file_and_composed_configs_validate():
    assert complaints("config", content(builtin_conf() / "config.yaml")) == []
    for overrides in ([], ["experiment=wine_mlp"], ["optim=sgd", "scheduler=cosine", "callbacks=none"]):
        composed = compose(overrides)
        assert complaints("config", OmegaConf.to_container(composed.config, resolve=False)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.hidden", 64),
        ("model.hidden", ["wide"]),
        ("model.hiden", [64]),
        ("model.name", "mpl"),
        ("optim.lr", "fast"),
        ("optim.betas", [0.9]),
        ("trainer.max_epochs", "ten"),
        ("trainer.max_epoch", 10),
        ("trainer.gradient_clip_algorithm", "nrom"),
        ("callbacks.early_stopping.patiense", 3),
        ("callbacks.early_stopping.mode", "biggest"),
        ("sede", 3),
        ("tags", "dev"),
        ("device.name", "tpu"),
        ("scheduler.interval", "hour"),
    ],
)
def test_mistakes_are_found(key, value):
    config = OmegaConf.to_container(compose([]).config, resolve=False)
    planted = copy.deepcopy(config)
    *parents, last = key.split(".")
    holder = planted
    for name in parents:
        holder = holder[name]
    holder[last] = value
    assert complaints("config", config) == []
    assert complaints("config", planted) != []


@pytest.mark.parametrize("value", ["${vars.width}", "???", 0.5])
def test_placeholders_stand_for_any_value(value):
    assert complaints("model", {"name": "mlp", "dropout": value}) == []


def test_an_experiment_may_change_a_value_without_naming_the_choice():
    assert complaints("experiment", {"model": {"hidden": [64]}, "optim": {"lr": 0.1}}) == []
    assert complaints("experiment", {"model": {"hiden": [64]}}) != []


def test_what_is_filled_in_cannot_be_set():
    assert complaints("optim", {"name": "sgd", "params": []}) != []
