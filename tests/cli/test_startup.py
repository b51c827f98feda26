"""What the quick commands must not load, and that they work from a folder that is no checkout."""

import subprocess
import sys

import pytest

HEAVY = ("mlflow", "cupy", "pandas", "sklearn", "matplotlib", "hydra", "omegaconf", "torch", "scipy")
PROGRAM = """
import sys
from expkit.cli.main import main
code = main({argv!r})
print("LOADED", *[name for name in {heavy!r} if name in sys.modules])
sys.exit(code)
"""


def loaded_by(argv, cwd):
    program = PROGRAM.format(argv=argv, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["--version"], ["ls"], ["train", "--help"], ["completion", "bash"], ["ls", "runs"]],
    ids=" ".join,
)
def test_quick_commands_load_nothing_heavy(workdir, argv):
    assert loaded_by(argv, workdir) == set()


def test_help_does_without_the_engine(workdir):
    program = (
        "import sys\nfrom expkit.cli.main import main\nmain(['--help'])\n"
        "print('LOADED', *[name for name in ('numpy', 'yaml', 'rich', 'expkit.tensor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=workdir, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize(
    "argv", [["ls", "model"], ["ls", "data"], ["show", "model", "mlp"], ["ls", "logger"]], ids=" ".join
)
def test_looking_into_the_registry_loads_the_engine_only(workdir, argv):
    assert loaded_by(argv, workdir) == set()


def test_showing_a_config_needs_hydra_but_no_tracking_or_data_library(workdir):
    assert loaded_by(["train", "--cfg", "job"], workdir) == {"hydra", "omegaconf"}


def test_the_module_is_runnable(workdir):
    done = subprocess.run(
        [sys.executable, "-m", "expkit.cli.main", "train", "model=mpl"],
        cwd=workdir,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ConfigError: override 'model=mpl'")
    assert "Traceback" not in done.stderr
