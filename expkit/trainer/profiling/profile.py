"""The profile of an experiment: its training step, compiled, on its own data; each unit of the program timed.

The program runs unit by unit in Python for that, so that the sum of the units is more than what a step takes when it is
replayed in one native call, which is measured as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from expkit.autograd.equations import Var
from expkit.compiler.capture import Call
from expkit.compiler.cost import Cost, behind, cost, nbytes
from expkit.compiler.program import Program
from expkit.compiler.replay import Replay
from expkit.compiler.units import Unit
from expkit.config import Composed, validate
from expkit.data import DataModule
from expkit.tensor import Tensor
from expkit.tensor.devices import CPU
from expkit.trainer import assemble, feed, optimizers
from expkit.trainer.assemble_task import make_task
from expkit.trainer.planning.listener import Listener, Unmeasured
from expkit.trainer.planning.plan import arguments_of, settings_of
from expkit.trainer.planning.stage import Settings
from expkit.trainer.precision import dtype_of, in_precision
from expkit.trainer.profiling.machine import Peaks, measure
from expkit.trainer.state import seed_everything
from expkit.trainer.task import flexible, loss_of


class Row(NamedTuple):
    """A kernel, or several alike: what it does, the shape of its result, how often it runs in a step, what all of that
    takes (seconds) and does."""

    name: str
    shape: str
    runs: int
    seconds: float
    flops: int
    bytes: int


@dataclass
class Profile:
    """rows: the kernels, the longest first. step: seconds of a replayed step; eager: of one that is not compiled."""

    rows: list[Row]
    peaks: Peaks
    steps: int
    batch_size: int
    step: float
    eager: float

    @property
    def kernels(self) -> float:
        """Seconds of all kernels of a step."""
        return sum(row.seconds for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self),
            "peaks": self.peaks._asdict(),
            "rows": [
                {**row._asdict(), "of_roof": self.peaks.least(row.flops, row.bytes) / row.seconds} for row in self.rows
            ],
            "kernels": self.kernels,
        }


def make_profile(composed: Composed, steps: int = 10) -> Profile:
    """The profile of a composed experiment over so many steps. TraceError where its step cannot be compiled."""
    config = validate(composed)
    seed_everything(config["seed"])
    data = assemble.make_data(composed, config)
    derived = assemble.derive(data, config["trainer"])
    config = composed.resolved(derived)
    task = make_task(composed, config, data, derived)
    step = _step(task, settings_of(arguments_of(config)))
    batches = _batches(data, dtype_of(config["trainer"]["precision"] or "32-true"))
    eager = [_timed(lambda: step(*next(batches))) for _ in range(max(2, steps // 2))]
    replay = Replay(Call(lambda leaves: step(*leaves), next(batches), step))
    whole = [_timed(lambda: replay(next(batches))) for _ in range(steps + 2)]
    rows = timed_rows(replay, batches, steps)
    return Profile(rows, measure(), steps, data.batch_size, median(whole[2:]), median(eager[1:]))


def _step(task: Any, settings: Settings) -> Callable[..., Tensor]:
    """A function of a batch's tensors that makes a training step."""
    task.to(dtype=dtype_of(settings.precision))
    task.__dict__["_trainer"] = Listener(CPU)
    task.train()
    for metrics in getattr(task, "metrics", {}).values():
        metrics.update({name: Unmeasured(metric) for name, metric in metrics.items()})
    optimizer, _ = optimizers.single(task)
    forward = in_precision(settings.precision, CPU, flexible(task.training_step, ("batch", "batch_idx")))

    def step(*batch: Tensor) -> Tensor:
        loss = loss_of(forward(list(batch), 0), task)
        optimizer.zero_grad()
        assert loss is not None
        loss.backward()
        optimizers.clip(optimizer, settings.clip, settings.clip_algorithm)
        optimizer.step()
        return loss.detach()

    return step


def _batches(data: DataModule, dtype: Any) -> Iterator[list[Tensor]]:
    """Full batches without end, epoch after epoch."""
    loader = data.train_dataloader()
    size = min(data.batch_size, len(data.train))
    while True:
        for batch in loader:
            if feed.batch_size(batch) == size:
                yield list(feed.move(batch, CPU, dtype))


def _timed(run: Callable[[], Any]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


# ---- units -----------------------------------------------------------------------------------------------------------


class _Stopwatch:
    """A program whose units are timed: in the program's place, for a replay."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.times: list[list[float]] = [[] for _ in program.units]
        program.steps = [step._replace(unit=self._timed(n, step.unit)) for n, step in enumerate(program.steps)]

    def __call__(
        self, values: Sequence[Any], numbers: Sequence[float] = (), check: Any = None, _spare: Any = ()
    ) -> Any:
        return Program.__call__(self.program, values, numbers, check)

    def _timed(self, number: int, unit: Unit) -> Unit:
        times = self.times[number]

        def around(run: Callable[..., Any]) -> Callable[..., Any]:
            def timed(*args: Any) -> Any:
                start = perf_counter()
                found = run(*args)
                if found is not None:
                    times.append(perf_counter() - start)
                return found

            return timed

        return unit._replace(run=around(unit.run), plain=None if unit.plain is None else around(unit.plain))


def timed_rows(replay: Replay, batches: Iterator[Any], steps: int) -> list[Row]:
    """Rows of the replay's program, from so many steps after two that do not count; medians."""
    program = replay.program
    watch = _Stopwatch(program)
    replay.program = watch  # type: ignore[assignment]
    for _ in range(steps + 2):
        replay(next(batches))
    makers = {v.index: e for e in program.equations for v in e.outs}
    merged: dict[tuple[str, str], Row] = {}
    for unit, times in zip(program.units, watch.times, strict=True):
        equations = behind(unit.outs, unit.args, makers)
        if equations and all(e.prim.aliases for e in equations):
            continue
        row = _row(unit, [e.prim.name for e in equations], cost(equations), median(times[2:]))
        old = merged.get(row[:2])
        if old is not None:
            sums = (old.runs + row.runs, old.seconds + row.seconds, old.flops + row.flops, old.bytes + row.bytes)
            row = Row(row.name, row.shape, *sums)
        merged[row[:2]] = row
    return sorted(merged.values(), key=lambda row: -row.seconds)


def _row(unit: Unit, parts: Sequence[str], work: Cost, seconds: float) -> Row:
    names = parts or unit.name.split("+")
    title = "·".join(sorted(dict.fromkeys(names), key=lambda name: (-names.count(name), name)))
    shape = "x".join(map(str, unit.outs[0].shape)) or "scalar"
    moved = sum(nbytes(a) for a in {a.index: a for a in unit.args if isinstance(a, Var)}.values())
    return Row(title, shape, 1, seconds, work.flops, moved + sum(map(nbytes, unit.outs)))
