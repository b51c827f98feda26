"""`make bench`: the workloads in expkit and its peers, in one run, in turns; tables, and a JSON file in .benchmarks/.

python benchmarks/run.py [--table training --table memory] [--only mlp_small,conv3] [--peers all] [--rounds 7]
                         [--seconds 0.3] [--threads 2] [--clock cpu]
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import operations  # noqa: E402
from benchmarks.commands import commands  # noqa: E402
from benchmarks.options import Options, Table  # noqa: E402
from benchmarks.processes import clean_start  # noqa: E402
from benchmarks.show import machine  # noqa: E402
from benchmarks.training.agreement import agreement  # noqa: E402
from benchmarks.training.first import first  # noqa: E402
from benchmarks.training.memory import memory  # noqa: E402
from benchmarks.training.peers import PEERS, QUICK  # noqa: E402
from benchmarks.training.speed import training  # noqa: E402

TABLES: dict[str, Table] = {
    "steps": operations.steps,
    "eager": operations.eager,
    "commands": commands,
    "training": training,
    "agreement": agreement,
    "memory": memory,
    "first": first,
}
DEFAULT = ("steps", "commands", "training")
CPU_CLOCK = ("steps", "eager")  # what runs in one thread of the process that holds the clock


def names(allowed: dict, text: str) -> tuple[str, ...]:
    """Names separated by commas, or `all`."""
    chosen = tuple(allowed) if text == "all" else tuple(filter(None, text.split(",")))
    if unknown := [name for name in chosen if name not in allowed]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(allowed)}, all")
    return chosen


def arguments_of(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="time expkit beside its peers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each case, peer and round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: one thread, by its own time")
    parser.add_argument("--table", choices=[*TABLES, "all"], action="append", default=[], help="may be repeated")
    parser.add_argument("--only", default="", help="rows whose names begin so, separated by commas")
    parser.add_argument("--peers", type=lambda text: names(PEERS, text), default=QUICK,
                        help=f"of the training tables: {','.join(PEERS)} or all (default: without torch-compile, "
                             "whose first call takes up to a minute a workload)")  # fmt: skip
    arguments = parser.parse_args(words)
    default = CPU_CLOCK if arguments.clock == "cpu" else DEFAULT
    arguments.table = list(TABLES) if "all" in arguments.table else arguments.table or list(default)
    if arguments.clock == "cpu":
        arguments.threads = 1
        if others := set(arguments.table) - set(CPU_CLOCK):
            parser.error(f"--clock cpu is for --table {' and '.join(CPU_CLOCK)}, not {', '.join(sorted(others))}")
    return arguments


def show(table: str, options: Options, data: dict) -> None:
    """Prints the lines as they come; the raw figures go into `data`."""
    print("", f"{table}:", sep="\n", flush=True)
    try:
        for line in TABLES[table](options, data):
            print(line, flush=True)
    finally:
        if "versions" in data:
            print(*(f"{name} {version}" for name, version in data["versions"].items()), sep=", ")


def save(result: dict) -> Path:
    folder = ROOT / ".benchmarks"
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def main() -> None:
    arguments = arguments_of()
    clean_start(arguments.threads, arguments.clock)
    only = tuple(name for name in arguments.only.split(",") if name)
    options = Options(arguments.rounds, arguments.seconds, arguments.threads, only, arguments.peers)
    about = {**machine(), "threads": options.threads, "clock": arguments.clock}
    print(f"{about['cpu']}, {about['cores']} cores, {options.threads} threads, Python {about['python']}")
    tables: dict[str, dict] = {table: {} for table in arguments.table}
    try:
        for table, data in tables.items():
            show(table, options, data)
    finally:  # what was measured until an interrupt counts too
        print("", f"saved: {save({'about': about, 'tables': tables}).relative_to(ROOT)}", sep="\n")


if __name__ == "__main__":
    main()
