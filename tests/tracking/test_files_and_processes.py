"""Locks die with their holder, JSON files are never seen half-written, and the dead are told from the living."""

import errno
import os
import stat
import subprocess
import sys
import threading
import time

import pytest

from expkit.errors import TrackingError
from expkit.tracking import files
from expkit.tracking.files import locked, read_json, try_lock, write_json
from expkit.tracking.process import SILENCE, alive, identity, started

HOLDER = """
import sys, time
from pathlib import Path
from expkit.tracking.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_until_its_holder_dies(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(TrackingError, match="another process has held this lock"), locked(path, timeout=0.1):
            pass
        holder.kill()
        holder.wait()
        with locked(path, timeout=5):
            pass


def test_where_a_file_system_has_no_locks_a_file_of_the_machine_stands_in(tmp_path, monkeypatch):
    shared, local = tmp_path / "shared", tmp_path / "local"
    for folder in (shared, local):
        folder.mkdir()

    def no_locks_on_shared(file):
        if file.name.startswith(str(shared)):
            raise OSError(errno.ENOLCK, "No locks available")
        return try_lock(file)

    monkeypatch.setattr(files, "try_lock", no_locks_on_shared)
    monkeypatch.setattr("tempfile.tempdir", str(local))
    with locked(shared / "lock"), pytest.raises(TrackingError), locked(shared / "lock", timeout=0.1):
        pass
    with locked(shared / "lock"), locked(shared / "other", timeout=0.1):
        pass


def test_a_reader_sees_old_or_new_json_and_nothing_else(tmp_path):
    path, stop, seen = tmp_path / "x.json", threading.Event(), set()
    write_json(path, {"n": [0] * 5000})

    def read():
        while not stop.is_set():
            seen.add(str(read_json(path) and len(read_json(path)["n"])))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        write_json(path, {"n": [number] * 5000})
    stop.set()
    reader.join()
    assert seen == {"5000"}
    assert os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize(("text", "value"), [('{"a": 1}', {"a": 1}), ("[1]", None), ("", None), ('{"a"', None)])
def test_reading_json(tmp_path, text, value):
    (tmp_path / "x.json").write_text(text)
    assert read_json(tmp_path / "x.json") == value
    assert read_json(tmp_path / "missing.json") is None


def test_private_files_are_for_the_user_alone(tmp_path):
    write_json(tmp_path / "x.json", {}, private=True)
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o600


def test_this_process_lives(tmp_path):
    assert alive(identity(), tmp_path)
    assert not alive(None, tmp_path)


def test_a_dead_process_is_dead_even_before_its_parent_looks(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = identity(process.pid)
    assert alive(who, tmp_path)
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it ended, and is a zombie
    assert not alive(who, tmp_path)
    process.wait()
    assert started(process.pid) is None
    assert not alive(who, tmp_path)


def test_another_process_with_the_pid_of_a_dead_one_is_not_it(tmp_path):
    assert not alive({**identity(), "started": "1"}, tmp_path)


@pytest.mark.parametrize(
    ("says", "answer"),
    [("S+ Mon Nov 23 10:00:00 2026", "Mon Nov 23 10:00:00 2026"), ("Z Mon Nov 23 10:00:00 2026", None), ("", None)],
)
def test_where_there_is_no_proc_ps_is_asked(tmp_path, monkeypatch, says, answer):
    fake = tmp_path / "ps"
    fake.write_text(f"#!/bin/sh\necho '{says}'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert started(os.getpid()) == answer


@pytest.mark.parametrize(("age", "lives"), [(0, True), (SILENCE * 0.9, True), (SILENCE * 1.1, False)])
def test_a_process_of_another_machine_lives_while_it_writes(tmp_path, age, lives):
    journal = tmp_path / "metrics.jsonl"
    journal.touch()
    os.utime(journal, (time.time() - age,) * 2)
    who = {**identity(), "host": "elsewhere"}
    assert alive(who, journal) == lives
    assert not alive(who, tmp_path / "missing")
