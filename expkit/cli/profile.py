"""`expkit profile`: what each kernel of the training step takes, against the machine's measured peaks."""

import importlib
from pathlib import Path
from typing import Any

from expkit.cli.arguments import CONFIG_FLAGS, Parser, compose, experiment_parser
from expkit.cli.output import print_json, remarks_aside, table
from expkit.cli.units import count_text, time_text
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit profile [group=option ...] [key=value ...] [flags]

Compiles the training step of an experiment, runs it some times on its data, and says what each kernel takes: time,
operations and bytes a second, and how near that is to what the machine can do (`of roof`: the shortest time for its
operations or its bytes, whichever is longer, as a share of the time it took). The peaks are measured, too.

  expkit profile model=cnn
  expkit profile model=cnn --svg roofline.svg

Flags:
      --steps N             steps that are timed (default 10)
      --svg FILE            write a roofline picture
      --json                everything as JSON, in seconds, operations and bytes
"""


def usage() -> str:
    """The text of `expkit profile --help`."""
    return USAGE + CONFIG_FLAGS


def parser() -> Parser:
    """What `expkit profile` understands."""
    made = experiment_parser("profile")
    made.add_argument("--steps", type=int, default=10)
    made.add_argument("--svg")
    return made


def run(argv: list[str]) -> int:
    """Runs the steps and prints the profile; the exit code."""
    given = parser().parse_intermixed_args(argv)
    if given.steps < 1:
        raise ConfigError(f"--steps {given.steps}: at least 1 is needed.")
    if given.svg is not None and not Path(given.svg).absolute().parent.is_dir():
        raise ConfigError(f"{given.svg}: the folder {Path(given.svg).absolute().parent} does not exist.")
    composed = compose(given)
    with remarks_aside(given.json):
        found = importlib.import_module("expkit.trainer.profiling").make_profile(composed, given.steps)
    if given.svg is not None:
        Path(given.svg).write_text(picture(found))
    if given.json:
        print_json(found.as_dict())
    else:
        show(found)
    return 0


def picture(found: Any) -> str:
    """The roofline of a profile, as SVG."""
    roofline = importlib.import_module("expkit.compiler.roofline")
    points = [roofline.Point(f"{r.name} {r.shape}", r.seconds, r.flops, r.bytes) for r in found.rows]
    title = f"a training step: {time_text(found.step)}, kernels {time_text(found.kernels)}"
    return roofline.roofline(points, found.peaks.flops, found.peaks.bandwidth, title)


def show(found: Any) -> None:
    """The kernels as a table, then the sums."""
    peaks = found.peaks
    rows = [
        (r.name, r.shape, str(r.runs), time_text(r.seconds), f"{r.seconds / found.kernels:.1%}",
         count_text(r.flops / r.seconds, "FLOP/s"), count_text(r.bytes / r.seconds, "B/s"),
         f"{peaks.least(r.flops, r.bytes) / r.seconds:.0%}")
        for r in found.rows
    ]  # fmt: skip
    table(("kernel", "result", "runs", "time", "share", "operations", "memory", "of roof"), rows)
    print()
    table(("", ""), [
        ("a step", f"{time_text(found.step)} compiled, {time_text(found.eager)} eager, {found.batch_size:,} samples"),
        ("all kernels", f"{time_text(found.kernels)}, one after the other"),
        ("the machine", f"{count_text(peaks.flops, 'FLOP/s')}, {count_text(peaks.bandwidth, 'B/s')}, as measured"),
    ])  # fmt: skip
