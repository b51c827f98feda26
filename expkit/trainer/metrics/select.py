"""Which metrics a task logs, from what a config says."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from expkit.errors import ConfigError
from expkit.registry import build, lookup, names
from expkit.trainer.metrics.base import Metric

AUTO = "auto"
# What `auto` stands for, by the kind of data.
TASK_METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("acc", "f1"),
    "regression": ("mae", "r2"),
    "segmentation": ("acc", "iou"),
    "language_modeling": ("perplexity",),
    "reconstruction": (),
}
# What is predicted, by the kind of data.
PREDICTED = {"regression": "numbers", "reconstruction": "numbers"} | dict.fromkeys(
    ("classification", "segmentation", "language_modeling"), "classes"
)
LESS_IS_BETTER = ("loss", "recon", "kl", "error", "time")  # logged without being metrics


class Maker(Protocol):
    """Builds the metric of an entry; `key` is where the entry is, for messages."""

    def __call__(self, entry: Mapping[str, Any], key: str, given: Mapping[str, Any]) -> Metric: ...


def _build(entry: Mapping[str, Any], key: str, given: Mapping[str, Any]) -> Metric:
    return build("metric", entry, where=key, given=given)


def make_metrics(
    entries: Any = AUTO, task: str = "classification", num_classes: int | None = None, *, logits: bool = True,
    make: Maker = _build,
) -> Callable[[], dict[str, Metric]]:  # fmt: skip
    """A function that gives new metrics, by the name they are logged under (val/<name>).

    entries: "auto" (what suits the task), or metrics as {name they are logged under: {"name": registered name, its
    arguments}}, or a list of registered names and such mappings. Among them "auto" stands for what suits the task.
    num_classes, logits: given to metrics that take them, unless their entry says otherwise.
    Names under which two are logged, and unknown ones, are ConfigErrors, now.
    """
    chosen = _expanded(_named(entries), task)
    given = {"logits": logits} | ({} if num_classes is None else {"num_classes": num_classes})

    def metrics() -> dict[str, Metric]:
        return {name: make(entry, key, given) for name, (entry, key) in chosen.items()}

    _check(metrics(), task)
    return metrics


def direction(name: str) -> Literal["min", "max"] | None:
    """Whether less or more of what is logged by this name (val/loss, test/f1_micro) is better; None if not known.

    A metric is known by its registered name, to which something may be appended.
    """
    logged = name.rpartition("/")[2].lower()
    if logged in LESS_IS_BETTER or logged.removesuffix("_epoch").removesuffix("_step") in LESS_IS_BETTER:
        return "min"
    if re.fullmatch(r"top\d+", logged):
        return "max"
    fitting = [known for known in names("metric") if logged == known or logged.startswith(f"{known}_")]
    higher = getattr(lookup("metric", max(fitting, key=len)), "higher_is_better", None) if fitting else None
    return None if higher is None else "max" if higher else "min"


def task_metrics(task: str) -> dict[str, Metric]:
    """New metrics of a kind of task ("classification", "regression", ...), by the name they are logged under."""
    return make_metrics(AUTO, task)()


def _named(entries: Any) -> dict[str, tuple[Mapping[str, Any], str]]:
    """{log name: (entry, where it is)} of all forms in which metrics can be chosen."""
    if isinstance(entries, str):
        entries = [entries]
    if isinstance(entries, Mapping):
        return {str(name): (entry, f"metrics.{name}") for name, entry in entries.items() if entry is not None}
    found: dict[str, tuple[Mapping[str, Any], str]] = {}
    for place, entry in enumerate(entries or ()):
        entry = {"name": entry} if isinstance(entry, str) else entry
        key = f"metrics.{place}"
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise ConfigError(f"{key}: expected the name of a metric, or a mapping with a 'name', got {entry!r:.60}.")
        if entry["name"] in found:
            raise ConfigError(
                f"{key}: two metrics would be logged as {entry['name']!r}. Name them: "
                f"metrics: {{{entry['name']}: ..., {entry['name']}_2: {{name: {entry['name']}, ...}}}}."
            )
        found[entry["name"]] = (entry, key)
    return found


def _expanded(
    chosen: Mapping[str, tuple[Mapping[str, Any], str]], task: str
) -> dict[str, tuple[Mapping[str, Any], str]]:
    """With the metrics of the task in place of `auto`; an entry of the same name is preferred to them."""
    found: dict[str, tuple[Mapping[str, Any], str]] = {}
    for name, (entry, key) in chosen.items():
        if entry.get("name") != AUTO:
            found[name] = (entry, key)
            continue
        if task not in TASK_METRICS:
            raise ConfigError(f"{key}: no metrics are known for {task!r}: name those that you want.")
        for metric in TASK_METRICS[task]:
            found.setdefault(metric, chosen.get(metric) or ({"name": metric}, key))
    return found


def _check(metrics: Mapping[str, Metric], task: str) -> None:
    """ConfigError for what is not for such data, and where two numbers have one name (f1 of class 0, and f1_0)."""
    owners: dict[str, str] = {"loss": "loss"}
    for name, metric in metrics.items():
        if metric.of is not None and metric.of != PREDICTED.get(task, metric.of):
            raise ConfigError(
                f"metrics.{name}: {type(metric).__name__} is for predicted {metric.of}, but the data is for {task}. "
                f"Choose others, or metrics=auto: {', '.join(TASK_METRICS[task])}."
            )
        for logged in (name + suffix for suffix in metric.suffixes()):
            if logged in owners:
                raise ConfigError(f"metrics.{name}: {logged!r} is logged by {owners[logged]} already. Rename one.")
            owners[logged] = name
