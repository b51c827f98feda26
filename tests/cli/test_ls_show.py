"""`expkit ls` and `expkit show`: everything that there is, in plain lines and in tables."""

import json
import re
import subprocess
import sys

import pytest

from expkit.cli import output
from expkit.config import builtin_conf


def test_ls_lists_every_file_of_conf(expkit):
    code, out, err = expkit("ls")
    files = [
        path.relative_to(builtin_conf()) for path in builtin_conf().glob("*/*.yaml") if path.parent.name != "hydra"
    ]
    listed = {line.split()[0] for line in out.splitlines() if line}
    assert (code, err) == (0, "")
    assert listed == {f"{path.parent}={path.stem}" for path in files}


def test_ls_group_has_one_line_each(expkit):
    _, out, _ = expkit("ls", "experiment")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
    assert all(len(line.split()) > 2 for line in lines)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("ls", "model"), "model=mlp"),
        (("ls", "callback"), "early_stopping"),
        (("ls", "callbacks"), "model_checkpoint"),
        (("ls", "metric"), "acc "),
        (("ls", "logger"), "logger=mlflow"),
        (("ls", "loss"), "loss=cross_entropy"),
        (("ls", "optim"), "optim=adam"),
        (("ls", "data"), "data=digits"),
        (("show", "model", "mlp"), "hidden"),
        (("show", "optim", "adam"), "weight_decay"),
        (("show", "data", "digits"), "batch_size"),
        (("show", "loss", "cross_entropy"), "label_smoothing"),
        (("show", "callback", "early_stopping"), "patience"),
        (("show", "callbacks", "default"), "conf/callbacks/default.yaml"),
        (("show", "logger", "mlflow"), "conf/logger/mlflow.yaml"),
        (("show", "experiment", "wine_mlp"), "override /data: wine"),
        (("show", "trainer", "default"), "max_epochs"),
        (("show", "device", "cuda"), "index: 0"),
    ],
    ids=str,
)
def test_what_is_found(expkit, argv, said):
    code, out, err = expkit(*argv)
    assert (code, err) == (0, "")
    assert said in out


@pytest.mark.parametrize(
    ("group", "name", "argument", "said"),
    [
        ("optim", "adam", "params", "filled in by expkit"),
        ("scheduler", "cosine", "optimizer", "filled in by expkit"),
        ("scheduler", "cosine", "T_max", "required"),
        ("model", "mlp", "input_shape", "from the data"),
        ("model", "mlp", "dropout", "0.0"),
        ("callbacks", "early_stopping", "min_delta", "0.0"),
    ],
)
def test_show_says_who_gives_an_argument(expkit, group, name, argument, said):
    lines = expkit("show", group, name).out.splitlines()
    assert [line for line in lines if line.startswith(f"{argument} ") and line.endswith(f"  {said}")], lines


def test_show_has_file_documentation_types_and_defaults(expkit):
    _, out, _ = expkit("show", "optim", "adam")
    assert "optim=adam    expkit/conf/optim/adam.yaml" in out
    assert "    name: adam" in out
    row = next(line for line in out.splitlines() if line.startswith("lr "))
    assert row.split()[1:] == ["float", "0.001"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("ls", "modle"), "there is no group 'modle'. Did you mean 'model'"),
        (("show", "modle", "mlp"), "there is no group 'modle'. Did you mean 'model'"),
        (("show", "model", "mpl"), "there is no model 'mpl'. Did you mean 'mlp'"),
        (("show", "experiment", "wine"), "Did you mean 'wine_mlp'"),
        (("ls", "-cd", "nowhere"), "-cd nowhere: there is no such folder"),
    ],
)
def test_what_is_not_there(expkit, argv, said):
    code, out, err = expkit(*argv)
    assert (code, out) == (2, "")
    assert said in err


def test_a_folder_of_ones_own(expkit, workdir):
    (workdir / "mine" / "model").mkdir(parents=True)
    (workdir / "mine" / "model" / "small.yaml").write_text("# Mine\nname: mlp\nhidden: [8]\n")
    (workdir / "mine" / "model" / "broken.yaml").write_text("a: [\n")
    assert "model=small" in expkit("ls", "-cd", "mine").out
    out = expkit("show", "model", "small", "-cd", "mine").out
    assert "mine/model/small.yaml" in out
    assert "activation" in out, "the arguments are those of the model that the file names"
    assert "mine/model/broken.yaml: not valid YAML" in expkit("show", "model", "broken", "-cd", "mine").err


PLUGIN = """
import expkit as ek
from expkit import nn


@ek.register("model", "of_a_plugin")
class Model(nn.Identity):
    \"\"\"Nothing at all.\"\"\"

    def __init__(self, input_shape: tuple, output_size: int, width: int = 3) -> None:
        super().__init__()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["override", "config.yaml"])
def test_what_plugins_bring(workdir, how):
    """In a process of its own: what is registered stays registered."""
    (workdir / "a_plugin.py").write_text(PLUGIN)
    words = ["plugins=[a_plugin]"]
    if how == "config.yaml":
        (workdir / "conf").mkdir()
        (workdir / "conf" / ".expkit").write_text("")
        (workdir / "conf" / "config.yaml").write_text("plugins: [a_plugin]\n")
        words = []

    def said(*argv):
        command = [sys.executable, "-m", "expkit.cli.main", *argv, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert "of_a_plugin" in said("ls", "model")
    assert "Nothing at all." in said("show", "model", "of_a_plugin")
    assert "width" in said("schema", "model")


@pytest.mark.parametrize(("value", "word"), [("[no_such_one]", "no_such_one"), ("alone", "list of modules")])
def test_plugins_that_cannot_be_loaded(expkit, value, word):
    code, _, err = expkit("ls", "model", f"plugins={value}")
    assert code == 2
    assert word in err


@pytest.mark.parametrize(
    ("argv", "name"), [(("ls", "optim"), "adam"), (("show", "optim", "adam"), "adam"), (("ls",), "mlp")]
)
def test_as_json(expkit, argv, name):
    code, out, _ = expkit(*argv, "--json")
    assert code == 0
    assert name in json.dumps(json.loads(out))


def test_json_has_no_numbers_that_json_has_not(capsys):
    output.print_json({"a": float("nan"), "b": [float("-inf"), 1.5]})
    assert json.loads(capsys.readouterr().out) == {"a": "nan", "b": ["-inf", 1.5]}


def test_tables_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
    output.table(("choice", ""), [("model=mlp", "[bold]not markup[/bold]")], title="model")
    out = capsys.readouterr().out
    assert "model=mlp" in out
    assert "[bold]not markup[/bold]" in out


def test_long_values_are_folded_and_names_stay_whole(monkeypatch, capsys):
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    path = "/a/very/long/path/" * 6
    output.table(("", ""), [("checkpoint", path), ("samples", "36")])
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "checkpoint" in out
    assert "…" not in out
    assert path in "".join(line[13:].strip() for line in out.splitlines() if "samples" not in line)


def test_an_empty_table(capsys):
    output.table(("a",), [])
    assert capsys.readouterr().out == ""
