"""What the tests run of a Markdown page: its blocks, in order, with what is said about them in HTML comments.

    ```python            run, in one namespace for the page; if its first line is `# folder/name.py`, written there
    ```yaml              written to the path in its first line, `# conf/model/mine.yaml`; else only read
    ```text              after a block: what that block prints
    ```console           `$ command` lines, each with what it prints; an indented block with `$ ` or `expkit ` lines too

Comments before a block, invisible on the page:

    <!-- tests: skip, the reason -->             the block is not run
    <!-- tests: without expkit ui, the reason -->  commands that begin so are not run
    <!-- tests: with trainer.max_epochs=3 -->    arguments that its `expkit` commands get besides
    <!-- tests: file my.csv -->                  the block is written to this file
    <!-- tests: needs torch -->                  the block runs where torch is installed
    <!-- tests: setup ... -->                    Python that goes before (the lines after the first one)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

OPENING = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)\s*$")
DIRECTIVE = re.compile(r"^<!-- tests: (?P<word>\w+),? ?(?P<rest>.*?)(?P<end> ?-->)?$")
WORDS = ("skip", "without", "with", "file", "needs", "setup")


@dataclass
class Block:
    """A block of code: its language ("indented" without a fence), the text, the number of its first line."""

    language: str
    text: str
    line: int
    said: list[tuple[str, str]] = field(default_factory=list)

    def values(self, word: str) -> list[str]:
        """What the comments before the block say with this word."""
        return [rest for said, rest in self.said if said == word]


@dataclass
class Command:
    """A command line, and the lines that it should print (none: anything)."""

    text: str
    line: int
    expected: list[str] = field(default_factory=list)


def blocks(text: str) -> list[Block]:
    """The code blocks of a page, in order; those under `setup` are Python."""
    found: list[Block] = []
    said: list[tuple[str, str]] = []
    for block in _parts(text.split("\n")):
        if block.language == "comment":
            word, _, rest = block.text.partition(" ")
            if word == "setup":
                found.append(Block("python", rest, block.line))
            else:
                said.append((word, rest))
        else:
            block.said, said = said, []
            found.append(block)
    if said:
        raise ValueError(f"nothing follows the comment {said[-1]}")
    return found


def _parts(lines: list[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        opening, directive = OPENING.match(lines[at]), DIRECTIVE.match(lines[at])
        if opening:
            end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == "```")
            cut = len(opening["indent"])
            yield Block(opening["language"], "\n".join(line[cut:] for line in lines[at + 1 : end]), at + 2)
            at = end
        elif directive:
            if directive["word"] not in WORDS:
                raise ValueError(f"line {at + 1}: {lines[at]} is none of {', '.join(WORDS)}")
            rest, start = directive["rest"], at
            while not lines[at].endswith("-->"):
                at += 1
                rest += "\n" + lines[at].removesuffix("-->")
            yield Block("comment", f"{directive['word']} {rest}", start + 1)
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield Block("indented", "\n".join(line[4:] for line in lines[at:end]).rstrip(), at + 1)
            at = end - 1
        at += 1


def commands(block: Block) -> list[Command]:
    """The commands of a console or indented block. A line that ends with a backslash goes on in the next one."""
    found: list[Command] = []
    lines = block.text.split("\n")
    prompted = any(line.startswith("$ ") for line in lines)
    at = 0
    while at < len(lines):
        line, number = lines[at], block.line + at
        is_command = line.startswith("$ ") if prompted else line.startswith("expkit ")
        while is_command and line.endswith("\\"):
            at += 1
            line = line[:-1] + lines[at].strip()
        if is_command:
            found.append(Command(line.removeprefix("$ "), number))
        elif prompted and found and line.strip():
            found[-1].expected.append(line)
        at += 1
    return found


def is_file(block: Block) -> str | None:
    """The path that the block is to be written to: in a comment before it, or in its first line."""
    named = block.values("file")
    if named:
        return named[0]
    first = block.text.split("\n", 1)[0]
    found = re.fullmatch(r"# ([\w./-]+\.(?:py|yaml))", first)
    return found[1] if found and block.language in ("python", "yaml") else None


def missing(expected: list[str], printed: str) -> str | None:
    """The first expected line that was not printed (in order); `...` stands for anything. None: all were."""
    rest = iter([" ".join(line.split()) for line in printed.split("\n")])
    for line in expected:
        wanted = " ".join(line.split())
        pattern = ".*".join(re.escape(part) for part in wanted.split("..."))
        if wanted != "..." and not any(re.fullmatch(pattern, said) for said in rest):
            return line
    return None
