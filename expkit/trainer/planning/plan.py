"""The plan of an experiment: shapes, parameters, operations, memory, the largest batch, metrics, steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from expkit.compiler.cost import flops
from expkit.config import Composed, validate
from expkit.data import DataModule
from expkit.data.header import headers_only
from expkit.errors import ConfigError, ShapeError
from expkit.nn.functional.reduction import TargetError
from expkit.trainer import assemble
from expkit.trainer.arguments import Arguments
from expkit.trainer.assemble_task import make_task
from expkit.trainer.callbacks.summary import counts
from expkit.trainer.planning.compiled import CompiledStage
from expkit.trainer.planning.memory import SMALLEST, TrainingMemory
from expkit.trainer.planning.places import Places
from expkit.trainer.planning.stage import KINDS, Settings, Stage, Step
from expkit.trainer.task import Task

Numbers = dict[str, int]


class Layer(NamedTuple):
    """A module: where it is, what it is, the shapes of its (first) input and output, what it has and does."""

    path: str
    brief: str
    inputs: Any
    output: Any
    parameters: int
    flops: int  # of its forward pass


@dataclass
class Plan:
    """Everything in numbers: bytes, floating-point operations, samples, steps.

    memory: at the peak of training, by kind. compiled: whether its steps are, all but the first. steps: the peak of
    each kind of step ("first", "compiled", "eager") that there is or might be. largest_batch: of what fits into
    `available`; None where not even one sample does. process: what this process holds already, which no model is to
    blame for.
    """

    layers: list[Layer]
    parameters: int
    trainable: int
    flops: Numbers  # forward, backward, update
    batch_size: int
    memory: Numbers
    peak_training: int
    compiled: bool
    steps: Numbers
    peak_inference: int
    data: int
    process: int
    available: int
    largest_batch: int | None
    metrics: list[str]
    samples: Numbers
    steps_per_epoch: int
    total_steps: int | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "layers": [layer._asdict() for layer in self.layers]}


class SetUp(NamedTuple):
    """A stage with what it was made of."""

    stage: Stage
    config: Mapping[str, Any]
    data: DataModule
    derived: Mapping[str, Any]
    compiling: Callable[[], CompiledStage]  # makes another one, whose steps are compiled


@contextmanager
def staged(composed: Composed, *, whole: bool = True) -> Iterator[SetUp]:
    """The stage of a composed experiment; errors within are told with the keys that shapes come from."""
    config = validate(composed)
    with headers_only():
        data = assemble.make_data(composed, config)
    derived = assemble.derive(data, config["trainer"])
    config = composed.resolved(derived)
    settings = settings_of(arguments_of(config))

    def build() -> Task:
        return make_task(composed, config, data, derived)

    try:
        stage = Stage(build, settings, whole=whole)
        yield SetUp(stage, config, data, derived, lambda: CompiledStage(build, settings))
    except (ShapeError, TargetError) as error:
        raise assemble.explain(error, composed, derived) from error


def make_plan(composed: Composed, memory: int | None = None) -> Plan:
    """The plan of a composed experiment. memory: bytes that the process may take (default: what is free now).

    Errors in the config are what they are in training; ShapeError where data and model do not fit together.
    """
    with staged(composed) as set_up:
        return _planned(set_up, memory)


def arguments_of(config: Mapping[str, Any]) -> Arguments:
    """The trainer's arguments of a config."""
    return Arguments(**{key: value for key, value in config["trainer"].items() if key not in ("callbacks", "logger")})


def settings_of(trainer: Arguments) -> Settings:
    """What of them a step depends on."""
    clip = trainer.gradient_clip_val
    return Settings(
        trainer.precision,
        trainer.accumulate_grad_batches,
        None if clip is None else float(clip),
        trainer.gradient_clip_algorithm or "norm",
    )


def compiles(trainer: Arguments) -> bool:
    """Whether steps are to be compiled (trainer/programs.py). What "auto" finds of devices is not asked."""
    return trainer.compile is True or (trainer.compile == "auto" and trainer.accelerator in ("auto", "cpu"))


