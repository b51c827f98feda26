"""Completion: the candidates, and the shells' scripts run by the shells that are there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from expkit.cli import completion
from expkit.cli.verbs import VERBS

CASES = {
    "expkit ": {"train", "eval", "doctor", "--help"},
    "expkit e": {"eval"},
    "expkit train --mul": {"--multirun"},
    "expkit graph --": {"--html", "--svg", "--json", "--config-dir", "--help"},
    "expkit train -c ": {"job", "hydra", "all"},
    "expkit eval last --split ": {"test", "val", "train", "all"},
    "expkit train mod": {"model="},
    "expkit train model": {"model=", "model."},
    "expkit train model=cn": {"model=cnn"},
    "expkit train -m model=mlp,cn": {"model=mlp,cnn"},
    "expkit train optim=sgd optim.mom": {"optim.momentum="},
    "expkit train experiment=digits_cnn model.ch": {"model.channels="},
    "expkit train callbacks.early_stopping.pat": {"callbacks.early_stopping.patience="},
    "expkit train trainer.deterministic=": {"trainer.deterministic=true", "trainer.deterministic=false"},
    "expkit train optim.lr=": {"optim.lr=0.001"},
    "expkit train model.hidden=": {"model.hidden=[256,256]"},
    "expkit train ~callb": {"~callbacks="},
    "expkit train +sche": {"+scheduler="},
    "expkit train see": {"seed="},
    "expkit train --config-dir mine model=sm": {"model=small"},
    "expkit train model=mi": {"model=mine"},
    "expkit plan data=w": {"data=wine"},
    "expkit resume ": {"last", "2026-01-02_00-00-00", "m/0"},
    "expkit eval 2026": {"2026-01-02_00-00-00"},
    "expkit eval last data.batch": {"data.batch_size="},
    "expkit diff last ": {"last", "m/0"},
    "expkit ls ": {"model", "callbacks", "metrics", "runs"},
    "expkit show ": {"model", "last"},
    "expkit show model ml": {"mlp"},
    "expkit schema ": {"config", "optim"},
    "expkit completion ": {"bash", "zsh", "fish"},
    "/usr/bin/expkit train mod": {"model="},
}
NOTHING = [
    "expkit trian mo",
    "expkit ls model ",
    "expkit doctor ",
    "expkit train --config-dir ",
    "expkit predict last --input ",
]


@pytest.fixture
def place(workdir):
    """A working directory with runs and configs of its own."""
    for name in ("train/runs/2026-01-02_00-00-00", "train/multiruns/m/0"):
        (workdir / "outputs" / name).mkdir(parents=True)
    for folder, name in (("mine", "small"), ("conf", "mine")):
        (workdir / folder / "model").mkdir(parents=True)
        (workdir / folder / "model" / f"{name}.yaml").write_text("name: mlp\n")
    (workdir / "conf" / ".expkit").write_text("")
    return workdir


@pytest.mark.parametrize(("line", "offered"), CASES.items())
def test_candidates(place, line, offered):
    found = completion.candidates(line)
    word = "" if line.endswith(" ") else line.split()[-1]
    assert offered <= set(found)
    assert all(candidate.startswith(word) for candidate in found)


@pytest.mark.parametrize("line", NOTHING)
def test_where_there_is_nothing_to_offer(place, line):
    assert completion.candidates(line) == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_offers_its_flags(place, verb):
    assert "--help" in completion.candidates(f"expkit {verb} --")


@pytest.mark.parametrize("content", ["a: [\n", "\xff\xfe", "- a list\n"])
def test_broken_files_offer_nothing_and_break_nothing(place, content):
    (place / "conf" / "model" / "mine.yaml").write_text(content)
    (place / "conf" / "config.yaml").write_text(content)
    assert completion.candidates("expkit train model=mine model.") == []


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_scripts_are_printed_and_undone(expkit, shell):
    assert expkit("completion", shell).out == expkit("-sc", f"install={shell}").out == completion.SCRIPTS[shell]
    assert expkit("-sc", f"uninstall={shell}").out == completion.UNDO[shell]


def test_a_shell_that_is_none(expkit):
    code, _, err = expkit("completion", "tcsh")
    assert code == 2
    assert "there is no completion for 'tcsh'" in err


def test_a_key_press_loads_neither_hydra_nor_the_engine(place):
    program = (
        "import os, sys; os.environ['COMP_LINE'] = 'expkit train optim.'\n"
        "from expkit.cli.main import main; main(['-sc', 'query=bash'])\n"
        "print([n for n in ('numpy', 'hydra', 'omegaconf', 'expkit.tensor', 'expkit.tracking') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[0] == "optim.name="
    assert done.stdout.splitlines()[-1] == "[]"


BASH = """
{script}
expkit() {{ "{python}" -m expkit.cli.main "$@"; }}
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=(expkit); COMPREPLY=()
_expkit
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("expkit do", ["doctor "]),
        ("expkit train model=cn", ["cnn "]),
        ("expkit train optim.lr=", ["0.001 "]),
        ("expkit train seed=3 optim.l", ["optim.lr="]),
        ("expkit train trainer.compil", ["trainer.compile="]),
    ],
)
def test_in_bash(place, line, replies):
    """What readline gets: the part behind the last =, with a space where the word is complete."""
    script = BASH.format(script=completion.BASH, python=sys.executable, line=line)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, cwd=place, check=True)
    assert done.stdout.splitlines() == replies


@pytest.mark.parametrize(("shell", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")])
def test_the_shell_can_read_its_script(tmp_path: Path, shell, check):
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    (tmp_path / "script").write_text(completion.SCRIPTS[shell])
    subprocess.run([shell, check, str(tmp_path / "script")], timeout=30, check=True)


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_in_fish(place):
    program = (
        f"function expkit; {sys.executable} -m expkit.cli.main $argv; end\n{completion.FISH}\ncomplete -C 'expkit do'"
    )
    done = subprocess.run(["fish", "-c", program], capture_output=True, text=True, timeout=60, cwd=place, check=True)
    assert done.stdout.split() == ["doctor"]


ZSH = """
compdef() {{ }}
_files() {{ print FILES }}
compadd() {{
    while [[ $1 == -* ]]; do [[ $1 == -S ]] && shift; [[ $1 == -- ]] && {{ shift; break }}; shift; done
    print -l -- $@
}}
expkit() {{ "{python}" -m expkit.cli.main "$@" }}
{script}
words=({line}); CURRENT=$#words
_expkit
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("expkit do", ["doctor"]),
        ("expkit train model=cn", ["model=cnn"]),
        ("expkit train optim.l", ["optim.lr="]),
        ("expkit predict last --input ''", ["FILES"]),
    ],
)
def test_in_zsh(place, line, replies):
    """What the completion system is handed, its own functions stood in for."""
    program = ZSH.format(script=completion.ZSH, python=sys.executable, line=line)
    done = subprocess.run(["zsh", "-fc", program], capture_output=True, text=True, timeout=60, cwd=place, check=True)
    assert done.stdout.splitlines() == replies
