"""The runs of the outputs folder: finding one by its name. Light, since completion asks for their names."""

from pathlib import Path

from expkit import flags
from expkit.config.paths import label
from expkit.errors import ConfigError, did_you_mean

CONFIG, LOG, MANIFEST = "config.yaml", "run.log", "manifest.json"
LAST = "last"


def outputs_root() -> Path:
    """The folder of runs, as `expkit.tracking` has it."""
    return Path(str(flags.read("OUTPUTS") or "outputs")).expanduser().absolute()


def run_name(path: Path) -> str:
    """How a run is called: its folder, of a sweep's run with the sweep before it."""
    return f"{path.parent.name}/{path.name}" if path.parent.parent.name == "multiruns" else path.name


def all_runs(outputs: Path | None = None) -> list[Path]:
    """The run directories of the outputs folder, the oldest first."""
    root = outputs or outputs_root()
    found = [path for pattern in ("*/runs/*/", "*/multiruns/*/*/") for path in root.glob(pattern) if path.is_dir()]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path))


def find_run(run: str, verb: str) -> Path:
    """The directory that a user means by `run`: a path, a name, or `last`. ConfigError when there is none."""
    path = Path(run).expanduser()
    if path.is_dir():
        return path.absolute()
    if path.exists():
        raise ConfigError(f"{verb} {run}: is a file. Name the run directory, {path.absolute().parent} perhaps.")
    found = all_runs()
    if run == LAST and found:
        return found[-1]
    named = [path for path in found if run in (path.name, run_name(path)) or str(path).endswith(f"/{run}")]
    if len(named) > 1:
        listed = ", ".join(map(label, named))
        raise ConfigError(f"{verb} {run}: several runs are called so: {listed}. Name one by its path.")
    if not named:
        hint = did_you_mean(run, [path.name for path in found])
        raise ConfigError(
            f"{verb} {run}: there is no such run directory, and no run of that name in {outputs_root()}.{hint} "
            "`expkit ls runs` lists them."
        )
    return named[0]


def require_config(path: Path, verb: str) -> Path:
    """`path` again, which holds the config of a run. ConfigError that says what the folder is instead."""
    if (path / CONFIG).is_file():
        return path
    children = [child for child in sorted(path.glob("*/")) if (child / CONFIG).is_file()]
    if (path / MANIFEST).is_file():
        why = f"is a checkpoint. {verb} wants its run directory: {label(path.parent.parent)}."
    elif children:
        few = ", ".join(child.name for child in children[:3])
        why = f"holds {len(children)} runs ({few}{', ...' if len(children) > 3 else ''}). Name one of them."
    elif (path / LOG).is_file() or path.parent.name in ("runs", "multiruns"):
        why = (
            f"is the directory of a run that ended before its {CONFIG} was written (its {LOG} may say why), so there "
            "is nothing to go on with. Start it again with `expkit train`."
        )
    else:
        why = f"is no run directory: it has no {CONFIG}. Give the directory of an `expkit train`."
    raise ConfigError(f"{verb} {label(path)}: {why}")
