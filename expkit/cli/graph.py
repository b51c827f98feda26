"""`expkit graph`: a picture of the whole training step as it is compiled, with what each kernel costs."""

import importlib
from pathlib import Path
from typing import Any

from expkit.cli.arguments import CONFIG_FLAGS, Parser, compose, experiment_parser
from expkit.cli.output import print_json, remarks_aside, table
from expkit.cli.units import bytes_text, count_text
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit graph [group=option ...] [key=value ...] [flags]

Traces one training step (forward, backward, update), without allocating it, and draws the kernels that it is compiled
to: a row for each module, boxes with shapes, floating-point operations and bytes, arrows with what goes from one to the
other. Without a file the kernels are listed.

  expkit graph model=cnn --html step.html
  expkit graph model=cnn --svg step.svg
  expkit graph model=cnn

Flags:
      --html FILE           write the picture as a page
      --svg FILE            write the picture as SVG
      --json                the kernels as JSON, in bytes and operations
"""


def usage() -> str:
    """The text of `expkit graph --help`."""
    return USAGE + CONFIG_FLAGS


def parser() -> Parser:
    """What `expkit graph` understands."""
    made = experiment_parser("graph")
    made.add_argument("--html")
    made.add_argument("--svg")
    return made


def run(argv: list[str]) -> int:
    """Draws or lists the kernels; the exit code."""
    given = parser().parse_intermixed_args(argv)
    files = [Path(name) for name in (given.html, given.svg) if name is not None]
    for file in files:
        if not file.absolute().parent.is_dir():
            raise ConfigError(f"{file}: the folder {file.absolute().parent} does not exist.")
    composed = compose(given)
    with remarks_aside(given.json):
        made, title = importlib.import_module("expkit.trainer.planning").make_picture(composed)
    draw = importlib.import_module("expkit.compiler.draw")
    for name, form in ((given.html, draw.html), (given.svg, draw.svg)):
        if name is not None:
            Path(name).write_text(form(made, title))
            print(f"{name}: {sum(map(len, made.cells.values()))} kernels")
    if given.json:
        print_json(listed(made))
    elif not files:
        show(made)
    return 0


def listed(made: Any) -> list[dict[str, Any]]:
    """The kernels, a dict each."""
    return [
        {"module": row, "phase": column, "kernel": list(k.parts), "count": k.times, "shape": k.shape,
         "flops": k.cost.flops, "read": k.cost.read, "written": k.cost.written}
        for (row, column), cell in made.cells.items()
        for k in cell
    ]  # fmt: skip


def show(made: Any) -> None:
    """The kernels as a table, and the sums of the phases."""
    rows = [
        (row, column, k.title + (f" ×{k.times}" if k.times > 1 else ""), k.shape,
         count_text(k.cost.flops, "FLOP"), bytes_text(k.cost.bytes))
        for (row, column), cell in made.cells.items()
        for k in cell
    ]  # fmt: skip
    table(("module", "phase", "kernel", "result", "operations", "bytes"), rows)
    print()
    sums = [(name, made.total(name)) for name in made.columns]
    table(("phase", "operations", "bytes"), [(n, count_text(c.flops, "FLOP"), bytes_text(c.bytes)) for n, c in sums])
