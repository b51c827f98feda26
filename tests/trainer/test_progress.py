"""The progress bar: speed, time left, and how seldom it is drawn."""

import io

import pytest

from expkit.trainer import LambdaCallback, RichProgressBar, console
from expkit.trainer.callbacks import progress
from tests.trainer.conftest import loader, net


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def screen(monkeypatch):
    file = io.StringIO()
    for name, value in {"_file": file, "_force_terminal": True, "_width": 140, "is_interactive": True}.items():
        monkeypatch.setattr(console.console, name, value)
    monkeypatch.setitem(console.console._environ, "TERM", "xterm")
    return file


def ticking(clock, seconds):
    def tick(trainer, task, batch, batch_idx):
        clock[0] += seconds

    return LambdaCallback(on_train_batch_start=tick)


def test_pace(clock):
    pace = progress.Pace(total=100)
    assert str(pace) == ""
    for done in range(1, 81):
        clock[0] += 0.1 if done > 20 else 5.0  # what is long ago does not count
        pace.look(clock[0], done)
    assert pace.rate == pytest.approx(10.0)
    assert str(pace) == "10 batches/s, 0:00:02 left"
    clock[0] += 600
    pace.look(clock[0], 81)
    assert str(pace).startswith("12.3 s a batch, 0:03:5")
    assert str(progress.Pace(None)) == ""


def test_a_bar_shows_speed_and_time_left(trainer, clock, screen):
    trainer(callbacks=[ticking(clock, 0.5), RichProgressBar()], enable_progress_bar=True).fit(net(), loader(80))
    drawn = [line for line in screen.getvalue().split("\r") if "/10" in line]
    assert any("2 batches/s, 0:00:02 left" in line and " 6/10 " in line for line in drawn)
    assert "train/loss" in drawn[-1]


def test_a_bar_is_drawn_seldom(trainer, clock, screen):
    trainer(callbacks=[ticking(clock, 0.05), RichProgressBar()], enable_progress_bar=True).fit(net(), loader(800))
    drawn = {line.partition("/100 ")[0].split()[-1] for line in screen.getvalue().split("\r") if "/100 " in line}
    assert 20 <= len(drawn) <= 35  # of 100 batches in 5 seconds
    assert "100" in drawn


def test_long_epochs_tell_how_far_they_are_without_a_terminal(trainer, clock, caplog):
    callbacks = [ticking(clock, 10.0), RichProgressBar()]
    trainer(callbacks=callbacks, enable_progress_bar=True, max_epochs=2).fit(net(), loader(80))
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("epoch ")]
    parts = [line.split("  ") for line in lines]
    looks = ["batch 3/10", "batch 6/10", "batch 9/10"]
    assert [part[1] for part in parts] == [*looks, "step 10", *looks, "step 20"]
    assert parts[1][2] == "10 s a batch, 0:00:40 left"
    assert parts[3][-1] == "0:01:40 left"
    assert "left" not in lines[-1]


def test_a_refresh_rate_of_zero_shows_nothing(trainer, caplog, screen):
    trainer(callbacks=RichProgressBar(refresh_rate=0), enable_progress_bar=True).fit(net(), loader())
    assert "epoch " not in caplog.text
    assert screen.getvalue() == ""
