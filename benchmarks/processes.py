"""Processes that measure: an environment without surprises, and a worker that is asked over its pipes."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def clean_start(threads: int, clock: str) -> None:
    """Start again without OPENBLAS_* settings (they can pick slower kernels) and with one thread count for all."""
    wanted = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    wanted |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    wanted["EXPKIT_BENCH_CLOCK"] = clock
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], wanted)


class Worker:
    """A process that answers a line of JSON with a line of JSON; `about` is what it says of itself at first."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.about = self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the benchmark worker of {self.name} ended with status {self.process.wait()}")
        return json.loads(line)

    def ask(self, **request: object) -> dict:
        """The answer; an error in it goes to the error output too."""
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            print(f"{request['case']} in {self.name}: {answer['error']}", file=sys.stderr)
        return answer

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def in_turns(workers: Sequence[Worker], rounds: int, case: str, seconds: float) -> dict[str, list[dict]]:
    """{worker: [its answer, one a round]}; they change places every round; one that failed is not asked again."""
    answers: dict[str, list[dict]] = {worker.name: [] for worker in workers}
    for number in range(rounds):
        for worker in workers if number % 2 == 0 else workers[::-1]:
            past = answers[worker.name]
            if not past or "seconds" in past[-1]:
                past.append(worker.ask(case=case, seconds=seconds))
    return answers
