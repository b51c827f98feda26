"""Whatever is registered can be chosen in YAML, and whatever YAML chooses is registered."""

from functools import cache

import pytest
from omegaconf import OmegaConf

from expkit.registry import FOLDERS, GROUPS, describe, names
from tests.structure.source import ROOT

CONF = ROOT / "conf"
# Names that the trainer or the command line resolves before anything is built.
RESOLVED_EARLIER = {"model": {"none"}, "loss": {"auto"}, "scheduler": {"none"}, "task": {"auto"}, "metric": {"auto"}}
# Registered without a YAML of their own: built by name from others' configs, or needing values that only a user has.
WITHOUT_YAML: dict[str, set[str]] = {"metric": {"mean"}}


@cache
def chosen(group: str) -> dict[str, set[str]]:
    """{file: names that it chooses} for one group; a callbacks file holds several, by label."""
    found = {}
    for path in sorted((CONF / FOLDERS[group]).glob("*.yaml")):
        config = OmegaConf.to_container(OmegaConf.load(path))
        entries = [config] if "name" in config else [entry for entry in config.values() if isinstance(entry, dict)]
        found[path.name] = {entry["name"] for entry in entries if "name" in entry}
    return found


WITH_YAML = [group for group in GROUPS if (CONF / FOLDERS[group]).is_dir()]


@pytest.mark.parametrize("group", WITH_YAML)
def test_every_name_that_a_yaml_chooses_is_registered(group):
    known = set(names(group)) | RESOLVED_EARLIER.get(group, set())
    unknown = {file: found - known for file, found in chosen(group).items() if found - known}
    assert unknown == {}


@pytest.mark.parametrize("group", WITH_YAML)
def test_everything_registered_has_a_yaml(group):
    shown = set().union(*chosen(group).values(), *([{path.stem} for path in (CONF / FOLDERS[group]).glob("*.yaml")]))
    assert set(names(group)) - shown - WITHOUT_YAML.get(group, set()) == set()


@pytest.mark.parametrize("group", GROUPS)
def test_everything_registered_says_what_it_is(group):
    nameless = [name for name in names(group) if not describe(group, name).summary.strip()]
    assert nameless == []


@pytest.mark.parametrize("folder", sorted(path for path in CONF.iterdir() if path.is_dir()), ids=lambda path: path.name)
def test_every_yaml_begins_with_a_line_that_explains_it(folder):
    silent = [
        path.name for path in folder.glob("*.yaml") if len(path.read_text().splitlines()[0].lstrip("# ").split()) < 2
    ]  # the file's name alone explains nothing
    assert silent == []