def _planned(set_up: SetUp, memory: int | None) -> Plan:
    stage, config, data, derived, compiling = set_up
    sample, size = data.train[0], data.batch_size
    step = stage.train(sample, size)
    layers = _layers(stage.places, step)
    for part, wanted in (("val", data.val is not None), ("test", data.test is not None and config["test"])):
        if wanted:
            stage.evaluate(part, sample, size)
    inference = stage.infer(sample, size)
    training = TrainingMemory(stage, compiling, sample, compiles(arguments_of(config)))
    steps = training.steps(size)
    needed = training.largest(steps)
    parameters, trainable, _ = counts(stage.task)
    held, process = _data_bytes(data, sample), resident()
    available = memory if memory is not None else free_memory() + process
    room = available - process - held
    return Plan(
        layers=layers,
        parameters=parameters,
        trainable=trainable,
        flops={name: sum(map(flops, part)) for name, part in step.phases().items()},
        batch_size=size,
        memory={kind: needed.kinds[kind] for kind in KINDS},
        peak_training=needed.peak,
        compiled=training.compiled,
        steps={kind: found.peak for kind, found in steps.items()},
        peak_inference=inference,
        data=held,
        process=process,
        available=available,
        largest_batch=largest_batch(training, sample, size, needed.peak, room, len(data.train)),
        metrics=stage.listener.names(),
        samples={part: derived[f"num_{part}"] for part in ("train", "val", "test")},
        steps_per_epoch=derived["steps_per_epoch"],
        total_steps=derived.get("total_steps"),
    )


def _data_bytes(data: DataModule, sample: Any) -> int:
    """What the samples take once they are read, in the dtypes in which a DataModule holds them."""
    each = sum(prod(x.shape) * x.dtype.itemsize for x in sample)
    return each * sum(len(part) for part in (data.train, data.val, data.test) if part is not None)


def _layers(places: Places, step: Step) -> list[Layer]:
    """A row for each module, in their order; what it does includes what its parts do."""
    done: Numbers = {}
    for e, time in zip(step.equations[: step.backward], step.times, strict=False):
        path = places.at(time)
        for depth in range(path.count(".") + 1 if path else 0):
            above = path.rsplit(".", depth)[0]
            done[above] = done.get(above, 0) + flops(e)
    rows = []
    for path, module in places.model.named_modules():
        if path in places.shapes:
            size = sum(prod(p.shape) for p in module.parameters())
            rows.append(Layer(path, module.brief(), *places.shapes[path], size, done.get(path, 0)))
    return rows


def largest_batch(stage: Stage | TrainingMemory, sample: Any, size: int, peak: int, room: int, most: int) -> int | None:
    """The largest batch whose training step needs at most `room` bytes, at most `most` samples.

    The peak is a maximum, over the step, of what grows linearly with the batch: the line through what is known of two
    sizes meets `room` near the answer.
    """
    known = {size: peak}

    def needs(count: int) -> int:
        if count not in known:
            known[count] = stage.peak(sample, count)
        return known[count]

    least = min(SMALLEST, size, most)
    if needs(least) > room:
        return None
    if needs(most) <= room:
        return most
    low, high = least, most
    while high - low > max(1, low // 100):  # to within a hundredth
        slope = (needs(high) - needs(low)) / (high - low)
        guess = min(max(low + int((room - needs(low)) / slope), low + 1), high - 1)
        if needs(guess) <= room:
            low, beyond = guess, min(guess + max(1, guess // 100), high)
            if beyond < high and needs(beyond) > room:
                high = beyond
        else:
            high = guess
    return low


def resident() -> int:
    """Bytes of this process that are in memory; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def free_memory() -> int:
    """Bytes that a process could still take without swapping. ConfigError where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = next(line for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        raise ConfigError("this system does not tell how much memory is free: say it, as in --memory 8GiB") from None
    return int(found.split()[1]) * 1024
