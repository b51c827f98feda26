"""argparse with expkit's manners: a wrong argument is a ConfigError with close matches, not a usage dump."""

import argparse
import re
from typing import TYPE_CHECKING, NoReturn

from expkit import config
from expkit.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from expkit.config import Composed

# How usages end whose verbs compose a config; `experiment_parser` takes these flags.
CONFIG_FLAGS = """\
  -cn, --config-name NAME   start from another file than config.yaml
  -cd, --config-dir DIR     search this folder of YAML groups first
"""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations and without its own help; `verb` is named in messages."""

    def __init__(self, verb: str) -> None:
        super().__init__(prog=f"expkit {verb}", add_help=False, allow_abbrev=False)

    @property
    def flags(self) -> list[str]:
        """All flags, the long and the short ones."""
        return [option for action in self._actions for option in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError with argparse's message reworded."""
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            word = unknown[1]
            listed = f" Flags: {', '.join(self.flags)}." if self.flags else ""
            message = f"{word!r} is not understood.{did_you_mean(word, self.flags)}{listed}"
        raise ConfigError(f"{self.prog}: {message.rstrip('.')}. See `{self.prog} --help`.")


def experiment_parser(verb: str) -> Parser:
    """A parser of what composes an experiment: overrides, --config-name, --config-dir; and of --json."""
    parser = Parser(verb)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--config-name", "-cn", default="config")
    parser.add_argument("--config-dir", "-cd")
    return parser


def compose(given: argparse.Namespace) -> "Composed":
    """The experiment that an `experiment_parser` was given."""
    return config.compose(given.overrides, config_name=given.config_name, config_dir=given.config_dir)
