"""Shell completion: Hydra's for overrides, and the verbs, groups and names that Hydra does not know.

The shell's script calls `expkit -sc query=bash` with the line so far in COMP_LINE; `expkit -sc install=bash` prints
that script.
"""

import importlib
import os
import re
from typing import Any

from expkit.config.listing import groups, options
from expkit.config.paths import conf_folders
from expkit.errors import ConfigError, did_you_mean

ACTIONS = ("install", "uninstall", "query")
VERBS = ("train", "resume", "plan", "graph", "profile", "ls", "show", "sync", "ui")
TRAIN_FLAGS = ("--multirun", "--cfg", "--resolve", "--package", "--config-name", "--config-dir", "--info", "--help")


def run(words: list[str], config_name: str = "config", config_dir: str | None = None) -> int:
    """`install=SHELL`, `uninstall=SHELL` or `query=SHELL`; the exit code."""
    action, _, shell = words[0].partition("=") if len(words) == 1 else ("", "", "")
    if action not in ACTIONS or not shell:
        raise ConfigError(
            f"expkit -sc takes install=SHELL, uninstall=SHELL or query=SHELL (bash, zsh or fish), "
            f"got {' '.join(words)!r}.{did_you_mean(action, ACTIONS)}"
        )
    line = os.environ.get("COMP_LINE", "")
    verb = re.match(r"\s*\S+\s+(\S+)\s", line)
    if action == "query" and not (verb and verb[1] == "train"):
        print(" ".join(candidates(line)))
        return 0
    plugin = _plugin(shell, config_name, config_dir)
    if action == "query":
        # Hydra strips the command's name from the line and knows nothing of a verb behind it.
        os.environ["COMP_LINE"] = re.sub(r"^(\s*\S+)\s+train\b", r"\1", line)
        flags = [
            flag for flag in TRAIN_FLAGS if line.split(" ")[-1].startswith("-") and flag.startswith(line.split(" ")[-1])
        ]
        if flags:
            print(" ".join(flags))
        else:
            plugin.query(config_name)
    else:
        getattr(plugin, action)()
    return 0


def candidates(line: str) -> list[str]:
    """What may come next in `line` where the verb is not train: verbs, then groups, then names."""
    words = line.split()
    done, word = (words, "") if line[-1:].isspace() else (words[:-1], words[-1] if words else "")
    match done[1:]:
        case []:
            known = [*VERBS, "--help", "--version"]
        case ["ls"] | ["show"]:
            known = groups(conf_folders())
        case ["show", group]:
            known = [option.name for option in options(conf_folders(), group)]
        case _:
            known = []
    return [name for name in known if name.startswith(word)]


def _plugin(shell: str, config_name: str, config_dir: str | None) -> Any:
    # Hydra is slow to load, and completing verbs does without it.
    sources = importlib.import_module("expkit.config.sources")
    importlib.import_module("expkit.config.composition").setup()
    hydra = importlib.import_module("hydra._internal.hydra").Hydra
    plugins = hydra.get_shell_to_plugin_map(sources.Loader(conf_folders(config_dir)))
    if shell not in plugins:
        raise ConfigError(
            f"there is no completion for {shell!r}.{did_you_mean(shell, plugins)} Shells: {', '.join(plugins)}."
        )
    return plugins[shell][0]
