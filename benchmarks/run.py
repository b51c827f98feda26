"""`make bench`: the workloads in expkit and its peers, in one run, in turns; a table and a JSON file in .benchmarks/.

    python benchmarks/run.py [--table eager] [--only mlp_small,conv3] [--rounds 7] [--threads 2] [--clock cpu]
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.commands import COMMANDS  # noqa: E402
from benchmarks.eager import EAGER  # noqa: E402
from benchmarks.timing import median  # noqa: E402
from benchmarks.workloads import STEPS, Row  # noqa: E402

LIBRARIES = ("expkit", "torch")
TABLES = {"steps": STEPS, "eager": EAGER}
COMMAND_LIMITS = {"expkit --help": 0.5, "expkit ls": 0.5, "first training step": 3.0}


class Peer:
    """A worker process of one library, asked over its pipes."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        command = [sys.executable, "-m", "benchmarks.worker", library, str(threads)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the benchmark worker ended with status {self.process.wait()}")
        return json.loads(line)

    def seconds(self, case: str, budget: float) -> float | None:
        """None where the case failed; why goes to the error output."""
        self.process.stdin.write(json.dumps({"case": case, "seconds": budget}) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            print(f"{case} in {self.library}: {answer['error']}", file=sys.stderr)
        return answer.get("seconds")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def clean_start(threads: int, clock: str) -> None:
    """Start again without OPENBLAS_* settings (they can pick slower kernels) and with one thread count for all."""
    wanted = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    wanted |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    wanted["EXPKIT_BENCH_CLOCK"] = clock
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], wanted)


def compare(rows: dict[str, Row], rounds: int, budget: float, threads: int) -> tuple[dict, dict]:
    """{case: {library: [seconds, one a round]}}, {library: version}; the libraries take turns and change places."""
    names = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    peers = {name: Peer(name, threads) for name in names}
    times: dict = {}
    for case in rows:
        times[case] = {name: [] for name in names}
        for number in range(rounds):
            for name in names if number % 2 == 0 else names[::-1]:
                times[case][name].append(peers[name].seconds(case, budget))
    for peer in peers.values():
        peer.close()
    return times, {name: peer.about["version"] for name, peer in peers.items()}


def time_commands(rounds: int) -> dict[str, list[float]]:
    return {name: [run() for _ in range(rounds)] for name, run in COMMANDS.items()}


def table(rows: dict[str, Row], times: dict, commands: dict) -> list[str]:
    lines = [f"{'':58} {'expkit':>10} {'PyTorch':>10} {'ratio':>6}  promise"]
    ratios = []
    for case, (what, _, limit) in rows.items():
        ours, theirs = (_median(times[case].get(name)) for name in ("expkit", "torch"))
        ratio = ours / theirs if ours and theirs else None
        ratios += [ratio] if case in EAGER and ratio else []
        lines.append(f"{what:58} {_time(ours)} {_time(theirs)} {_ratio(ratio)}  {_verdict(ratio, limit, 'x')}")
    if ratios:
        speed = 1 / statistics.geometric_mean(ratios)
        lines.append(f"geometric mean of the {len(ratios)} eager rows: {speed:.2f} times PyTorch's speed")
    for name, seconds in commands.items():
        ours = median(seconds)
        lines.append(f"{name:58} {_time(ours)} {'':>10} {'':>6}  {_verdict(ours, COMMAND_LIMITS[name], ' s')}")
    return lines


def _median(seconds: list[float | None] | None) -> float | None:
    """None where a library is missing or its case failed."""
    return median(seconds) if seconds and None not in seconds else None


def _time(seconds: float | None) -> str:
    if seconds is None:
        return f"{'-':>10}"
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1 or unit == "us":
            return f"{seconds * factor:7.2f} {unit:2}"
    return ""


def _ratio(ratio: float | None) -> str:
    return f"{'-' if ratio is None else f'{ratio:.2f}':>6}"


def _verdict(value: float | None, limit: float | None, unit: str) -> str:
    if value is None or limit is None:
        return ""
    return f"at most {limit:.3g}{unit}: {'kept' if value <= limit else 'NOT KEPT'}"


def machine() -> dict:
    """Where the figures come from."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}


def save(result: dict) -> Path:
    folder = ROOT / ".benchmarks"
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="time expkit beside its peers")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each case, library and round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: one thread, by its own time")
    parser.add_argument("--table", choices=[*TABLES, "commands"], default="", help="only this one")
    parser.add_argument("--only", default="", help="rows whose names begin so, separated by commas")
    arguments = parser.parse_args()
    threads = 1 if arguments.clock == "cpu" else arguments.threads
    clean_start(threads, arguments.clock)
    begins = tuple(name for name in arguments.only.split(",") if name) or ("",)
    commands: dict = {}
    if not arguments.only and arguments.table in ("", "commands"):
        commands = time_commands(max(1, arguments.rounds // 2))
    chosen = {name: rows for name, rows in TABLES.items() if arguments.table in ("", name)}
    rows = {case: row for table in chosen.values() for case, row in table.items() if case.startswith(begins)}
    times, versions = compare(rows, arguments.rounds, arguments.seconds, threads)
    about = {**machine(), "threads": threads, "clock": arguments.clock, "versions": versions}
    print(f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, {versions}", "", sep="\n")
    print(*table(rows, times, commands), sep="\n")
    print("", f"saved: {save({'about': about, 'times': times, 'commands': commands}).relative_to(ROOT)}", sep="\n")


if __name__ == "__main__":
    main()
