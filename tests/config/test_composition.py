"""compose: search order, groups, overrides, plugins, origins, values that wait for the data."""

import sys

import pytest
from omegaconf import OmegaConf

from expkit.config import compose, conf_folders, load
from expkit.config.paths import builtin_conf, label
from expkit.errors import ConfigError
from expkit.registry import store


def test_the_built_in_defaults(workdir):
    composed = compose()
    assert composed.choices["model"] == "mlp"
    assert composed.config.optim.name == "adam"
    assert "hydra" not in composed.config
    assert not composed.multirun
    assert composed.resolved()["paths"]["output_dir"].startswith(str(workdir / "outputs" / "train" / "runs"))


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["model=cnn"], "model.name", "cnn"),
        (["optim.lr=0.5"], "optim.lr", 0.5),
        (["optim.lr=1e-3"], "optim.lr", 0.001),
        (["+vars.width=3", "seed=${vars.width}"], "seed", 3),
        (["experiment=wine_mlp"], "data.name", "wine"),
        (["experiment=wine_mlp", "data=iris"], "data.name", "iris"),
        (["experiment=wine_mlp", "trainer.max_epochs=2"], "trainer.max_epochs", 2),
        (["debug=fdr"], "trainer.fast_dev_run", True),
        (["debug=overfit"], "device.name", "cpu"),
        (["debug=default", "device=cuda"], "device.name", "cuda"),
        (["tags=[a,b]"], "tags", ["a", "b"]),
        (["task_name='a b'"], "task_name", "a b"),
        (["seed=null"], "seed", None),
        (["+vars={a: 1}"], "vars.a", 1),
    ],
)
def test_overrides(workdir, overrides, key, value):
    assert OmegaConf.select(OmegaConf.create(compose(overrides).resolved()), key) == value


def test_the_grid_asks_for_many_runs(workdir):
    assert compose(["hparams_search=grid"]).multirun
    assert compose(["optim.lr=1,2"], multirun=True).multirun


@pytest.mark.parametrize("override", ["callbacks=null", "~callbacks", "~callbacks=default"])
def test_a_group_can_be_left_out(workdir, override):
    assert compose([override]).resolved().get("callbacks") is None


def test_every_experiment_debug_and_search_composes(workdir):
    for group in ("experiment", "debug", "hparams_search"):
        for path in (builtin_conf() / group).glob("*.yaml"):
            assert compose([f"{group}={path.stem}"]).resolved()["task_name"]


# ------------------------------------------------------------------------------------------------ search order


def make(folder, text):
    (folder / "optim").mkdir(parents=True, exist_ok=True)
    (folder / "optim" / "adam.yaml").write_text(text)


def test_search_order_is_file_by_file(workdir, monkeypatch):
    for name in ("given", "env", "conf"):
        make(workdir / name, f"name: adam\nlr: 0.1\nfrom: {name}\n")
    make(workdir / "conf", "name: adam\nfrom: conf\n")
    assert "from" not in compose().config.optim, "a folder that nothing marks is not searched"
    (workdir / "conf" / ".expkit").touch()
    assert compose().config.optim["from"] == "conf"
    assert compose(["optim=sgd"]).config.optim.name == "sgd", "the other files are still the built-in ones"
    monkeypatch.setenv("EXPKIT_CONF", "env")
    assert compose().config.optim["from"] == "env"
    assert compose(config_dir="given").config.optim["from"] == "given"
    assert [folder.provider for folder in conf_folders("given")] == ["-cd", "EXPKIT_CONF", "./conf", "built-in"]


def test_a_checkout_searches_its_conf_once(monkeypatch):
    monkeypatch.chdir(builtin_conf().parent)
    assert [folder.provider for folder in conf_folders()] == ["built-in"]


def test_another_primary_config(conf):
    conf("mine.yaml", "defaults: [config, _self_]\ntask_name: mine\n")
    composed = compose(config_name="mine")
    assert (composed.config.task_name, composed.config.model.name) == ("mine", "mlp")
    assert composed.origins.of("task_name") == "conf/mine.yaml"


@pytest.mark.parametrize("name", ["-cd nowhere", "EXPKIT_CONF nowhere"])
def test_a_folder_that_was_asked_for_must_exist(workdir, monkeypatch, name):
    if name.startswith("EXPKIT"):
        monkeypatch.setenv("EXPKIT_CONF", "nowhere")
    with pytest.raises(ConfigError, match=f"^{name}: there is no such folder"):
        compose(config_dir="nowhere" if name.startswith("-cd") else None)


