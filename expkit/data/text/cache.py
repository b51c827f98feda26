"""Trained tokenizers are kept on disk: training one takes seconds, and the same texts give the same one."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from expkit import flags

VERSION = 1  # of what training does: another one, another result


def folder() -> Path | None:
    """Where they are; None where nothing is kept (EXPKIT_TOKENIZER_CACHE=off, or a user without a home)."""
    return flags.cache_folder("TOKENIZER_CACHE", "tokenizers")


def kept(texts: Iterable[str], arguments: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """`make()`, or what it gave for these texts and arguments before. A file that is not sound is made again."""
    digest = hashlib.sha256(json.dumps([VERSION, arguments], sort_keys=True).encode())
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    place = folder()
    if place is None:
        return make()
    path = place / f"{digest.hexdigest()[:32]}.json"
    found = _read(path)
    if found is None:
        found = make()
        _write(path, found)
    return found


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(path: Path, content: dict[str, Any]) -> None:
    """Under a temporary name and renamed, so that nobody reads half a file; without a place to write, not at all."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{uuid4().hex[:8]}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(path)
