"""MLflow's rules for names and values: what may be sent, and how ours are brought into that form."""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from expkit.errors import ConfigError

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100
BYTES_PER_BATCH = 500_000
KEY_LENGTH = 250
PARAM_LENGTH = 6000
TAG_LENGTH = 8000

STATUSES = ("FINISHED", "FAILED", "KILLED")

_FORBIDDEN = re.compile(r"[^/\w.\- :]")
_ALIAS = re.compile(r"[\w\-]+")
_PASSWORD = re.compile(r"(://[^:/@\s]*):[^@/\s]+@")


def key(name: str) -> str:
    """`name` as MLflow accepts it for a metric, parameter or tag: "val/acc@5" becomes "val/acc_5"."""
    parts = [part for part in _FORBIDDEN.sub("_", name).split("/") if part not in ("", ".", "..")]
    legal = "/".join(parts) or "_"
    if len(legal) <= KEY_LENGTH:
        return legal
    digest = f"{zlib.crc32(name.encode()):08x}"  # two long names stay two
    return f"{legal[: KEY_LENGTH - 9]}_{digest}"


def shortened(text: str, length: int) -> str:
    """`text`, cut to `length` characters with a sign that it was cut."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def redacted(text: str) -> str:
    """`text` with the passwords of its addresses hidden: "http://me:secret@host" becomes "http://me:***@host"."""
    return _PASSWORD.sub(r"\1:***@", text)


def has_password(text: str) -> bool:
    """Does `text` hold an address with a password?"""
    return _PASSWORD.search(text) is not None


def flatten(params: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, text) pairs of nested parameters: {"optim": {"lr": 0.1}} gives ("optim.lr", "0.1").

    Lists stay one value: `model.hidden` is "[64, 64]", as it was written.
    """
    for name, value in params.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{path}.")
        else:
            yield path, str(value)


def registration(name: str | None, aliases: Iterable[str] | None, champion: str | None) -> dict[str, Any]:
    """How a model is to be registered, for the journal; empty when it is not. ConfigError for what MLflow refuses."""
    given = list(aliases or [])
    for alias in [*given, *([champion] if champion else [])]:
        if not _ALIAS.fullmatch(alias) or re.fullmatch(r"v\d+|latest", alias, re.IGNORECASE):
            raise ConfigError(
                f"alias {alias!r}: MLflow takes letters, digits, _ and -, but neither 'latest' nor names like 'v1'."
            )
    if name is None:
        if given:
            raise ConfigError(f"aliases={given} are for a registered model: say its name by register_as.")
        return {}
    if not name or "/" in name or ":" in name:
        raise ConfigError(f"register_as={name!r}: the name of a registered model has no '/' and no ':'.")
    return {"name": name, "aliases": given, "champion": champion}


def chunks(texts: Mapping[str, str], count: int) -> Iterator[dict[str, str]]:
    """`texts` in dictionaries of at most `count` entries and `BYTES_PER_BATCH` bytes of JSON."""
    chunk: dict[str, str] = {}
    size = 0
    for name, text in texts.items():
        weight = len(json.dumps([name, text]))
        if chunk and (len(chunk) == count or size + weight > BYTES_PER_BATCH):
            yield chunk
            chunk, size = {}, 0
        chunk[name] = text
        size += weight
    if chunk:
        yield chunk


def cleaned(texts: Iterable[tuple[str, Any]], length: int) -> dict[str, str]:
    """Names and values as MLflow accepts them, passwords hidden."""
    return {key(name): shortened(redacted(str(value)), length) for name, value in texts}
