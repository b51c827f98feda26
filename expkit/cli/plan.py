"""`expkit plan`: what an experiment will need and do, by abstract evaluation, with nothing allocated."""

import importlib
import re
from collections.abc import Sequence
from typing import Any

from expkit.cli.arguments import CONFIG_FLAGS, Parser, compose, experiment_parser
from expkit.cli.output import print_json, remarks_aside, table
from expkit.cli.units import bytes_text, count_text, shape_text
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit plan [group=option ...] [key=value ...] [flags]

Says what `expkit train` with the same arguments would need, without allocating it: shapes and parameters of each layer,
floating-point operations, peak memory of training and inference, the largest batch that fits, what will be logged, and
how many steps there are. Of the data only the header is read.

  expkit plan                                     the default experiment
  expkit plan model=cnn data.batch_size=512       a larger batch
  expkit plan model.hidden=[8192,8192] --memory 8GiB

Flags:
      --memory SIZE         what the process may take, e.g. 8GiB or 500MB (default: what is free)
      --depth N             how deep modules are listed (default 4)
      --json                everything as JSON, in bytes and operations
"""
UNITS = {"": 1, "b": 1, **{f"{p}b": 1000**n for n, p in enumerate("kmgt", 1)},
         **{f"{p}ib": 1024**n for n, p in enumerate("kmgt", 1)}}  # fmt: skip

STEPS = {  # by whether steps are compiled: the kinds that a plan knows of
    True: [("first", "of the first step, eager"), ("compiled", "of those after it, compiled"), ("eager", "uncompiled")],
    False: [("eager", "of its steps, eager"), ("compiled", "compiled")],
}


def usage() -> str:
    """The text of `expkit plan --help`."""
    return USAGE + CONFIG_FLAGS


def parser() -> Parser:
    """What `expkit plan` understands."""
    made = experiment_parser("plan")
    made.add_argument("--memory")
    made.add_argument("--depth", type=int, default=4)
    return made


def run(argv: list[str]) -> int:
    """Prints the plan; the exit code."""
    given = parser().parse_intermixed_args(argv)
    memory = None if given.memory is None else size(given.memory)
    composed = compose(given)
    with remarks_aside(given.json):
        plan = importlib.import_module("expkit.trainer.planning").make_plan(composed, memory)
    if given.json:
        print_json(plan.as_dict())
    else:
        show(plan, given.depth)
    return 0


def size(text: str) -> int:
    """Bytes meant by `8GiB`, `500 MB` or a number. ConfigError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in UNITS:
        raise ConfigError(f"--memory {text}: expected a size such as 8GiB, 500MB or a number of bytes.")
    return int(float(found[1]) * UNITS[found[2].lower()])


def show(plan: Any, depth: int) -> None:
    """The layers, then everything else, as tables."""
    layers = [
        (layer.path, layer.brief, shape_text(layer.inputs), shape_text(layer.output), f"{layer.parameters:,}",
         count_text(layer.flops, "FLOP"))
        for layer in plan.layers
        if layer.path.count(".") < depth
    ]  # fmt: skip
    table(("module", "what", "input", "output", "parameters", "forward"), layers, title="layers")
    print()
    table(("", ""), _facts(plan))


def _steps(plan: Any) -> list[tuple[str, int]]:
    """The peaks of the kinds of steps that will run, and of what trainer.compile would change."""
    return [(name, plan.steps[kind]) for kind, name in STEPS[plan.compiled] if kind in plan.steps]


def _facts(plan: Any) -> Sequence[tuple[str, str]]:
    fixed = plan.parameters - plan.trainable
    flops = {name: count_text(count, "FLOP") for name, count in plan.flops.items()}
    fits = "not even one sample" if plan.largest_batch is None else f"{plan.largest_batch:,} samples"
    steps = "no end" if plan.total_steps is None else f"{plan.total_steps:,}"
    return [
        ("parameters", f"{plan.parameters:,}" + (f", {fixed:,} of them fixed" if fixed else "")),
        ("operations of a step", ", ".join(f"{name} {count}" for name, count in flops.items())),
        ("peak memory of training", f"{bytes_text(plan.peak_training)} with batches of {plan.batch_size:,}"),
        *((f"  {kind}", bytes_text(count)) for kind, count in plan.memory.items()),
        *((name, bytes_text(count)) for name, count in _steps(plan)),
        ("peak memory of inference", bytes_text(plan.peak_inference)),
        ("beside it", f"the data {bytes_text(plan.data)}, the process itself {bytes_text(plan.process)}"),
        ("largest batch", f"{fits}, in {bytes_text(plan.available)}"),
        ("samples", ", ".join(f"{part} {count:,}" for part, count in plan.samples.items())),
        ("steps", f"{plan.steps_per_epoch:,} an epoch, {steps} in all"),
        ("metrics", ", ".join(plan.metrics)),
    ]
