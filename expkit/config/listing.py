"""What conf folders offer, read without Hydra: the groups, their options, and the first comment of each file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from expkit.config.paths import ConfFolder


@dataclass(frozen=True, slots=True)
class Option:
    """One YAML file of a group: `model=mlp`, where it is, and what its first comment says."""

    group: str
    name: str
    path: Path
    summary: str


def groups(folders: Iterable[ConfFolder]) -> list[str]:
    """The groups of all folders, sorted; Hydra's own settings aside."""
    found = {path.name for folder in folders for path in folder.path.iterdir() if path.is_dir()}
    return sorted(group for group in found if group != "hydra" and not group.startswith((".", "_")))


def options(folders: Iterable[ConfFolder], group: str) -> list[Option]:
    """The options of a group, sorted by name; of files with the same name the first folder's."""
    found: dict[str, Option] = {}
    for folder in folders:
        base = folder.path / group
        for path in sorted(base.rglob("*.yaml")):
            name = path.relative_to(base).with_suffix("").as_posix()
            found.setdefault(name, Option(group, name, path, summary(path)))
    return [found[name] for name in sorted(found)]


def summary(path: Path) -> str:
    """The first line of comment in a YAML file that is no `# @package` line; empty when there is none."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            return ""
        if text.startswith("#") and not text.lstrip("# ").startswith("@") and text.strip("# "):
            said = text.strip("# ")
            return said[0].upper() + said[1:]
    return ""
