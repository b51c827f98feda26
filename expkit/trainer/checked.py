"""`check`: everything about an experiment that can be known to be wrong without running it, all at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from expkit.config import Composed, compose, named_entries, validate
from expkit.config.derived import is_derived
from expkit.config.problems import composed_with_problems, config_problems
from expkit.data.header import headers_only
from expkit.errors import ExpkitError, did_you_mean
from expkit.trainer import assemble, checkpoint
from expkit.trainer.optimizers import NotPlanned
from expkit.trainer.planning.plan import SetUp, staged
from expkit.trainer.trainer import Trainer


@dataclass
class Checked:
    """What was found. data: its shapes and sizes, by the header. metrics: what will be logged, if all is well."""

    problems: list[str]
    choices: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=list)
    parameters: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"valid": not self.problems, **asdict(self)}


def check(overrides: Sequence[str] = (), config_name: str = "config", config_dir: str | None = None) -> Checked:
    """Config against files, registry and signatures; then the header of the data; then the shapes of one step."""
    composed, problems = composed_with_problems(overrides, config_name, config_dir)
    if composed is None:
        return Checked(problems)
    sound, wrong = config_problems(composed, compose())
    found = Checked([*problems, *wrong], composed.choices)
    try:
        with headers_only():
            found.data = assemble.make_data(sound, validate(sound)).derived
    except ExpkitError as error:
        found.problems.append(str(error))
    found.problems += _objects(sound)
    if not found.problems:
        _check_step(composed, found)
    return found


def _objects(composed: Composed) -> list[str]:
    """What callbacks and the trainer say of their arguments, and whether there is a checkpoint where one is named."""
    config = validate(composed)
    makers: list[Callable[[], Any]] = [
        lambda: Trainer(callbacks=assemble.make_callbacks(composed, config), logger=False),
        lambda: checkpoint.resolve(config["ckpt_path"]) if config.get("ckpt_path") else None,
    ]
    problems = []
    for make in makers:
        try:
            make()
        except ExpkitError as error:
            problems.append(str(error))
    return problems


def _check_step(composed: Composed, found: Checked) -> None:
    """One step of each stage by abstract evaluation: shapes, and the names of what is logged."""
    try:
        with staged(composed) as set_up:
            _rehearse(set_up)
            found.metrics = set_up.stage.listener.names()
            found.parameters = sum(p.numel() for p in set_up.stage.task.parameters())
            found.problems += _unknown_monitors(composed, set_up.config, found.metrics)
    except NotPlanned:
        return  # what its steps do is found out by its first batch
    except ExpkitError as error:
        found.problems.append(str(error))


def _rehearse(set_up: SetUp) -> None:
    stage, data = set_up.stage, set_up.data
    sample = data.train[0]
    stage.train(sample, data.batch_size)
    for part in ("val", "test"):
        if getattr(data, part) is not None and (part == "val" or set_up.config["test"]):
            stage.evaluate(part, sample, data.batch_size)


def _unknown_monitors(composed: Composed, config: Mapping[str, Any], known: list[str]) -> list[str]:
    """Callbacks, schedules and rankings that wait for a metric of the task's which it does not log."""
    origin = composed.origins.of
    wanted = [("optimized_metric", config.get("optimized_metric"))]
    wanted.append(("scheduler.monitor", (config.get("scheduler") or {}).get("monitor")))
    wanted += [
        (f"{key}.monitor", entry.get("monitor"))
        for key, entry in named_entries(config.get("callbacks"), "callbacks", origin)
    ]
    return [
        f"{origin(key)}: {key}={name}: no such metric will be logged.{did_you_mean(name, known)} "
        f"Metrics: {', '.join(known)}."
        for key, name in wanted
        if isinstance(name, str) and not is_derived(name) and name.startswith(("train/", "val/", "test/"))
        and name not in known
    ]  # fmt: skip
