"""Listing what conf folders offer, the built-in files themselves, and run directories."""

import pytest

from expkit.config import compose, conf_folders, groups, make_run_dir, options
from expkit.config.listing import summary
from expkit.config.paths import builtin_conf
from expkit.errors import ConfigError


def test_options_of_all_folders(conf):
    conf("model/mine.yaml", "# @package _global_\n\n# Mine\n# and more\nname: mlp\n")
    conf("model/mlp.yaml", "name: mlp\n")
    conf("special/deep/x.yaml", "a: 1\n")
    found = {option.name: option for option in options(conf_folders(), "model")}
    assert {"mine", "mlp", "cnn", "linear"} <= set(found)
    assert found["mine"].summary == "Mine"
    assert found["mlp"].summary == "", "the first folder's file counts"
    assert [option.name for option in options(conf_folders(), "special")] == ["deep/x"]
    assert "special" in groups(conf_folders())
    assert "hydra" not in groups(conf_folders())


@pytest.mark.parametrize(
    "path", sorted(builtin_conf().rglob("*.yaml")), ids=lambda p: str(p.relative_to(builtin_conf()))
)
def test_every_built_in_file_says_what_it_is(path):
    assert len(summary(path)) > 3


def test_run_directories_never_collide(workdir):
    composed = compose()
    first, second, third = (make_run_dir(composed, "out/run") for _ in range(3))
    assert [path.name for path in (first, second, third)] == ["run", "run_1", "run_2"]
    assert all(path.is_dir() for path in (first, second, third))
    assert composed.resolved()["paths"]["output_dir"] == str(third)


def test_the_run_directory_is_hydras(workdir):
    composed = compose(["task_name=abc"])
    path = make_run_dir(composed)
    assert path.parent == workdir / "outputs" / "abc" / "runs"


def test_outputs_go_where_the_environment_says(workdir, monkeypatch):
    monkeypatch.setenv("EXPKIT_OUTPUTS", str(workdir / "elsewhere"))
    assert make_run_dir(compose()).is_relative_to(workdir / "elsewhere" / "train" / "runs")


def test_a_run_directory_that_cannot_be_made(workdir):
    (workdir / "file").touch()
    for wanted in ("file", "file/run"):
        with pytest.raises(ConfigError, match=r"the run directory .* cannot be made"):
            make_run_dir(compose(), wanted)


def test_two_configs_in_one_process_keep_their_directories(workdir):
    one, two = compose(["task_name=one"]), compose(["task_name=two"])
    make_run_dir(one), make_run_dir(two)
    assert "/one/" in one.resolved()["paths"]["output_dir"]
    assert "/two/" in two.resolved()["paths"]["output_dir"]
