"""`expkit show RUN`: a run directory on one page."""

from pathlib import Path

import yaml  # type: ignore[import-untyped]

from expkit.cli.output import print_json, table
from expkit.cli.runs import CONFIG, LOG, MANIFEST
from expkit.cli.summary import RunSummary, summarize

LEFT_OUT = ("paths", "callbacks", "logger", "trainer")  # of the page: long, and mostly as they always are


def show_run(path: Path, as_json: bool) -> int:
    """Prints status, metrics, checkpoints and config of a run; the exit code."""
    run = summarize(path, strict=True)
    checkpoints = sorted(file.parent.name for file in path.glob(f"checkpoints/*/{MANIFEST}"))
    overrides = _overrides(path)
    if as_json:
        whole = {"path": str(path), "name": run.name, "status": run.status, "epochs": run.epochs,
                 "started": run.started.isoformat() if run.started else None, "metrics": run.metrics,
                 "best": dict([run.best]) if run.best else {}, "checkpoints": checkpoints, "overrides": overrides,
                 "config": run.config}  # fmt: skip
        print_json(whole)
        return 0
    table(("", ""), _facts(run, checkpoints, overrides))
    print()
    table(("metric", "newest"), [(name, f"{value:.5g}") for name, value in run.metrics.items()], title="metrics")
    print()
    shown = {key: value for key, value in run.config.items() if key not in LEFT_OUT}
    print(f"config    {path / CONFIG}\n")
    for line in yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, width=110).rstrip().splitlines():
        print(f"    {line}")
    return 0


def _facts(run: RunSummary, checkpoints: list[str], overrides: list[str]) -> list[tuple[str, str]]:
    facts = [("run", str(run.path)), ("status", run.status)]
    if run.status in ("DIED", "KILLED"):
        facts.append(("go on", f"expkit resume {run.path}"))
    if run.status == "FAILED":
        facts.append(("why", _last_error(run.path)))
    if run.started is not None:
        facts.append(("started", f"{run.started:%Y-%m-%d %H:%M:%S}"))
    facts.append(("epochs", str(run.epochs)))
    if run.best is not None:
        facts.append((f"best {run.best[0]}", f"{run.best[1]:.5g}"))
    return [*facts, ("checkpoints", ", ".join(checkpoints) or "none"), ("overrides", " ".join(overrides) or "none")]


def _last_error(path: Path) -> str:
    """The last line of the log that was an error."""
    log = path / LOG
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    errors = [line.partition(" ERROR ")[2] for line in lines if " ERROR " in line]
    return errors[-1] if errors else "its log says nothing"


def _overrides(path: Path) -> list[str]:
    """The overrides that the run was started with."""
    file = path / "overrides.yaml"
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else []
    except (UnicodeDecodeError, yaml.YAMLError):
        return [f"({file.name} cannot be read)"]
    return [str(word) for word in content] if isinstance(content, list) else []
