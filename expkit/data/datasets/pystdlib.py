"""The source text of the Python standard library: real text that every machine has."""

import sysconfig
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

from expkit.data.datasets.text import TextData, check_fractions
from expkit.data.order import permutation
from expkit.errors import ConfigError, DataError, did_you_mean
from expkit.registry import register

# Tests, installed packages, and modules that are mostly tables.
LEFT_OUT = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "lib-dynload", "__pycache__",
                      "encodings", "pydoc_data"})  # fmt: skip


@register("data", "pystdlib")
class PyStdlib(TextData):
    """The source text of the installed Python standard library (some 10 million characters; tests are left out).

    Windows of block_size tokens, made by a tokenizer: char, bpe (trained on the training files to vocab_size tokens),
    or the path of a tokenizer.json, or of a folder that has one. modules: those to read ([json, email]); all if it is
    null. max_chars: how much text is used in all. Files are drawn, and shared out to training, validation and test as
    a whole, by `seed`. Another version of Python has another text.
    """

    def __init__(
        self,
        tokenizer: str = "char",
        vocab_size: int = 1024,
        block_size: int = 128,
        stride: int | None = None,
        modules: list[str] | None = None,
        max_chars: int | None = 2_000_000,
        batch_size: int = 64,
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        seed: int = 42,
        drop_last: bool = False,
    ) -> None:
        check_fractions(val_fraction, test_fraction)
        if max_chars is not None and max_chars < 1:
            raise ConfigError(f"max_chars={max_chars} cannot be: it counts characters; null takes all.")
        paths = source_files(modules)
        chosen = [paths[number] for number in permutation(len(paths), seed)]
        documents = list(_limited(chosen, max_chars))
        self.files = [path for path, _ in documents]
        texts = shared_out([text for _, text in documents], val_fraction, test_fraction)
        super().__init__(texts, tokenizer, vocab_size, block_size, stride, batch_size, drop_last)


def source_files(modules: Sequence[str] | None = None) -> list[Path]:
    """The files of the standard library, or of some of its modules and packages, in alphabetical order.

    DataError where Python came without its sources; ConfigError for a module that is not there.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    found = {path.stem if path.is_file() else path.name: path for path in sorted(root.iterdir(), reverse=True)
             if path.suffix == ".py" or (path / "__init__.py").is_file()}  # fmt: skip
    if not found:
        raise DataError(f"{root} has no Python sources: this Python came without them. Use data=text data.path=...")
    unknown = [name for name in modules or () if name not in found]
    if unknown:
        raise ConfigError(
            f"modules: the standard library in {root} has no module {unknown[0]!r}.{did_you_mean(unknown[0], found)}"
        )
    files: list[Path] = []
    for name in sorted(found) if modules is None else modules:
        if modules is not None or name not in LEFT_OUT:
            files += [found[name]] if found[name].is_file() else _package(found[name])
    return files


def _package(folder: Path) -> list[Path]:
    inside = (path for path in folder.rglob("*.py") if not LEFT_OUT & set(path.relative_to(folder).parts))
    return sorted(inside, key=lambda path: path.relative_to(folder).parts)


def _limited(paths: Sequence[Path], max_chars: int | None) -> Iterator[tuple[Path, str]]:
    """(path, text) of the files, until there are max_chars characters; empty files are left out."""
    left = max_chars
    for path in paths:
        with tokenize.open(path) as file:  # in the encoding that the file declares
            text = file.read()[:left]
        if text:
            yield path, text
        if left is not None:
            left -= len(text)
            if left <= 0:
                return


def shared_out(texts: Sequence[str], val_fraction: float, test_fraction: float) -> tuple[list[str], ...]:
    """(training, validation, test): whole texts in their order.

    Test, then validation, take the texts that fit into their share of the characters; the smallest where none does.
    """
    total, left = sum(map(len, texts)), list(range(len(texts)))
    chosen: list[list[int]] = []
    for fraction in (test_fraction, val_fraction):
        room, taken = total * fraction, []
        for number in left:
            if len(texts[number]) <= room:
                taken.append(number)
                room -= len(texts[number])
        if fraction > 0 and not taken and left:
            taken = [min(left, key=lambda number: len(texts[number]))]
        left = [number for number in left if number not in taken]
        chosen.append(taken)
    if not left:
        raise DataError(f"{len(texts)} files are too few to share out: take more modules, or set the fractions to 0.")
    return tuple([texts[number] for number in numbers] for numbers in (left, chosen[1], chosen[0]))
