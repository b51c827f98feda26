"""The directory of a run: new for each run, also when several start in the same second."""

from itertools import count
from pathlib import Path

from expkit.config.composition import Composed
from expkit.errors import ConfigError


def make_run_dir(composed: Composed, wanted: str | Path | None = None) -> Path:
    """Creates the run's directory (`hydra.run.dir` unless `wanted`), with `_1`, `_2`, ... appended where it exists.

    `${hydra:runtime.output_dir}` of the config is that directory from then on. ConfigError when it cannot be made.
    """
    base = Path(wanted or composed.hydra.run.dir).expanduser().absolute()
    for number in count():
        path = base if number == 0 else base.with_name(f"{base.name}_{number}")
        try:
            path.mkdir(parents=True, exist_ok=False)
        except FileExistsError as error:
            if path.is_dir():
                continue
            raise ConfigError(f"the run directory {path} cannot be made: {error.strerror}.") from None
        except OSError as error:
            raise ConfigError(f"the run directory {path} cannot be made: {error.strerror}.") from None
        composed.set_run_dir(path)
        return path
    raise AssertionError  # count() does not end
