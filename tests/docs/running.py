"""Runs the blocks of a page: Python in one namespace, files where they say, commands in this process."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import yaml

from expkit.cli.main import main
from tests.docs.markdown import Block, Command, blocks, commands, is_file, missing

ROOT = Path(__file__).resolve().parents[2]
# What `expkit train` gets besides, unless the page says something about it.
SMALL = {"logger": "logger=none", "max_epochs": "trainer.max_epochs=1"}


class PageError(AssertionError):
    """A block that fails, or prints something else than the page says."""


class Page:
    """One page in the working directory, which should be empty."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        self.namespace: dict[str, object] = {"__name__": "__main__"}
        self.ran = 0

    def run(self) -> None:
        """All blocks in order. PageError names the line of the page."""
        printed = ""
        for block in blocks(self.path.read_text(encoding="utf-8")):
            if block.values("skip") or self._lacks(block):
                printed = "..."
            elif block.language == "text":
                self._compare(block.text.split("\n"), printed, block.line)
            else:
                printed = self._one(block)

    def _lacks(self, block: Block) -> bool:
        for module in block.values("needs"):
            try:
                __import__(module)
            except ImportError:
                return True
        return False

    def _one(self, block: Block) -> str:
        path = is_file(block)
        if path is not None:
            return self._write(path, block)
        if block.language == "python":
            return self._python(block)
        if block.language == "yaml":
            yaml.safe_load(block.text)
        if block.language in ("console", "indented"):
            return "".join(self._command(command, block) for command in commands(block))
        return ""

    def _write(self, path: str, block: Block) -> str:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.text + "\n", encoding="utf-8")
        if path.startswith("conf/"):
            (self.folder / "conf" / ".expkit").touch()
        return ""

    def _python(self, block: Block) -> str:
        # Empty lines before it, so that tracebacks and warnings have the page's line numbers.
        code = compile("\n" * (block.line - 1) + block.text, str(self.path), "exec")
        self.ran += 1
        with self._captured(block.line) as output:
            exec(code, self.namespace)  # noqa: S102  (what the page says, for the test of it)
        return output.getvalue()

    def _command(self, command: Command, block: Block) -> str:
        left_out = [text for said in block.values("without") for text in said.split(",")[0].split(" / ")]
        if any(command.text.startswith(text) for text in left_out):
            return ""
        words = [self._run_dir(word) for word in shlex.split(command.text, comments=True)]
        words += [word for more in block.values("with") for word in shlex.split(more)]
        self.ran += 1
        if words[0] == "expkit":
            printed = self._expkit(words[1:], command)
        elif words[0] == "python":
            printed = self._subprocess([sys.executable, *words[1:]], command)
        elif block.language == "console":
            raise PageError(f"{self.path}:{command.line}: {words[0]} is not run: say so in a comment before the block.")
        else:
            return ""
        self._compare(command.expected, printed, command.line)
        return printed

    def _expkit(self, arguments: list[str], command: Command) -> str:
        text = " ".join(arguments)
        if arguments[0] == "train" and "--cfg" not in arguments and "--info" not in arguments:
            exact = command.expected or "debug=" in text
            arguments += [more for word, more in SMALL.items() if word not in text and not (exact and word != "logger")]
        refused = any(re.match(r"\w+Error: ", line) for line in command.expected)
        with self._captured(command.line) as output:
            code = main(arguments)
        if bool(code) != refused:
            raise PageError(f"{self.path}:{command.line}: exit code {code} of {command.text}\n{output.getvalue()}")
        return output.getvalue()

    def _subprocess(self, arguments: list[str], command: Command) -> str:
        paths = os.pathsep.join([str(ROOT), str(self.folder)])
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run(arguments, cwd=self.folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise PageError(f"{self.path}:{command.line}: {command.text}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    @contextlib.contextmanager
    def _captured(self, line: int):
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), warnings.catch_warnings():
                warnings.simplefilter("default")
                yield output
        except (Exception, SystemExit) as error:
            raise PageError(f"{self.path}:{line}: {type(error).__name__}: {error}\n{output.getvalue()}") from error

    def _run_dir(self, word: str) -> str:
        """`outputs/train/runs/...` stands for the newest run there that the page has made so far."""

        def newest(match: re.Match[str]) -> str:
            runs = sorted(self.folder.glob(f"{match[1]}/*/config.yaml"), key=lambda path: path.stat().st_mtime)
            if not runs:
                raise PageError(f"{self.path}: no run was made that {word} could stand for")
            return str(runs[-1].parent)

        return re.sub(r"(outputs/[\w/]+)/\.\.\.", newest, word)

    def _compare(self, expected: list[str], printed: str, line: int) -> None:
        lacking = None if printed == "..." else missing(expected, printed)
        if lacking is not None:
            raise PageError(f"{self.path}:{line}: not printed: {lacking}\nprinted was:\n{printed}")
