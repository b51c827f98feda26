"""What the trainer says: through the logger "expkit", which prints on one Rich console and may also write a file."""

import logging
from pathlib import Path

from rich.console import Console, RenderableType

console = Console(highlight=False)
log = logging.getLogger("expkit")


class ConsoleHandler(logging.Handler):
    """Prints messages on the shared console, so that a progress bar there stays whole."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        style = "yellow" if record.levelno == logging.WARNING else "red" if record.levelno > logging.WARNING else None
        console.print(text, markup=False, style=style, soft_wrap=True)


def say(message: str) -> None:
    """Tells the user something, once, as plain text."""
    _ensure_handler()
    log.info(message)


def warn(message: str) -> None:
    """Tells the user that something may be wrong."""
    _ensure_handler()
    log.warning(message)


def show(table: RenderableType) -> None:
    """Prints a table; outside of a terminal its lines are not broken, so that paths and commands can be copied."""
    target = console if console.is_terminal else Console(file=console.file, width=1000, highlight=False)
    target.print(table)


def _ensure_handler() -> None:
    """The first message sets up the console, unless the program has set up logging itself."""
    if not log.hasHandlers():
        log.addHandler(ConsoleHandler())
    if log.level == logging.NOTSET:
        log.setLevel(logging.INFO)


def log_file(path: Path) -> logging.Handler:
    """Also writes every message to `path`; the handler that does, for `close_log_file`."""
    _ensure_handler()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return handler


def close_log_file(handler: logging.Handler) -> None:
    """Ends what `log_file` began."""
    log.removeHandler(handler)
    handler.close()
