"""The journal: what is written can be read again, whatever ended the writer."""

import json
import math
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from expkit.errors import TrackingError
from expkit.tracking.journal import NAME, Journal, has_ended, history, lines, rows, size


def records(run_dir: Path) -> list[dict | None]:
    return [record for _, record in lines(run_dir / NAME)]


def kinds(run_dir: Path) -> list[str]:
    known = {"start", "metrics", "params", "tags", "experiment_tags", "artifact", "dataset", "end"}
    return [next(iter(known & record.keys())) if record else "?" for record in records(run_dir)]


def test_a_metric_comes_back_with_step_epoch_and_time(tmp_path):
    journal = Journal(tmp_path)
    journal.log_metrics({"train/loss": 0.1, "lr": 1 / 3}, step=12, epoch=1)
    (row,) = rows(tmp_path)
    assert row[1:] == (12, 1, {"train/loss": 0.1, "lr": 1 / 3})
    assert abs(row.t - records(tmp_path)[0]["t"]) < 1000
    journal.close()


def test_the_step_defaults_to_the_last_one(tmp_path):
    journal = Journal(tmp_path)
    for step in (None, 5, None):
        journal.log_metrics({"a": 1}, step)
    assert [row.step for row in rows(tmp_path)] == [0, 5, 5]
    journal.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, 5e-324, 0.1 + 0.2, -0.0, 7])
def test_numbers_survive_exactly_and_the_file_stays_strict_json(tmp_path, value):
    journal = Journal(tmp_path)
    journal.log_metrics({"a": value})
    journal.close()
    (row,) = rows(tmp_path)
    assert math.isnan(row.values["a"]) if math.isnan(value) else row.values["a"] == value

    def refuse(word):
        raise AssertionError(word)

    for line in (tmp_path / NAME).read_text().splitlines():
        json.loads(line, parse_constant=refuse)


class Scalar:
    """Stands for a 0-d tensor: all that the journal asks of it is float()."""

    def __float__(self):
        return 2.5


def test_whatever_float_takes_is_a_metric(tmp_path):
    journal = Journal(tmp_path)
    journal.log_metrics({"a": Scalar(), "b": True})
    assert next(rows(tmp_path)).values == {"a": 2.5, "b": 1.0}
    journal.close()


@pytest.mark.parametrize("value", [None, "much", [1.0], {}])
def test_a_metric_that_is_no_number_is_named(tmp_path, value):
    with pytest.raises(TrackingError, match=r"metric 'val/acc': .* is not a number"):
        Journal(tmp_path).log_metrics({"val/acc": value})


def test_every_kind_of_record(tmp_path):
    journal = Journal(tmp_path / "new" / "run")
    (tmp_path / "data.csv").touch()
    journal.log_params({"optim": {"lr": 0.1, "betas": [0.9, 0.99]}, "seed": None, "empty": {}})
    journal.set_tags({"n": 1})
    journal.set_experiment_tags({"x": "y"})
    journal.log_artifact(journal.run_dir / "config.yaml")
    journal.log_artifact(tmp_path / "data.csv", "data")
    journal.log_dataset("digits", "ab" * 30, profile={"rows": 3})
    journal.finalize("KILLED")
    params, tags, experiment, inside, outside, dataset = records(journal.run_dir)[1:-1]
    assert params["params"] == {"optim.lr": "0.1", "optim.betas": "[0.9, 0.99]", "seed": "None", "empty": "{}"}
    assert (tags["tags"], experiment["experiment_tags"]) == ({"n": "1"}, {"x": "y"})
    assert (inside["artifact"], inside["to"]) == ("config.yaml", None)
    assert (outside["artifact"], outside["to"]) == (str(tmp_path / "data.csv"), "data")
    assert dataset["dataset"]["digest"] == "ab" * 18
    assert kinds(journal.run_dir)[0] == "start"
    assert kinds(journal.run_dir)[-1] == "end"


def test_a_final_status_must_be_one_of_mlflows(tmp_path):
    with pytest.raises(TrackingError, match=r"'done' is no final status. Legal: FINISHED, FAILED, KILLED"):
        Journal(tmp_path).finalize("done")


def test_what_comes_after_the_end_begins_the_run_again(tmp_path):
    journal = Journal(tmp_path)
    assert not has_ended(tmp_path)
    journal.finalize("FINISHED")
    assert has_ended(tmp_path)
    assert not journal.is_open
    journal.log_metrics({"a": 1})
    assert not has_ended(tmp_path)
    journal.close()
    assert kinds(tmp_path) == ["start", "end", "start", "metrics"]


# ------------------------------------------------------------------------------------------- torn and foreign lines

TORN = '{"t": 3, "step": 2, "metrics": {"a": 0.'
WHOLE = '{"t": 3, "step": 2, "epoch": null, "metrics": {"a": 9.0}}'


def write_lines(run_dir: Path, *texts: str) -> Path:
    path = run_dir / NAME
    path.write_text("".join(texts))
    return path


ROW = '{"t": 1, "step": 1, "metrics": {"a": 1.0}}\n'


