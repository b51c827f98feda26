"""The API reference: a page for each package, with signature and first line of every public name."""

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# Page -> modules, in the order of the index.
PACKAGES: dict[str, tuple[str, ...]] = {
    "expkit": ("expkit",),
    "tensor": ("expkit.Tensor",),
    "autograd": ("expkit.autograd", "expkit.func"),
    "nn": ("expkit.nn",),
    "functional": ("expkit.nn.functional", "expkit.nn.init", "expkit.nn.utils"),
    "models": ("expkit.nn.models",),
    "optim": ("expkit.optim", "expkit.optim.schedulers", "expkit.optim.swa_utils"),
    "data": ("expkit.data", "expkit.data.text", "expkit.data.datasets"),
    "trainer": ("expkit.trainer", "expkit.trainer.tasks", "expkit.trainer.experiment"),
    "callbacks": ("expkit.trainer.callbacks",),
    "metrics": ("expkit.trainer.metrics",),
    "tuning": ("expkit.trainer.tuning",),
    "mathematics": ("expkit.linalg", "expkit.fft", "expkit.special"),
    "precision": ("expkit.amp",),
    "compiler": ("expkit.compiler",),
    "distributed": ("expkit.distributed", "expkit.utils.checkpoint"),
    "files": ("expkit.serialization",),
    "registry": ("expkit.registry", "expkit.config"),
    "tracking": ("expkit.tracking",),
    "errors": ("expkit.errors",),
}
# Classes whose methods are what one uses them for.
WITH_METHODS = ("expkit.trainer", "expkit.data", "expkit.tracking", "expkit.optim", "expkit.config", "expkit.nn.module")


def api_pages() -> dict[str, str]:
    """{page: text}; the page `index` links to the others."""
    pages, lines = {}, []
    for page, modules in PACKAGES.items():
        present = [name for name in modules if _find(name) is not None]
        if present:
            pages[page] = "\n".join(["[All packages](index.md)\n", *(_section(name) for name in present)])
            lines.append(f"- [{', '.join(present)}]({page}.md): {summary(_find(present[0]))}")
    intro = "Every public name with its signature and the first line of its documentation; `help(name)` has the rest."
    pages["index"] = f"# Names\n\n{intro}\n\n" + "\n".join(lines) + "\n"
    return pages


def _find(name: str) -> Any:
    """The module, or the class in a module, of that name; None where there is none."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        owner, _, last = name.rpartition(".")
        if error.name != name or not owner:
            raise
        return getattr(importlib.import_module(owner), last, None)


def _section(name: str) -> str:
    owner = _find(name)
    lines = [f"# {name}\n", f"{summary(owner)}\n"]
    if isinstance(owner, ModuleType):
        lines += [_item(key, value) for key, value in public(owner)]
    else:
        lines += [f"- {entry}" for entry in _methods(owner, inherited=True)]
    return "\n".join(lines) + "\n"


def public(module: ModuleType) -> list[tuple[str, Any]]:
    """The names that a module offers: those in `__all__`, else those of expkit without an underscore; no modules."""
    listed = getattr(module, "__all__", None)
    named = listed if listed is not None else [name for name in dir(module) if not name.startswith("_")]
    found = [(name, getattr(module, name)) for name in sorted(named)]
    return [
        (name, value) for name, value in found
        if not isinstance(value, ModuleType) and (listed is not None or _is_ours(value))
    ]  # fmt: skip


def _is_ours(value: Any) -> bool:
    kind = value if inspect.isclass(value) or inspect.isroutine(value) else type(value)
    return str(getattr(kind, "__module__", "")).startswith("expkit")


def _item(name: str, value: Any) -> str:
    head = f"- `{name}{signature(value)}`" if callable(value) else f"- `{name}`"
    said = summary(value) if callable(value) else _shown(value)
    line = f"{head}: {said}" if said else head
    if inspect.isclass(value) and value.__module__.startswith(WITH_METHODS):
        line += "".join(f"\n  - {entry}" for entry in _methods(value))
    return line


def _methods(owner: type, inherited: bool = False) -> Iterator[str]:
    """Public methods and properties with a docstring of their own."""
    for name in sorted(dir(owner) if inherited else vars(owner)):
        value = inspect.getattr_static(owner, name)
        plain = getattr(owner, name)
        if name.startswith("_") or getattr(plain, "is_default", False):
            continue
        said = summary(value if isinstance(value, property) else plain)
        if isinstance(value, property):
            yield f"`{name}`: {said}" if said else f"`{name}`"
        elif callable(plain) and (said or inherited):
            yield f"`{name}{signature(plain)}`" + (f": {said}" if said else "")


def signature(value: Any) -> str:
    """`(a: int, b: str = 'x')`, without modules in annotations and without `self`; empty where there is none."""
    if inspect.isclass(value) and issubclass(value, BaseException):
        return ""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    text = re.sub(r"^\(self(?:, (?:/, )?)?", "(", str(found))
    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text)
    text = re.sub(r"<(\w+)[^<>]* at 0x[0-9a-f]+>", r"\1", text)
    return re.sub(r"<(?:class|function|built-in function) '?([\w.]+)'?>", r"\1", text).replace("`", "'")


def summary(value: Any) -> str:
    """The first paragraph's first sentence or line of a docstring of its own."""
    doc = inspect.cleandoc(getattr(value, "__doc__", None) or "")
    if inspect.isclass(value) and "__doc__" not in vars(value):
        doc = ""
    paragraph = " ".join(doc.split("\n\n")[0].split())
    sentence = re.match(r"(.{20,}?[.:])(?:\s{1,}[A-Z(`]|$)", paragraph)
    text = sentence[1] if sentence else paragraph
    return re.sub(r"(?<![\w`])(\*{1,2})(?=\w)", r"\\\1", text).replace("<", "&lt;").rstrip(":")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"`{text}`" if len(text) < 60 and " at 0x" not in text else ""
