"""argparse with expkit's manners: a wrong argument is a ConfigError with close matches, not a usage dump."""

import argparse
import re
from typing import NoReturn

from expkit.errors import ConfigError, did_you_mean


class Parser(argparse.ArgumentParser):
    """An ArgumentParser without abbreviations and without its own help; `verb` is named in messages."""

    def __init__(self, verb: str) -> None:
        super().__init__(prog=f"expkit {verb}", add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError with argparse's message reworded."""
        flags = [option for action in self._actions for option in action.option_strings]
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            word = unknown[1]
            listed = f" Flags: {', '.join(flags)}." if flags else ""
            message = f"{word!r} is not understood.{did_you_mean(word, flags)}{listed}"
        raise ConfigError(f"{self.prog}: {message.rstrip('.')}. See `{self.prog} --help`.")
