"""`expkit train` up to the trainer: flags, printed configs, run directories, multirun, completion."""

from types import SimpleNamespace

import pytest
import yaml

from expkit.cli.train import parse
from expkit.errors import ConfigError


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], {"overrides": [], "multirun": False, "config_name": "config"}),
        (["model=mlp", "-m", "optim.lr=1,2"], {"overrides": ["model=mlp", "optim.lr=1,2"], "multirun": True}),
        (["--cfg", "job", "seed=1"], {"cfg": "job", "overrides": ["seed=1"]}),
        (["-c", "all", "--resolve", "-p", "optim"], {"cfg": "all", "resolve": True, "package": "optim"}),
        (["-cn", "mine", "-cd", "there"], {"config_name": "mine", "config_dir": "there"}),
        (["--config-name=mine", "--config-dir=there"], {"config_name": "mine", "config_dir": "there"}),
        (["--info"], {"info": "all"}),
        (["-i", "defaults"], {"info": "defaults"}),
        (["~callbacks", "+vars.x=-1"], {"overrides": ["~callbacks", "+vars.x=-1"]}),
    ],
)
def test_flags(argv, expected):
    arguments = vars(parse(argv))
    assert {key: arguments[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--cfgg", "job"], "'--cfgg' is not understood. Did you mean '--cfg'"),
        (["--cfg", "jobs"], "invalid choice: 'jobs'"),
        (["--cfg"], "expected one argument"),
        (["-m", "--cfg", "job"], "only one of --multirun and --cfg"),
        (["--resolve"], "--resolve belongs to --cfg"),
        (["--package", "optim"], "--package belongs to --cfg"),
        (["--multi"], "'--multi' is not understood. Did you mean '--multirun'"),
    ],
)
def test_wrong_flags(argv, said):
    with pytest.raises(ConfigError) as caught:
        parse(argv)
    assert said in str(caught.value)


# ------------------------------------------------------------------------------------------------ printing


def test_cfg_job_prints_what_can_be_read_again(expkit):
    code, out, err = expkit("train", "--cfg", "job", "optim.lr=0.5")
    config = yaml.safe_load(out)
    assert (code, err) == (0, "")
    assert config["optim"]["lr"] == 0.5
    assert config["paths"]["output_dir"] == "${hydra:runtime.output_dir}"
    assert "hydra" not in config


def test_cfg_resolve(expkit, workdir):
    _, out, _ = expkit(
        "train", "--cfg", "job", "--resolve", "+vars.n=${derived:num_classes}", "seed=${trainer.max_epochs}"
    )
    config = yaml.safe_load(out)
    assert config["paths"]["output_dir"].startswith(str(workdir / "outputs"))
    assert config["seed"] == config["trainer"]["max_epochs"]
    assert config["vars"]["n"] == "${derived:num_classes}", "known only once the data is loaded"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--cfg", "job", "-p", "device"), "# @package device\nname: auto\n"),
        (("--cfg", "job", "-p", "optim.name"), "adam\n"),
    ],
)
def test_cfg_package(expkit, argv, expected):
    assert expkit("train", *argv) == (0, expected, "")


def test_cfg_hydra_and_all(expkit):
    assert set(yaml.safe_load(expkit("train", "--cfg", "hydra").out)) == {"hydra"}
    assert {"hydra", "model"} <= set(yaml.safe_load(expkit("train", "--cfg", "all").out))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--hydra-help",), "Hydra (1.3"),
        (("--info", "searchpath"), "conf"),
        (("--info", "defaults"), "model/mlp"),
        (("--info", "defaults-tree"), "model: mlp"),
        (("--help",), "experiment=wine_mlp"),
    ],
)
def test_pages(expkit, argv, said):
    code, out, _ = expkit("train", *argv)
    assert code == 0
    assert said in out


def test_info_of_something_unknown(expkit):
    code, _, err = expkit("train", "--info", "default")
    assert code == 2
    assert "Did you mean 'defaults'" in err


# ------------------------------------------------------------------------------------------------ completion


