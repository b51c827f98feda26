"""The code of the tables: what is written for which figures, who takes part, what the command line understands."""

import json
import math
import stat

import pytest

from benchmarks import commands, operations, processes, run, show
from benchmarks.options import Options
from benchmarks.training import agreement, first, memory, peers, speed
from benchmarks.training.workloads import WORKLOADS

OPTIONS = Options(rounds=3, seconds=0.1, threads=1, only=("lstm",), peers=("expkit", "torch"))


class Fake:
    """A worker that answers from a list, and notes in `turns` whose turn it was."""

    def __init__(self, name, answers, turns=None):
        self.name, self.answers, self.about = name, list(answers), {"version": "1"}
        self.turns = [] if turns is None else turns

    def ask(self, **request):
        self.turns.append(self.name)
        return self.answers.pop(0)

    def close(self):
        pass


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (2.5, "2.50 s"), (0.0125, "12.50 ms"), (3e-7, "0.30 us")])
def test_times_have_units_and_one_width(seconds, text):
    assert show.time_text(seconds).strip() == text
    assert len(show.time_text(seconds)) == 10


def test_memory_and_ratios():
    assert show.memory_text(3 * 2**20).strip() == "3 MB"
    assert show.memory_text(None).strip() == show.ratio_text(None).strip() == "-"


@pytest.mark.parametrize(
    ("told", "value", "limit", "text"),
    [
        (show.at_most, 0.9, 1.0, "at most 1x: kept"),
        (show.at_most, 1.1, 1.0, "at most 1x: NOT KEPT"),
        (show.at_most, math.nan, 1.0, "at most 1x: NOT KEPT"),
        (show.at_least, 1.6, 1.5, "at least 1.5x: kept"),
        (show.at_least, 1.4, 1.5, "at least 1.5x: NOT KEPT"),
        (show.at_most, None, 1.0, ""),
        (show.at_least, 1.0, None, ""),
    ],
)
def test_promises(told, value, limit, text):
    assert told(value, limit, "x") == text


def test_workers_change_places_and_one_that_failed_is_not_asked_again():
    turns = []
    good, bad = Fake("a", [{"seconds": s} for s in (1, 2, 3)], turns), Fake("b", [{"error": "no"}], turns)
    answers = processes.in_turns([good, bad], 3, "case", 0.1)
    assert turns == ["a", "b", "a", "a"]
    assert (show.middle(answers["a"]), show.middle(answers["b"]), show.middle([])) == (2, None, None)


def test_speed_is_measured_against_the_best_peer_and_no_mode_of_ours():
    assert speed.speed({"expkit": 2.0, "expkit-eager": 0.5, "torch": 3.0, "jax": None}) == 1.5
    assert speed.speed({"expkit": 2.0, "expkit-eager": 0.5}) is None
    assert speed.speed({"expkit": None, "torch": 3.0}) is None


def test_the_training_table(monkeypatch):
    answers = {"expkit": 1.0, "torch": 2.0}
    monkeypatch.setattr(speed, "Worker", lambda name, *_: Fake(name, [{"seconds": answers[name], "parameters": 7}] * 6))
    monkeypatch.setattr(speed, "installed", lambda names: ({name: peers.PEERS[name] for name in names}, ["left out"]))
    data = {}
    lines = list(speed.training(OPTIONS, data))
    assert lines[0] == "left out"
    assert [line.split()[0] for line in lines if "kept" in line] == ["lstm", "lstm_deep", "geometric"]
    assert "geometric mean of 1 of 6 reference rows: 2.00 at least 1.5x: kept" in lines
    assert "geometric mean of 1 of 14 other rows: 2.00" in lines
    assert len(data["rows"]["lstm"]["torch"]) == OPTIONS.rounds
    assert json.dumps(data)


def test_models_that_differ_are_pointed_out():
    same, other = [{"seconds": 1.0, "parameters": 5}], [{"seconds": 1.0, "parameters": 6}]
    assert not list(speed.different_work({"a": same, "b": same, "c": [{"none": "no such model"}]}))
    assert "NOT THE SAME" in next(speed.different_work({"a": same, "b": other}))


def test_agreement_is_measured_by_what_the_oracle_differs_from_itself():
    near, far = [2.0, 1.0], [2.0, 1.5]
    assert agreement.differences(near, far) == (0.0, 0.25)
    assert agreement.differences([], near) is None
    own = (1e-7, 1e-3)
    assert agreement.verdict([(0.0, 2e-3)], own).endswith(": kept")
    assert agreement.verdict([(0.0, 1e-6)], None).endswith(": kept")
    for found in ([(0.0, 5e-3)], [(1e-4, 1e-4)], [(0.0, math.nan)], [None]):
        assert "NOT KEPT" in agreement.verdict(found, own)
        assert agreement.row("lstm", found, own).startswith("lstm")
    assert "NOT KEPT" in agreement.verdict([(0.0, 2e-3)], None)


def test_the_memory_row_counts_what_the_imports_did_not_take():
    found = {"expkit": {"peak": 90 << 20, "imported": 50 << 20}, "torch": {"peak": 300 << 20, "imported": 200 << 20}}
    line = memory.row("lstm", found)
    assert [word for word in line.split() if word.isdigit()] == ["90", "40", "300", "100"]
    assert "0.30  at most 1x: kept" in line
    assert "kept" not in memory.row("lstm", {"expkit": {"error": "no"}, "torch": found["torch"]})


