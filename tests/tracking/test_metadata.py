"""Where a run came from: git, command, versions, without ever failing a run."""

import json
import os
import subprocess
import sys

import pytest

from expkit.tracking import metadata


def git(folder, *arguments):
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    name = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    done = subprocess.run(
        ["git", *name, *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "a.txt").write_text("1")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "first")
    git(tmp_path, "remote", "add", "origin", "https://me:secret@example.org/me/project.git")
    return tmp_path


def test_a_clean_working_tree(repo):
    assert metadata.git_state(str(repo)) == {
        "commit": git(repo, "rev-parse", "HEAD"),
        "branch": "trunk",
        "dirty": False,
        "repo": "https://me:***@example.org/me/project.git",
    }


def test_local_changes_detached_head_and_untracked_files(repo):
    (repo / "new.txt").write_text("untracked files do not count")
    assert metadata.git_state(str(repo))["dirty"] is False
    (repo / "a.txt").write_text("2")
    git(repo, "checkout", "-q", "--detach")
    state = metadata.git_state(str(repo))
    assert (state["dirty"], state["branch"]) == (True, "")


def test_a_repository_without_commits_and_without_remote(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")
    assert metadata.git_state(str(tmp_path)) == {"commit": "", "branch": "trunk", "dirty": False, "repo": ""}


def test_no_repository_and_no_git_are_no_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert metadata.git_state(str(tmp_path)) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert metadata.git_state(str(tmp_path)) == {}


def test_a_git_that_hangs_is_left_behind(tmp_path, monkeypatch):
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nexec sleep 30\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(metadata, "GIT_TIMEOUT", 0.1)
    assert metadata.git_state(str(tmp_path)) == {}


def test_collected_data_is_plain_and_names_the_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/bin/expkit", "train", "logger.tracking_uri=http://me:secret@host", "a=b c"])
    collected = metadata.write(tmp_path)
    assert json.loads((tmp_path / "environment.json").read_text()) == collected
    assert collected["command"] == "expkit train logger.tracking_uri=http://me:***@host 'a=b c'"
    assert "secret" not in collected["command"]
    assert collected["python"] == ".".join(map(str, sys.version_info[:3]))
    assert collected["packages"]["pytest"] == pytest.__version__
    assert collected["numpy"]


def test_the_packages_are_those_of_the_metadata():
    from importlib.metadata import version

    found = metadata.packages()
    for name in ("numpy", "pytest", "hydra-core", "mlflow"):
        assert found[name] == version(name)


def test_tags_for_mlflow(tmp_path):
    git = {"commit": "c" * 40, "branch": "trunk", "dirty": True, "repo": "https://example.org/p"}
    tags = metadata.tags({**metadata.collect(), "git": git, "program": "/opt/bin/expkit"}, tmp_path)
    assert tags["mlflow.source.name"] == "expkit"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["mlflow.source.git.commit"] == "c" * 40
    assert tags["mlflow.source.git.branch"] == "trunk"
    assert tags["mlflow.source.git.dirty"] == "true"
    assert tags["mlflow.source.git.repoURL"] == "https://example.org/p"
    assert "`cccccccccccc` (trunk, with local changes)" in tags["mlflow.note.content"]
    assert str(tmp_path) in tags["mlflow.note.content"]


def test_tags_without_git(tmp_path):
    tags = metadata.tags({**metadata.collect(), "git": {}}, tmp_path)
    assert not [name for name in tags if name.startswith("mlflow.source.git")]
    assert all(tags.values())


def test_a_user_id_without_a_name(monkeypatch):
    def fail():
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", fail)
    assert metadata.user() == "unknown"
