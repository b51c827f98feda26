"""`expkit predict RUN`: what a trained run says of samples, as a table."""

import argparse
import importlib
from typing import Any

from expkit.cli.arguments import Parser
from expkit.cli.eval import trained_run
from expkit.cli.output import remarks_aside
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit predict RUN [--input FILE] [--output FILE] [overrides] [flags]

What a trained run says of samples: a row for each, with the class and the probabilities of all classes, or the values
of a regression in their own units. RUN is a run directory, the name of one, `last`, or a checkpoint.

  expkit predict last --input new.csv                       a CSV table on stdout
  expkit predict last --input new.parquet --output out.parquet
  expkit predict last --split test --output test.csv        the run's own test data, beside their targets
  expkit predict last --prompt "def main(" --max-new-tokens 200

Flags:
      --input FILE          .csv, .parquet, .npz or .npy with inputs as they were before training; columns by name
      --key NAME            the array of an .npz file (default x)
      --split PART          without --input: test (default), val, train or all of the run's data
      --output FILE         .csv, .parquet, .jsonl or .npz (default: CSV to stdout)
      --checkpoint NAME     best (default), last, or the name of one in checkpoints/
      --prompt TEXT         for language models: the text to go on with
      --max-new-tokens N    (200)   --temperature T  (1.0)   --top-k K   --seed N
"""
SAMPLING = ("max_new_tokens", "temperature", "top_k", "seed")


def usage() -> str:
    """The text of `expkit predict --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit predict` understands."""
    made = Parser("predict")
    made.add_argument("run")
    made.add_argument("overrides", nargs="*")
    made.add_argument("--input")
    made.add_argument("--key", default="x")
    made.add_argument("--split", choices=("test", "val", "train", "all"))
    made.add_argument("--output")
    made.add_argument("--checkpoint", default="best")
    made.add_argument("--prompt")
    made.add_argument("--max-new-tokens", type=int)
    made.add_argument("--temperature", type=float)
    made.add_argument("--top-k", type=int)
    made.add_argument("--seed", type=int)
    return made


def run(argv: list[str]) -> int:
    """Writes the predictions; the exit code."""
    given = parser().parse_intermixed_args(argv)
    _refuse_contradictions(given)
    path = trained_run(given.run, "predict")
    written = importlib.import_module("expkit.data.written")
    output = written.usable_output(given.output) if given.output else None
    with remarks_aside(True):
        reload = importlib.import_module("expkit.trainer.reloaded").reload
        loaded = reload(path, given.checkpoint, given.overrides, samples=given.input is None)
        if given.prompt is not None:
            text = _sampled(loaded, given)
        else:
            columns = _predicted(loaded, given)
    if given.prompt is not None:
        print(text)
    elif output is None:
        written.write_csv_text(columns)
    else:
        written.write(output, columns)
        print(f"{output}: {len(next(iter(columns.values()))):,} predictions")
    return 0


def _refuse_contradictions(given: argparse.Namespace) -> None:
    sources = [f"--{name}" for name in ("input", "split", "prompt") if getattr(given, name) is not None]
    if len(sources) > 1:
        raise ConfigError(f"expkit predict: only one of {' and '.join(sources)} can be given.")
    lone = [name for name in SAMPLING if getattr(given, name) is not None]
    if lone and given.prompt is None:
        raise ConfigError(f"expkit predict: --{lone[0].replace('_', '-')} belongs to --prompt.")
    if given.prompt is not None and given.output is not None:
        raise ConfigError("expkit predict: the text that follows --prompt goes to stdout; leave out --output.")


def _predicted(loaded: Any, given: argparse.Namespace) -> Any:
    predictions = importlib.import_module("expkit.trainer.predictions")
    if given.input is None:
        return predictions.predict_part(loaded, given.split)
    data = loaded.data
    read = importlib.import_module("expkit.data.samples").read_samples
    return predictions.predict_samples(loaded, read(given.input, data.input_shape, data.feature_names, given.key))


def _sampled(loaded: Any, given: argparse.Namespace) -> str:
    arguments = {name: getattr(given, name) for name in SAMPLING if getattr(given, name) is not None}
    return importlib.import_module("expkit.trainer.predictions").sampled(loaded, given.prompt, **arguments)