def test_first_calls_use_a_fresh_cache(monkeypatch):
    seen = []

    def once(name, case, *arguments, environment):
        seen.append((name, arguments[1], environment))
        return {"seconds": [1.0] * arguments[1]}

    monkeypatch.setattr(first, "once", once)
    assert first.seconds("expkit", "expkit", "lstm", 2) == {"cold": 1.0, "warm": 1.0}
    assert first.seconds("jax", "jax", "lstm", 2) == {"cold": 1.0}
    (_, calls, cold), (_, _, warm), (_, _, jax) = seen
    assert (calls, cold, jax) == (1, warm, {})
    assert list(cold) == ["EXPKIT_KERNEL_CACHE"]
    line = first.row("lstm", [2.0, 0.4, 1.0], {"expkit": {"cold": 2.0, "warm": 0.4}, "jax": {"cold": 1.0}})
    assert line.endswith("2.00  at most 1x: NOT KEPT; at most 0.5 s: kept")


def test_a_peer_whose_library_is_missing_is_left_out_and_said_so(monkeypatch, tmp_path):
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\nexit 1\n")
    empty.chmod(empty.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("EXPKIT_BENCH_JAX", str(empty))
    found, missing = peers.installed(("expkit", "jax"))
    assert list(found) == ["expkit"]
    assert len(missing) == 1
    assert str(empty) in missing[0]
    assert "EXPKIT_BENCH_JAX" in missing[0]


def test_memory_formats_are_for_images():
    fitting = {case for case, workload in WORKLOADS.items() if peers.PEERS["torch-nhwc"].fits(workload)}
    assert {"resnet20", "vgg"} <= fitting
    assert not {"lstm", "gpt_mini"} & fitting
    assert all(peers.PEERS["jax"].fits(workload) for workload in WORKLOADS.values())


def test_a_run_that_fails_is_an_error_and_not_the_end(monkeypatch, capsys):
    answer = peers.once("expkit-eager", "lstm", "--weights", "/nowhere.npz")
    assert "FileNotFoundError" in answer["error"]
    assert "lstm in expkit-eager" in capsys.readouterr().err


def test_a_row_of_the_operations_table(monkeypatch):
    times = {"expkit": 1.0, "torch": 2.0}
    monkeypatch.setattr(operations, "Worker", lambda name, _: Fake(name, [{"seconds": times[name]}] * 99))
    monkeypatch.setattr(operations.importlib.util, "find_spec", lambda name: name)
    lines = list(operations.eager(Options(1, 0.1, 1, ("tanh",), ()), {}))
    assert "0.50  at most 1x: kept" in lines[1]
    assert lines[-1] == "geometric mean of the 2 eager rows: 2.00 times PyTorch's speed"


def test_a_command_that_fails_is_reported(monkeypatch):
    def fails():
        raise commands.subprocess.CalledProcessError(3, "expkit", stderr=b"why\n")

    monkeypatch.setattr(commands, "COMMANDS", {"lstm": (fails, 0.5), "lstm too": (lambda: 0.25, 0.5)})
    lines = list(commands.commands(OPTIONS, {}))
    assert lines[0].endswith("status 3: why")
    assert lines[1].endswith("at most 0.5 s: kept")


@pytest.mark.parametrize(
    ("words", "tables", "names"),
    [
        ([], ["steps", "commands", "training"], ("expkit", "expkit-eager", "torch", "torch-nhwc", "jax")),
        (["--table", "memory", "--table", "first"], ["memory", "first"], peers.QUICK),
        (["--table", "all", "--peers", "all"], list(run.TABLES), tuple(peers.PEERS)),
        (["--clock", "cpu"], ["steps", "eager"], peers.QUICK),
        (["--peers", "expkit,jax"], list(run.DEFAULT), ("expkit", "jax")),
    ],
)
def test_the_command_line(words, tables, names):
    arguments = run.arguments_of(words)
    assert (arguments.table, arguments.peers) == (tables, names)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--peers", "expkit,tensorflow"], "tensorflow: not among"),
        (["--table", "nope"], "invalid choice"),
        (["--clock", "cpu", "--table", "training"], "--clock cpu is for"),
    ],
)
def test_wrong_command_lines_are_refused(words, why, capsys):
    with pytest.raises(SystemExit):
        run.arguments_of(words)
    assert why in capsys.readouterr().err


def test_figures_are_saved_and_lines_shown_as_they_come(monkeypatch, tmp_path, capsys):
    def table(options, data):
        data["versions"] = {"expkit": "1.0"}
        yield "a line"

    monkeypatch.setattr(run, "TABLES", {"steps": table})
    monkeypatch.setattr(run, "ROOT", tmp_path)
    data = {}
    run.show("steps", OPTIONS, data)
    assert capsys.readouterr().out.splitlines() == ["", "steps:", "a line", "expkit 1.0"]
    assert json.loads(run.save({"tables": {"steps": data}}).read_text())["tables"]["steps"] == data
