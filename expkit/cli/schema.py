"""`expkit schema`: JSON schemas of configs, for editors."""

import importlib
import json
from pathlib import Path

from expkit.cli.arguments import Parser
from expkit.cli.output import print_json
from expkit.cli.plugins import folders_with_plugins, split_plugins
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit schema [GROUP] [plugins=[...]] [flags]

Prints the JSON schema (draft 2020-12) of the whole config, or of the files of one GROUP of conf/, as it is with the
plugins that are loaded. Editors with a YAML language server then complete keys and mark mistakes:

  expkit schema --write .schemas
  # yaml-language-server: $schema=../../.schemas/model.json      the first line of a file in conf/model/

Flags:
      --write DIR           write config.json and a file for each group
  -cd, --config-dir DIR     search this folder of YAML groups first
"""
WHOLE = "config"


def usage() -> str:
    """The text of `expkit schema --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit schema` understands."""
    made = Parser("schema")
    made.add_argument("group", nargs="?")
    made.add_argument("--write")
    made.add_argument("--config-dir", "-cd")
    return made


def run(argv: list[str]) -> int:
    """Prints or writes schemas; the exit code."""
    words, plugins = split_plugins(argv)
    given = parser().parse_intermixed_args(words)
    folders_with_plugins(plugins, given.config_dir)
    made = importlib.import_module("expkit.config.schema")
    if given.write is None:
        print_json(made.config_schema() if given.group in (None, WHOLE) else made.group_schema(given.group))
        return 0
    if given.group is not None:
        raise ConfigError("expkit schema: --write writes all schemas; leave out the group.")
    folder = Path(given.write).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--write {given.write}: is a file; name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    schemas = {WHOLE: made.config_schema(), **{name: made.group_schema(name) for name in made.folders()}}
    for name, content in schemas.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{folder}: {len(schemas)} schemas. The first line of a file in conf/model/ with them:")
    print(f"# yaml-language-server: $schema={folder.absolute()}/model.json")
    return 0
