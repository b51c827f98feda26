"""The examples of the README and of the pages in docs/ run as they stand."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", TEXT, re.DOTALL)
SCRIPTS = [code for language, code in BLOCKS if language == "python" and not code.startswith("# ")]
FILES = {code.split("\n", 1)[0].removeprefix("# "): code for _, code in BLOCKS if code.startswith("# ")}
COMMANDS = re.findall(r"^    (expkit [a-z]+.*?)(?: +#.*)?$", "\n".join([TEXT, *PAGES.values()]), re.MULTILINE)
# Parts of programs, which go on from here.
FRAGMENTS = [
    (page, code) for page, text in PAGES.items() for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
]
BEFORE = """
import expkit as ek
from expkit import nn
from expkit.nn import functional as F
from expkit.nn.utils import clip_grad_norm_

device, model, x, y = "cpu", nn.Linear(4, 3), ek.randn(6, 4), ek.arange(6) % 3
optimizer = ek.optim.Adam(model.parameters())
"""
# Run elsewhere, or not for a test: they need a run, a file of the user's, a browser, or all the time of a sweep.
NOT_HERE = ("resume", "sync", "data=csv", "-m ", "plugins=")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(command: list[str], folder: Path) -> str:
    """Output of a command in `folder`, with the checkout's expkit."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


MAIN = "import sys; from expkit.cli.main import main; sys.exit(main())"


def expkit(arguments: list[str], folder: Path) -> str:
    return run([sys.executable, "-c", MAIN, *arguments], folder)


def test_the_readme_has_examples():
    assert len(SCRIPTS) >= 3
    assert len(COMMANDS) >= 8
    assert set(FILES) == {"my_package/models.py", "conf/model/wide.yaml"}


@pytest.mark.parametrize("code", SCRIPTS, ids=range(len(SCRIPTS)))
def test_a_script_runs(code, tmp_path):
    (tmp_path / "script.py").write_text(code)
    run([sys.executable, "script.py"], tmp_path)


@pytest.mark.parametrize(("page", "code"), FRAGMENTS)
def test_a_fragment_runs(page, code, tmp_path):
    if "safetensors.torch" in code:  # what to do in PyTorch
        pytest.importorskip("torch")
        pytest.importorskip("safetensors")
        code = f"import torch\nmodel = torch.nn.Linear(4, 3)\n{code}"
    (tmp_path / "script.py").write_text(BEFORE + code)
    run([sys.executable, "script.py"], tmp_path)


@pytest.mark.parametrize("command", [c for c in COMMANDS if not any(word in c for word in NOT_HERE)])
def test_a_command_runs(command, tmp_path):
    arguments = shlex.split(command)[1:]
    if arguments[0] == "train" and "--cfg" not in arguments:
        arguments += ["logger=none", "trainer.max_epochs=1"]
    assert expkit(arguments, tmp_path)


def test_a_plugin_with_its_own_config_runs(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "conf" / ".expkit").touch()
    (command,) = [c for c in COMMANDS if "plugins=" in c]
    printed = expkit([*shlex.split(command)[1:], "logger=none", "trainer.max_epochs=1"], tmp_path)
    assert "test/acc" in printed
