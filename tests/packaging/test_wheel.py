"""The wheel, installed into an empty environment and used from an empty directory: nothing of the checkout helps it."""

import os
import re
import site
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("packaging")]


def run(*command: object, cwd: Path) -> str:
    """Standard output and error of a command that must succeed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The project's wheel, built by the hatchling of the test extra (no network)."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    run(*pip, "--quiet", "--wheel-dir", folder, ROOT, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A fresh environment holding the wheel; the dependencies are those of the running interpreter, by a .pth line.

    Paths that a .pth file adds are searched last and their own .pth files are not read, so an editable install of
    the checkout stays out of it.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    packages = next(folder.glob("lib/python3*/site-packages"))
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder


@pytest.fixture
def expkit(environment, tmp_path):
    """Runs the installed command in an empty directory: expkit("ls") -> its output."""
    return lambda *arguments: run(environment / "bin" / "expkit", *arguments, cwd=tmp_path)


def test_the_wheel_holds_the_package_its_configs_and_the_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {str(p.relative_to(ROOT)) for p in ROOT.glob("expkit/**/*") if p.suffix in {".py", ".typed"}}
    configs = {f"expkit/{p.relative_to(ROOT)}" for p in ROOT.glob("conf/**/*") if p.is_file()}
    assert package | configs <= names
    assert configs
    assert any(name.endswith("licenses/LICENSE") for name in names)
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} <= {"expkit", "hydra_plugins"}


def test_the_installed_package_is_the_one_that_runs(environment, tmp_path):
    python = environment / "bin" / "python"
    where = run(python, "-c", "import expkit; print(expkit.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(environment)


def test_the_version_is_the_projects(expkit):
    assert re.search(rf"\b{re.escape(PROJECT['version'])}\b", expkit("--version"))


def test_it_lists_what_is_registered(expkit):
    listed = expkit("ls", "model")
    assert {"mlp", "cnn", "linear"} <= set(re.findall(r"\w+", listed))


def test_it_shows_a_model(expkit):
    assert "hidden" in expkit("show", "model", "mlp")


def test_it_trains_from_an_empty_directory(expkit, tmp_path):
    printed = expkit("train", "model=mlp", "optim=adam", "trainer.max_epochs=1", "logger=none")
    assert "test/acc" in printed
    assert list(tmp_path.glob("outputs/**/metrics.jsonl"))
