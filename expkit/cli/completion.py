"""`expkit completion SHELL`: the script that completes command lines, and the candidates that it asks for.

The script calls `expkit -sc query=SHELL` with the line up to the cursor in COMP_LINE (Hydra's convention). Each key
press is a new process, so this module and what it imports stay light: neither Hydra nor the engine.
"""

import importlib
import os
from collections.abc import Iterable
from pathlib import Path

from expkit.cli.arguments import Parser
from expkit.cli.runs import LAST, all_runs, run_name
from expkit.cli.verbs import VERBS
from expkit.config.listing import groups, options
from expkit.config.paths import ConfFolder, conf_folders
from expkit.errors import ConfigError, ExpkitError, did_you_mean
from expkit.registry import FOLDERS

USAGE = """\
Usage: expkit completion bash|zsh|fish

Prints a script for the shell, which then completes verbs, flags, groups, options, their keys and values, and runs.

  bash   eval "$(expkit completion bash)"             in ~/.bashrc
  zsh    eval "$(expkit completion zsh)"              in ~/.zshrc, after compinit
  fish   expkit completion fish | source              in ~/.config/fish/config.fish
"""

BASH = r"""_expkit() {
    local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} word cut
    word=${line##*[[:space:]]}
    COMPREPLY=($(COMP_LINE=$line "${COMP_WORDS[0]}" -sc query=bash 2>/dev/null))
    cut=${word%"${word##*[=:]}"}  # readline's word begins after the last = or :
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} != *[=./] ]]; then COMPREPLY[0]+=' '; fi
}
complete -o nospace -o default -F _expkit expkit
"""
ZSH = r"""_expkit() {
    local -a found open closed
    found=("${(@f)$(COMP_LINE="${(j: :)words[1,CURRENT]}" ${words[1]} -sc query=zsh 2>/dev/null)}")
    open=(${(M)found:#*[=./]})
    closed=(${found:#*[=./]})
    (( $#open )) && compadd -Q -S '' -- $open
    (( $#closed )) && compadd -Q -- $closed
    (( $#open + $#closed )) || _files
}
compdef _expkit expkit
"""
FISH = r"""function __expkit_candidates
    set -lx COMP_LINE (commandline -cp)
    expkit -sc query=fish 2>/dev/null
end
complete -c expkit -f -n 'test -n "$(__expkit_candidates)"' -a '(__expkit_candidates)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
UNDO = {
    "bash": "complete -r expkit\nunset -f _expkit\n",
    "zsh": "compdef -d expkit\nunfunction _expkit\n",
    "fish": "complete -c expkit -e\nfunctions -e __expkit_candidates\n",
}
ACTIONS = ("install", "uninstall", "query")


def usage() -> str:
    """The text of `expkit completion --help`."""
    return USAGE


def parser() -> Parser:
    """What `expkit completion` understands."""
    made = Parser("completion")
    made.add_argument("shell")
    return made


def run(argv: list[str]) -> int:
    """Prints the shell's script; the exit code."""
    print(_for_shell(SCRIPTS, parser().parse_args(argv).shell), end="")
    return 0


def hydra_query(words: list[str]) -> int:
    """Hydra's `-sc install=SHELL`, `-sc uninstall=SHELL` and `-sc query=SHELL`; the exit code."""
    action, _, shell = words[0].partition("=") if len(words) == 1 else ("", "", "")
    if action not in ACTIONS or not shell:
        raise ConfigError(
            f"expkit -sc takes install=SHELL, uninstall=SHELL or query=SHELL (bash, zsh or fish), "
            f"got {' '.join(words)!r}.{did_you_mean(action, ACTIONS)}"
        )
    script = _for_shell(UNDO if action == "uninstall" else SCRIPTS, shell)
    if action == "query":
        print("\n".join(candidates(os.environ.get("COMP_LINE", ""))))
    else:
        print(script, end="")
    return 0


def _for_shell(scripts: dict[str, str], shell: str) -> str:
    if shell not in scripts:
        raise ConfigError(
            f"there is no completion for {shell!r}.{did_you_mean(shell, scripts)} Shells: {', '.join(scripts)}."
        )
    return scripts[shell]


def candidates(line: str) -> list[str]:
    """What the last word of `line` may become; nothing where the shell should offer files."""
    words = line.split()
    done, word = (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])
    if len(done) < 2:
        return _beginning(word, [*VERBS, "--help", "--version"])
    if done[1] not in VERBS:
        return []
    understood = importlib.import_module(f"expkit.cli.{done[1]}").parser()
    if word.startswith("-"):
        return _beginning(word, [flag for flag in (*understood.flags, "--help") if flag.startswith("--")])
    given, flag, folder = _read(understood, done[2:])
    if flag is not None:
        return _beginning(word, flag)
    try:
        return _positional(done[1], given, word, conf_folders(folder))
    except ExpkitError:  # a broken -cd, say: the command itself will tell
        return []


def _read(understood: Parser, words: list[str]) -> tuple[list[str], list[str] | None, str | None]:
    """(positional words, the values of the flag that still wants one or None, --config-dir) of what was typed."""
    given: list[str] = []
    waiting, folder = None, None
    for word in words:
        if waiting is not None:
            folder = word if waiting.dest == "config_dir" else folder
            waiting = None
        elif word.startswith("-"):
            action = understood._option_string_actions.get(word)
            waiting = action if action is not None and action.nargs != 0 else None
        else:
            given.append(word)
    return given, None if waiting is None else [str(choice) for choice in waiting.choices or ()], folder


def _positional(verb: str, given: list[str], word: str, folders: list[ConfFolder]) -> list[str]:
    takes = VERBS[verb].takes
    if not takes:
        return []
    match takes[min(len(given), len(takes) - 1)]:
        case "overrides":
            keys = importlib.import_module("expkit.cli.keys")  # and YAML with it, which verbs and runs do without
            return keys.candidates_of_override(word, given, folders)
        case "run":
            return [] if len(given) >= len(takes) and verb in ("resume", "predict") else _runs(word)
        case "group":
            known = {*groups(folders), *FOLDERS.values()}
            runs = ["runs"] if verb == "ls" else [LAST, *map(run_name, all_runs())]
            return _beginning(word, [*sorted(known), *runs]) if not given else []
        case "option" if len(given) == 1:
            group = FOLDERS.get(given[0], given[0])
            return _beginning(word, [option.name for option in options(folders, group)])
        case "schema":
            return _beginning(word, ["config", *groups(folders)]) if not given else []
        case "shell":
            return _beginning(word, SCRIPTS) if not given else []
    return []


def _runs(word: str) -> list[str]:
    """Names of runs, the newest first; paths are the shell's business."""
    if "/" in word and Path(word.rpartition("/")[0]).is_dir():
        return []
    return _beginning(word, [LAST, *(run_name(path) for path in reversed(all_runs()))])


def _beginning(word: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if name.startswith(word)]
