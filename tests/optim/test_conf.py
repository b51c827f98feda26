"""The YAML entries of optimizers, schedules and datasets: one for each name, with every argument and a comment."""

from pathlib import Path

import pytest
import yaml

from expkit.registry import LATER, check, describe, lookup, names

CONF = Path(__file__).parents[2] / "conf"
GROUPS = {"optim": 1, "scheduler": 1, "data": 0}  # group: arguments that are passed by position
TRAINERS = {"interval", "frequency", "monitor"}  # keys of a schedule that are the Trainer's
CLOSED = {"last_epoch", "scale_fn"}
ALL = [(group, name) for group in GROUPS for name in names(group)]


def entry(group, name):
    text = (CONF / group / f"{name}.yaml").read_text()
    return text, yaml.safe_load(text)


@pytest.mark.parametrize("group", GROUPS)
def test_there_is_one_for_each_name(group):
    assert sorted(path.stem for path in (CONF / group).glob("*.yaml")) == names(group)


@pytest.mark.parametrize(("group", "name"), ALL)
def test_it_lists_every_argument_and_explains_it(group, name):
    text, config = entry(group, name)
    arguments = [argument.name for argument in describe(group, name).arguments][GROUPS[group] :]
    own = set(config) - {"name"} - (TRAINERS if group == "scheduler" else {"groups"} if group == "optim" else set())
    assert own == set(arguments) - CLOSED
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    assert [line for line in lines[1:] if " # " not in line] == [f"name: {name}"]


@pytest.mark.parametrize(("group", "name"), ALL)
def test_its_values_are_accepted(group, name):
    _, config = entry(group, name)
    values = {key: LATER if str(value).startswith("${derived:") else value for key, value in config.items()}
    if name in ("csv", "npz", "text"):
        values["path"] = "file"
    for key in (*TRAINERS, "groups"):
        values.pop(key, None)
    check(group, values, positional=GROUPS[group])


@pytest.mark.parametrize("name", names("scheduler"))
def test_a_schedules_entry_says_what_its_class_says(name):
    _, config = entry("scheduler", name)
    kind = lookup("scheduler", name)
    assert (config["interval"], config["monitor"], config["frequency"]) == (kind.interval, kind.monitor, 1)