@pytest.mark.parametrize(
    ("line", "words", "offered"),
    [
        ("expkit ", ["query=bash"], {"train", "ls", "show"}),
        ("expkit tr", ["query=bash"], {"train"}),
        ("expkit show mo", ["query=bash"], {"model"}),
        ("expkit show model c", ["query=bash"], {"cnn"}),
        ("expkit ls dev", ["query=bash"], {"device"}),
        ("expkit train mod", ["query=bash"], {"model="}),
        ("expkit train model=c", ["query=bash"], {"model=cnn"}),
        ("expkit train model=cnn optim.", ["query=bash"], {"optim.lr=", "optim.name="}),
        ("/usr/bin/expkit train --mul", ["query=bash"], {"--multirun"}),
    ],
)
def test_completion(expkit, monkeypatch, line, words, offered):
    monkeypatch.setenv("COMP_LINE", line)
    code, out, _ = expkit("-sc", *words)
    assert code == 0
    assert offered <= set(out.split())


def test_completion_installs_itself(expkit):
    code, out, _ = expkit("-sc", "install=bash")
    assert code == 0
    assert "complete -o nospace" in out
    assert expkit("train", "-sc", "uninstall=bash").code == 0


# ------------------------------------------------------------------------------------------------ running


def test_a_run_gets_its_config_and_a_new_directory(expkit, experiment, workdir):
    for _ in range(2):
        assert expkit("train", "model=cnn", "optim.lr=0.5", "hydra.run.dir=out/here").code == 0
    (first, first_dir), (second, second_dir) = experiment.runs
    assert first.config.optim.lr == second.config.optim.lr == 0.5
    assert (first_dir, second_dir) == (workdir / "out" / "here", workdir / "out" / "here_1")
    assert first_dir.is_dir()
    assert second.resolved()["paths"]["output_dir"] == str(second_dir)
    assert first.overrides == ["model=cnn", "optim.lr=0.5", "hydra.run.dir=out/here"]


def test_a_bad_config_makes_no_directory(expkit, experiment, workdir):
    assert expkit("train", "+model.hiden=[3]").code == 2
    assert not (workdir / "outputs").exists()
    assert experiment.runs == []


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (SimpleNamespace(status="FINISHED", signal=None), 0),
        (SimpleNamespace(status="FAILED", signal=None), 1),
        (SimpleNamespace(status="KILLED", signal=2), 130),
        (SimpleNamespace(status="KILLED", signal=15), 143),
    ],
)
def test_exit_codes(expkit, experiment, result, code):
    experiment.result = result
    assert expkit("train").code == code


@pytest.mark.parametrize(
    "argv",
    [
        ("-m", "optim.lr=1e-2,1e-3"),
        ("--multirun", "seed=range(3)"),
        ("hparams_search=grid",),
        ("hydra.mode=MULTIRUN", "seed=1,2"),
    ],
)
def test_multirun_goes_to_the_sweep(expkit, experiment, argv):
    assert expkit("train", *argv).code == 0
    ((overrides, where),) = experiment.sweeps
    assert overrides == [word for word in argv if not word.startswith("-")]
    assert where == {"config_name": "config", "config_dir": None}
    assert experiment.runs == []


def test_several_values_without_multirun(expkit, experiment):
    code, _, err = expkit("train", "optim.lr=1e-2,1e-3")
    assert code == 2
    assert "Add -m" in err


# ------------------------------------------------------------------------------------------------ resume


@pytest.fixture
def runs(workdir):
    made = []
    for name in (
        "train/runs/2026-01-01_00-00-00",
        "other/runs/2026-01-02_00-00-00",
        "train/multiruns/m/0",
        "train/multiruns/n/0",
    ):
        made.append(workdir / "outputs" / name)
        made[-1].mkdir(parents=True)
        (made[-1] / "config.yaml").write_text("seed: 1\n")
    return made


@pytest.mark.parametrize(
    ("run", "index"),
    [("2026-01-02_00-00-00", 1), ("outputs/train/runs/2026-01-01_00-00-00", 0), ("m/0", 2), ("last", 3)],
)
def test_resume_finds_the_run(expkit, experiment, runs, run, index):
    assert expkit("resume", run).code == 0
    assert experiment.resumed == [runs[index]]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ("2026-01-02_00-00-01", "Did you mean '2026-01-02_00-00-00'"),
        ("0", "several runs are called so"),
        ("x/y", "no such run"),
    ],
)
def test_resume_of_no_run(expkit, experiment, runs, run, said):
    code, _, err = expkit("resume", run)
    assert code == 2
    assert said in err
    assert experiment.resumed == []


def test_resume_last_without_runs(expkit, experiment):
    assert expkit("resume", "last").code == 2
