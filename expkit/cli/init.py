"""`expkit init FOLDER`: a project of one's own, ready to train and to test."""

import keyword
import re
from importlib.util import find_spec
from pathlib import Path

from expkit.cli.arguments import Parser
from expkit.config.paths import builtin_conf
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit init FOLDER [--package NAME]

Makes a project: conf/ with a config of its own, a package with a model, a data set and a callback, an experiment, a
test, a README. `expkit train` and `pytest` work in it at once.

Flags:
      --package NAME        the name of the Python package (default: that of the folder)
"""
TEMPLATE = Path(__file__).parent / "template"
# Names that files have in the project, where they cannot have them in the template.
NAMES = {"gitignore": ".gitignore", "conf/expkit": "conf/.expkit"}
# The project's config is expkit's with these lines changed: old -> new.
OWN_CONFIG = {
    "# What `expkit train` starts from.": "# What `expkit train` starts from in this project.",
    "- data: digits": "- data: spirals",
    "- model: mlp": "- model: residual",
    "- callbacks: default": "- callbacks: milestones",
    "task_name: train": "task_name: @package@",
    "plugins: []": "plugins: [@package@]",
}


def usage() -> str:
    """The text of `expkit init --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit init` understands."""
    made = Parser("init")
    made.add_argument("folder")
    made.add_argument("--package")
    return made


def run(argv: list[str]) -> int:
    """Writes the project; the exit code."""
    given = parser().parse_intermixed_args(argv)
    folder = Path(given.folder).expanduser().absolute()
    package = _package_name(folder, given.package)
    _require_room(folder)
    files = project_files(package)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{folder}: {len(files)} files. Try it:\n\n  cd {given.folder}\n  expkit train\n  pytest")
    return 0


def project_files(package: str) -> dict[str, str]:
    """Path in the project -> its text."""
    files = {"conf/config.yaml": _config(package)}
    for path in sorted(TEMPLATE.rglob("*.in")):
        name = path.relative_to(TEMPLATE).as_posix().removesuffix(".in")
        name = NAMES.get(name, re.sub("^package/", f"{package}/", name))
        files[name] = path.read_text(encoding="utf-8").replace("@package@", package)
    return files


def _config(package: str) -> str:
    text = (builtin_conf() / "config.yaml").read_text(encoding="utf-8")
    for old, new in OWN_CONFIG.items():
        if text.count(old) != 1:
            raise ConfigError(f"{builtin_conf() / 'config.yaml'}: the line {old!r} is missing. Install expkit again.")
        text = text.replace(old, new)
    return text.replace("@package@", package)


def _package_name(folder: Path, wanted: str | None) -> str:
    """The package's name: as asked for, or made from the folder's. ConfigError for one that cannot be."""
    name = wanted if wanted is not None else re.sub(r"\W+", "_", folder.name).strip("_").lower()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(f"{name!r} cannot be the name of a Python package. Choose one: --package NAME.")
    if name in ("conf", "tests", "outputs"):
        raise ConfigError(f"{name!r} is the name of another folder of the project. Choose one: --package NAME.")
    if find_spec(name) is not None:
        raise ConfigError(f"there is a module {name!r} already, which would hide the package. Choose --package NAME.")
    return name


def _require_room(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder that does not exist yet.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; name a folder that does not exist yet.")
