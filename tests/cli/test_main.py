"""Verbs, help, exit codes, and how errors look."""

import pytest

from expkit.cli import main as cli
from expkit.cli import ui
from expkit.errors import CheckpointError, ConfigError, NonFiniteError, did_you_mean
from expkit.trainer import Interrupted


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",), ("help",)])
def test_help_names_every_verb_and_setting(expkit, argv):
    code, out, err = expkit(*argv)
    assert (code, err) == (0, "")
    assert not [word for word in (*cli.VERBS, "EXPKIT_DEBUG", "--version") if word not in out]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(expkit, verb):
    code, out, err = expkit(verb, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: expkit {verb}")


def test_of_close_words_the_one_that_was_begun_comes_first():
    assert did_you_mean("digits_cn", ["digits_tcn", "digits_cnn"]) == " Did you mean 'digits_cnn' or 'digits_tcn'?"


def test_help_of_a_verb(expkit):
    assert expkit("help", "plan") == expkit("plan", "--help")
    code, _, err = expkit("help", "pln")
    assert code == 2
    assert "Did you mean 'plan'" in err


def test_version(expkit):
    code, out, _ = expkit("--version")
    assert code == 0
    assert out.startswith("expkit ")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("trian",), "there is no verb 'trian'. Did you mean 'train'?"),
        (("model=cnn", "seed=1"), "write `expkit train model=cnn seed=1`"),
        (("-m", "seed=1,2"), "write `expkit train -m seed=1,2`"),
        (("ls", "--fast"), "expkit ls: '--fast' is not understood"),
        (("ls", "model", "mlp"), "'mlp' is not understood"),
        (("show", "model"), "expkit show model: which one? `expkit ls model` lists them."),
        (("show",), "expkit show: the following arguments are required: group"),
        (("ui", "--port", "high"), "expkit ui: argument --port: invalid int value: 'high'"),
        (("ui", "--port", "70000"), "a port is a number from 1 to 65535"),
        (("sync", "nowhere"), "sync nowhere: there is no such folder"),
        (("-sc", "instal=bash"), "Did you mean 'install'"),
        (("-sc", "query=tcsh"), "no completion for 'tcsh'"),
    ],
)
def test_bad_command_lines(expkit, monkeypatch, argv, said):
    monkeypatch.setenv("COMP_LINE", "expkit train ")
    code, out, err = expkit(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("ConfigError: ")
    assert said in err


def test_sync_of_nothing(expkit, workdir):
    (workdir / "outputs").mkdir()
    assert expkit("sync") == (0, "no tracked runs found\n", "")


@pytest.fixture
def failing(monkeypatch):
    def fail_with(error):
        def run(argv):
            raise error

        monkeypatch.setattr(ui, "run", run)

    return fail_with


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (ConfigError("no"), 2, "ConfigError: no\n"),
        (OSError(28, "No space left", "a.json"), 1, "OSError: [Errno 28] No space left: 'a.json'\n"),
        (MemoryError("8 TiB"), 1, "MemoryError: 8 TiB\n"),
        (CheckpointError("torn"), 2, "CheckpointError: torn\n"),
        (NonFiniteError("nan"), 1, "NonFiniteError: nan\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (Interrupted(2), 130, "interrupted by SIGINT\n"),
        (Interrupted(15, "last"), 143, "interrupted by SIGTERM; the state is in last\n"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(expkit, failing, error, code, shown):
    failing(error)
    assert expkit("ui") == (code, "", shown)


def test_debug_shows_the_traceback(expkit, failing, monkeypatch):
    monkeypatch.setenv("EXPKIT_DEBUG", "1")
    failing(ConfigError("no"))
    code, _, err = expkit("ui")
    assert code == 2
    assert "Traceback" in err
    assert err.rstrip().endswith("ConfigError: no")


def test_a_bug_keeps_its_traceback(expkit, failing):
    failing(ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        expkit("ui")


def test_a_setting_of_the_wrong_kind(expkit, monkeypatch):
    monkeypatch.setenv("EXPKIT_SYNC_TIMEOUT", "soon")
    code, _, err = expkit("ls")
    assert code == 2
    assert "EXPKIT_SYNC_TIMEOUT='soon': expected float" in err