@pytest.mark.parametrize("tail", [TORN, WHOLE, '{"t": 1', "\0" * 10, "é"])
def test_a_reader_leaves_a_line_without_newline_alone(tmp_path, tail):
    path = write_lines(tmp_path, ROW, tail)
    assert [offset for offset, _ in lines(path)] == [len(ROW)]
    assert size(tmp_path) == len(ROW)


@pytest.mark.parametrize(
    ("tail", "values"), [(TORN, [1.0, 5.0]), (WHOLE, [1.0, 9.0, 5.0]), ("x" * 200_000, [1.0, 5.0])]
)
def test_the_next_writer_mends_the_end(tmp_path, tail, values):
    write_lines(tmp_path, ROW, tail)
    journal = Journal(tmp_path)
    journal.log_metrics({"a": 5})
    journal.close()
    assert [row.values["a"] for row in rows(tmp_path)] == values
    assert None not in records(tmp_path)


@pytest.mark.parametrize("bad", ["nonsense\n", "[1]\n", '{"no": "time"}\n', "\0\0\n", "\n"])
def test_a_line_that_is_no_record_is_passed_over_and_shown_as_such(tmp_path, bad):
    write_lines(tmp_path, ROW, bad, ROW)
    assert [record is None for record in records(tmp_path)] == [False, True, False]
    assert len(list(rows(tmp_path))) == 2


def test_tailing_gives_each_record_once(tmp_path):
    journal, offset, seen = Journal(tmp_path), 0, []
    for step in range(5):
        journal.log_metrics({"a": step}, step)
        new = list(lines(tmp_path / NAME, offset))
        seen += [record.get("step") for _, record in new]
        offset = new[-1][0]
    assert seen == [None, 0, 1, 2, 3, 4]
    journal.close()


def test_no_journal_reads_as_an_empty_one(tmp_path):
    assert (list(rows(tmp_path)), history(tmp_path), size(tmp_path), has_ended(tmp_path)) == ([], {}, 0, False)


WRITER = """
import sys
from expkit.tracking.journal import Journal
journal = Journal(sys.argv[1])
journal.open()
print("ready", flush=True)
for step in range(10**9):
    journal.log_metrics({"a": step, "b": step / 7}, step)
"""


def test_a_killed_writer_loses_no_line_that_it_wrote(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        while size(tmp_path) < 50_000:
            pass
        writer.send_signal(signal.SIGKILL)
    journal = Journal(tmp_path)
    journal.log_metrics({"a": -1}, 0)
    journal.close()
    steps = [row.step for row in rows(tmp_path)]
    assert steps == [*range(len(steps) - 1), 0]
    assert None not in records(tmp_path)


def test_one_process_writes_a_run_at_a_time(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        with pytest.raises(TrackingError, match="another process is writing this run"):
            Journal(tmp_path).open()
        writer.kill()
    Journal(tmp_path).finalize("FAILED")
    assert has_ended(tmp_path)


def test_a_process_takes_over_from_itself(tmp_path):
    first, second = Journal(tmp_path), Journal(tmp_path)
    first.log_metrics({"a": 1})
    second.log_metrics({"a": 2})
    assert not first.is_open
    second.close()
    assert [row.values["a"] for row in rows(tmp_path)] == [1, 2]


def test_threads_do_not_mix_their_lines(tmp_path):
    journal = Journal(tmp_path)

    def work(number):
        for step in range(200):
            journal.log_metrics({f"m{number}": step}, step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert None not in records(tmp_path)
    assert {name: len(points) for name, points in history(tmp_path).items()} == {f"m{n}": 200 for n in range(4)}


class FullDisk:
    """Takes `room` bytes, then says that the disk is full."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, data):
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        taken = self.file.write(data[: self.room])
        self.room -= taken
        return taken


def test_a_full_disk_is_an_error_that_leaves_no_torn_line(tmp_path):
    journal = Journal(tmp_path)
    journal.log_metrics({"a": 1})
    real = journal._file
    journal._file = FullDisk(real, 20)
    with pytest.raises(TrackingError, match=r"metrics.jsonl: cannot be written: No space left"):
        journal.log_metrics({"a": 2})
    journal._file = real
    journal.log_metrics({"a": 3})
    journal.close()
    assert [row.values["a"] for row in rows(tmp_path)] == [1, 3]


# --------------------------------------------------------------------------------------------------------- resuming


def test_a_resumed_run_journals_what_differs_and_nothing_twice(tmp_path):
    journal = Journal(tmp_path)
    for step in (1, 2, 3, 4):
        journal.log_metrics({"a": step, "b": math.nan}, step)
    journal.close()
    journal = Journal(tmp_path)
    journal.rewind(2)
    again = [journal.log_metrics({"a": step, "b": math.nan}, step) for step in (3, 4, 5)]
    differs = journal.log_metrics({"a": 40}, 4)
    journal.finalize("FINISHED")
    assert (again, differs) == ([False, False, True], True)
    assert [(row.step, row.values["a"]) for row in rows(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (4, 40)]
    assert history(tmp_path)["a"] == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 5)]
