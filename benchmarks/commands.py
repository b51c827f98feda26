"""How long a user waits for the command line: start-up of short commands, and the first training step."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.options import Options
from benchmarks.show import at_most, time_text
from benchmarks.timing import median

EXPKIT = [str(Path(sys.executable).with_name("expkit"))]  # the command that users type
TRAIN = [*EXPKIT, "train", "model=mlp", "optim=adam", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]


def command_seconds(*arguments: str) -> float:
    """Wall-clock seconds of `expkit ARGUMENTS`, from start to exit."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([*EXPKIT, *arguments], cwd=folder, check=True, capture_output=True)
        return time.perf_counter() - start


def first_step_seconds() -> float:
    """Seconds from the command to the first training metric in the run's journal (the default tracking is on)."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "EXPKIT_SYNC_TIMEOUT": "60"}
        start = time.time()
        subprocess.run(TRAIN, cwd=folder, env=environment, check=True, capture_output=True)
        return first_metric_time(Path(folder)) - start


def first_metric_time(folder: Path) -> float:
    """The moment, in seconds since the epoch, that the journal gives for the first logged `train/loss`."""
    for journal in sorted(folder.glob("outputs/**/metrics.jsonl")):
        for line in journal.read_text().splitlines():
            record = json.loads(line)
            if any(name.startswith("train/loss") for name in record.get("metrics", ())):
                return record["t"] / 1000
    raise LookupError(f"no train/loss in any metrics.jsonl below {folder}")


COMMANDS: dict[str, tuple[Callable[[], float], float]] = {  # how it is timed, and the seconds that it may take
    "expkit --help": (lambda: command_seconds("--help"), 0.5),
    "expkit ls": (lambda: command_seconds("ls"), 0.5),
    "first training step": (first_step_seconds, 3.0),
}


def commands(options: Options, data: dict) -> Iterator[str]:
    """The table of commands, half as many rounds as the others have."""
    for name, (run, limit) in COMMANDS.items():
        if options.chosen(name):
            try:
                data[name] = [run() for _ in range(max(1, options.rounds // 2))]
            except subprocess.CalledProcessError as error:
                yield f"{name:58} status {error.returncode}: {(error.stderr.decode().splitlines() or [''])[-1]}"
                continue
            seconds = median(data[name])
            yield f"{name:58} {time_text(seconds)} {'':>10} {'':>6}  {at_most(seconds, limit, ' s')}"