def test_the_package_of_a_file_may_stand_below_other_comments(conf):
    conf("experiment/mine.yaml", "# conf/experiment/mine.yaml\n\n# @package _global_\n# Mine\ntask_name: mine\n")
    assert compose(["experiment=mine"]).config.task_name == "mine"
    conf("experiment/late.yaml", "# Mine\nvars: {a: 1}\n# @package _global_\n")
    assert compose(["experiment=late"]).config.experiment.vars == {"a": 1}, "below the first key it is a comment"


def test_labels(workdir):
    assert label(workdir / "conf" / "a.yaml") == "conf/a.yaml"
    assert label(builtin_conf() / "model" / "mlp.yaml") == "expkit/conf/model/mlp.yaml"


# ------------------------------------------------------------------------------------------------ plugins


PLUGIN = """
from expkit.registry import register

@register("model", "planted")
def planted(input_shape: tuple[int, ...], output_size: int, depth: int = 3): ...
"""


@pytest.fixture
def plugin(workdir, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(store, "_factories", {group: dict(table) for group, table in store._factories.items()})
    monkeypatch.setattr(store, "_plugins", {})
    folder = workdir / "planted_plugin"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "models.py").write_text(PLUGIN)
    return folder


def test_what_a_plugin_registers_can_be_chosen_without_a_file(plugin):
    composed = compose(["plugins=[planted_plugin.models]", "model=planted"])
    assert composed.config.model == {"name": "planted"}
    assert composed.origins.of("model.name") == "the registered model 'planted'"


def test_a_plugin_may_bring_a_conf_folder(plugin):
    (plugin / "conf" / "model").mkdir(parents=True)
    (plugin / "conf" / ".expkit").touch()
    (plugin / "conf" / "model" / "deep.yaml").write_text("# Deep\nname: planted\ndepth: 9\n")
    assert compose(["plugins=[planted_plugin.models]", "model=deep"]).config.model.depth == 9


def test_an_experiment_may_name_the_plugin(plugin, workdir):
    (workdir / "conf" / "experiment").mkdir(parents=True)
    (workdir / "conf" / ".expkit").touch()
    (workdir / "conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: planted\nplugins: [planted_plugin.models]\n"
    )
    assert compose(["experiment=mine"]).config.model.name == "planted"


# ------------------------------------------------------------------------------------------------ origins


@pytest.mark.parametrize(
    ("key", "origin"),
    [
        ("optim.lr", "expkit/conf/experiment/wine_mlp.yaml"),
        ("optim.name", "expkit/conf/optim/adamw.yaml"),
        ("optim", "expkit/conf/optim/adamw.yaml"),
        ("model.hidden", "override 'model.hidden=[3]'"),
        ("model.hidden.0", "override 'model.hidden=[3]'"),
        ("vars.a.b", "override '+vars={a: {b: 1}}'"),
        ("seed", "expkit/conf/config.yaml"),
        ("trainer.no_such_key", "expkit/conf/trainer/default.yaml"),
        ("no_such_key", "expkit/conf/config.yaml"),
    ],
)
def test_origins(workdir, key, origin):
    composed = compose(["experiment=wine_mlp", "model.hidden=[3]", "+vars={a: {b: 1}}"])
    assert composed.origins.of(key) == origin


def test_origins_within_a_group(workdir):
    assert compose(["optim.lr=3"]).origins.within("optim")("lr") == "override 'optim.lr=3'"


# ------------------------------------------------------------------------------------------------ derived values


def test_derived_values_stay_symbolic_until_they_are_there(workdir):
    composed = compose(["+vars.shape=${derived:input_shape}", "+vars.text='${derived:num_classes} classes'"])
    assert composed.resolved()["vars"] == {"shape": "${derived:input_shape}", "text": "${derived:num_classes} classes"}
    there = composed.resolved({"input_shape": (1, 8, 8), "num_classes": 10})
    assert there["vars"] == {"shape": [1, 8, 8], "text": "10 classes"}
    assert composed.resolved()["vars"]["shape"] == "${derived:input_shape}", "and do not leak into the next use"


def test_a_derived_value_that_the_data_lacks(workdir):
    with pytest.raises(ConfigError, match="nothing says what 'num_classes'"):
        compose(["seed=${derived:num_classes}"]).resolved({"input_shape": (3,)})


def test_a_saved_config_loads_again(workdir):
    composed = compose(["+vars.out=${paths.output_dir}", "+vars.n=${derived:num_classes}"])
    (workdir / "run").mkdir()
    (workdir / "run" / "config.yaml").write_text(OmegaConf.to_yaml(composed.config))
    again = load(workdir / "run" / "config.yaml")
    assert again.resolved({"num_classes": 3})["vars"] == {"out": str(workdir / "run"), "n": 3}
    assert again.origins.of("optim.lr") == "run/config.yaml"
