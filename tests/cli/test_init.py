"""`expkit init`: what it writes, what it refuses, and that everything in the project works at once."""

import os
import subprocess
import sys

import pytest
import yaml

from expkit.cli.init import OWN_CONFIG, project_files
from expkit.config import builtin_conf

EXPKIT = (sys.executable, "-m", "expkit.cli.main")


def test_the_files(expkit, workdir):
    code, out, err = expkit("init", "my-project")
    assert (code, err) == (0, "")
    assert "cd my-project" in out
    written = {path.relative_to(workdir / "my-project").as_posix() for path in (workdir / "my-project").rglob("*")}
    assert {"conf/.expkit", ".gitignore", "my_project/models.py", "tests/test_project.py", "README.md"} <= written
    texts = project_files("my_project")
    assert set(texts) <= written
    assert not [name for name, text in texts.items() if "@" + "package@" in text or ".in" in name.split("/")[-1][-3:]]


@pytest.mark.parametrize("name", project_files("mine"))
def test_every_file_can_be_read(name):
    text = project_files("mine")[name]
    if name.endswith(".py"):
        compile(text, name, "exec")
    if name.endswith(".yaml"):
        assert isinstance(yaml.safe_load(text), dict)
        assert text.startswith("#"), "the first line says what it is"


def test_its_config_is_expkits_own_but_for_a_few_lines():
    ours, theirs = (builtin_conf() / "config.yaml").read_text(), project_files("mine")["conf/config.yaml"]
    differing = [line for line in theirs.splitlines() if line not in ours.splitlines()]
    assert len(differing) == len(OWN_CONFIG)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("full",), "is not empty"),
        (("file",), "is a file"),
        (("numpy",), "there is a module 'numpy' already"),
        (("2nd",), "cannot be the name of a Python package"),
        (("class",), "cannot be the name of a Python package"),
        (("tests",), "the name of another folder"),
        (("new", "--package", "a-b"), "'a-b' cannot be the name"),
        ((), "required: folder"),
    ],
)
def test_what_is_refused(expkit, workdir, argv, said):
    (workdir / "full").mkdir()
    (workdir / "full" / "x").write_text("")
    (workdir / "file").write_text("")
    before = sorted(workdir.rglob("*"))
    code, _, err = expkit("init", *argv)
    assert code == 2
    assert said in err
    assert sorted(workdir.rglob("*")) == before


def test_an_empty_folder_and_another_name(expkit, workdir):
    (workdir / "2nd").mkdir()
    assert expkit("init", "2nd", "--package", "second").code == 0
    assert (workdir / "2nd" / "second" / "data.py").is_file()


@pytest.mark.slow
def test_train_and_pytest_work_in_it_at_once(expkit, workdir):
    expkit("init", "spirals_project")
    project = workdir / "spirals_project"

    def run(*command):
        done = subprocess.run(
            command, cwd=project, capture_output=True, text=True, timeout=120, env={**os.environ}, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "test/acc" in run(*EXPKIT, "train", "trainer.max_epochs=3", "logger=none")
    assert "no problems" in run(*EXPKIT, "validate", "experiment=wide")
    assert "model=residual" in run(*EXPKIT, "ls", "model")
    assert "width" in run(*EXPKIT, "show", "model", "residual")
    assert "all/acc" in run(*EXPKIT, "eval", "last", "--split", "all")
    assert "3 passed" in run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
