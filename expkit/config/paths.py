"""Where YAML configs are looked for, in order:

    1. the folder given with `-cd` (--config-dir), then that of EXPKIT_CONF
    2. `./conf` in the working directory, when it is marked as expkit's: it holds a file named `.expkit`
    3. the marked `conf` folder beside a plugin's module
    4. the built-in one: expkit/conf in an installed package, conf/ beside the package in a checkout

The first folder that has a file wins, file by file: a folder of your own may add `model/mine.yaml` and replace
`optim/adam.yaml` and nothing else.
"""

from dataclasses import dataclass
from pathlib import Path

from expkit import flags
from expkit.errors import ConfigError
from expkit.registry import load_entry_points, plugin_folders

MARKER = ".expkit"
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class ConfFolder:
    """A folder of YAML groups, and who brought it: `-cd`, `EXPKIT_CONF`, `./conf`, `plugin` or `built-in`."""

    provider: str
    path: Path


def builtin_conf() -> Path:
    """The folder of the configs that come with expkit. ConfigError when the installation lacks it."""
    candidates = (PACKAGE / "conf", PACKAGE.parent / "conf")
    for folder in candidates:
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(
        f"the configs that come with expkit are missing: neither {candidates[0]} nor {candidates[1]} has a "
        "config.yaml. Install expkit again."
    )


def conf_folders(config_dir: str | Path | None = None) -> list[ConfFolder]:
    """All folders to search, first match wins. ConfigError when one that was asked for does not exist."""
    load_entry_points()
    found = [ConfFolder(name, _asked_for(name, path)) for name, path in _requested(config_dir) if path]
    if unmarked_conf() is None and Path("conf").is_dir():
        found.append(ConfFolder("./conf", Path("conf").resolve()))
    found += [ConfFolder("plugin", folder / "conf") for folder in plugin_folders() if is_marked(folder / "conf")]
    found.append(ConfFolder("built-in", builtin_conf()))
    # The built-in folder keeps its place at the end also where it is `./conf` of a checkout.
    builtin = found[-1].path
    kept = [folder for folder in found[:-1] if folder.path.resolve() != builtin.resolve()]
    return [*dict.fromkeys(kept), found[-1]]


def is_marked(folder: Path) -> bool:
    """Whether a `conf` folder says that it is meant for expkit: it holds a file named `.expkit`."""
    return (folder / MARKER).is_file()


def unmarked_conf() -> Path | None:
    """`./conf` when it exists but is not searched, because nothing marks it as expkit's."""
    conf = Path("conf")
    if not conf.is_dir() or is_marked(conf) or conf.resolve() == builtin_conf().resolve():
        return None
    return conf


def label(path: str | Path) -> str:
    """How messages call a config file: relative to the working directory, or `expkit/conf/...` for built-in ones."""
    path = Path(path)
    for base, prefix in ((Path.cwd(), ""), (builtin_conf().resolve(), "expkit/conf/")):
        if path.is_relative_to(base):
            return prefix + path.relative_to(base).as_posix()
    return str(path)


def _requested(config_dir: str | Path | None) -> list[tuple[str, str]]:
    return [("-cd", str(config_dir or "")), ("EXPKIT_CONF", str(flags.read("CONF")))]


def _asked_for(name: str, path: str) -> Path:
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise ConfigError(
            f"{name} {path}: there is no such folder. It is searched for YAML groups (model/, data/, ...)."
        )
    return folder
