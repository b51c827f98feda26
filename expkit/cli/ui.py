"""`expkit ui`: MLflow's dashboard on the runs of the outputs folder."""

import importlib

from expkit.cli.arguments import Parser
from expkit.errors import ConfigError

USAGE = """\
Usage: expkit ui [--port PORT] [--host HOST]

Serves the dashboard of all runs (MLflow) until it is interrupted; by default at http://127.0.0.1:5000.
"""


def usage() -> str:
    """The text of `expkit ui --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit ui` understands."""
    made = Parser("ui")
    made.add_argument("--port", type=int, default=5000)
    made.add_argument("--host", default="127.0.0.1")
    return made


def run(argv: list[str]) -> int:
    """Serves until interrupted; the server's exit code."""
    arguments = parser().parse_args(argv)
    if not 0 < arguments.port < 65536:
        raise ConfigError(f"--port {arguments.port}: a port is a number from 1 to 65535.")
    return importlib.import_module("expkit.tracking").ui(port=arguments.port, host=arguments.host)
