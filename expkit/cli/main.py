"""The entry point of the `expkit` command: verbs, exit codes, and how errors are shown.

Exit codes: 0 done, 1 the run failed, 2 bad input, 130 interrupted (Ctrl-C), 143 terminated.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import metadata

from expkit import flags
from expkit.cli.verbs import GROUPS, VERBS, Verb
from expkit.errors import ConfigError, ExpkitError, did_you_mean

INTERRUPTED = 130


HELP = """\
expkit: experiments from YAML choices, on an autograd engine of its own

Usage: expkit VERB [arguments]

{verbs}

Options:
  -h, --help     this text; after a verb, its own
  --version      the version of expkit

Environment:
{flags}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code. Errors that expkit raises on purpose become one message on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _check_flags()
        return _dispatch(arguments)
    except ExpkitError as error:
        report(error)
        return error.exit_code
    except KeyboardInterrupt as interruption:  # the trainer's says by which signal, and where the state is
        print(str(interruption) or "interrupted", file=sys.stderr)
        return getattr(interruption, "exit_code", INTERRUPTED)
    except BrokenPipeError:  # `expkit ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, OSError) as error:  # a full disk, a folder that may not be written: nothing to debug here
        report(error)
        return 1


def report(error: Exception) -> None:
    """Prints an error to stderr; the traceback too when EXPKIT_DEBUG is set."""
    if os.environ.get("EXPKIT_DEBUG") not in (None, "", "0"):
        traceback.print_exception(error)
        return
    name = type(error).__name__
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        name = f"\033[1;31m{name}\033[0m"
    print(f"{name}: {error}", file=sys.stderr)


def _dispatch(arguments: list[str]) -> int:
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if verb == "help" and rest:  # expkit help train
        verb, rest = rest[0], ["--help"]
    if verb in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0
    if verb == "--version":
        print(f"expkit {_version()}")
        return 0
    if verb in ("-sc", "--shell-completion"):  # the shell's completion script does not know about verbs
        return importlib.import_module("expkit.cli.completion").hydra_query(rest)
    if verb not in VERBS:
        raise ConfigError(_unknown_verb(verb, rest))
    module = importlib.import_module(f"expkit.cli.{verb}")
    if "-h" in rest or "--help" in rest:
        print(module.usage(), end="")
        return 0
    return module.run(rest)


def _unknown_verb(verb: str, rest: list[str]) -> str:
    if "=" in verb or verb in ("-m", "--multirun", "--cfg", "-c", "-cn", "-cd"):
        return f"{verb!r} stands where a verb should: write `expkit train {' '.join([verb, *rest])}`."
    return f"there is no verb {verb!r}.{did_you_mean(verb, VERBS)} Verbs: {', '.join(VERBS)}. See `expkit --help`."


def _check_flags() -> None:
    for name in flags.FLAGS:
        try:
            flags.read(name)
        except ValueError as error:
            raise ConfigError(str(error)) from None


def _help() -> str:
    verbs = "\n\n".join(f"{title}:\n{_lines(group)}" for title, group in GROUPS.items())
    settings = "\n".join(f"  EXPKIT_{name:<14} {flag.help}" for name, flag in flags.FLAGS.items())
    return HELP.format(verbs=verbs, flags=settings)


def _lines(group: dict[str, Verb]) -> str:
    return "\n".join(f"  {name:<11} {verb.summary}" for name, verb in group.items())


def _version() -> str:
    try:
        return metadata.version("expkit")
    except metadata.PackageNotFoundError:
        return "(run from a folder that was never installed)"


if __name__ == "__main__":
    sys.exit(main())
