"""The project's own source, as the structure tests read it: files, syntax trees, imports."""

import ast
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "expkit"

# Left to right; a module imports from its own package and from those left of it, never from a sibling.
LAYERS = (
    {"errors"}, {"flags", "tree"}, {"registry"}, {"autograd"}, {"kernels"}, {"tensor"},
    {"func", "linalg", "fft", "special", "cuda", "amp", "random", "serialization"},
    {"nn", "optim", "data", "compiler", "distributed", "utils"}, {"averaging"},
    {"tracking", "config"}, {"trainer"}, {"sweep"}, {"cli"},
)  # fmt: skip
ENGINE = (
    "errors", "flags", "tree", "registry", "autograd", "kernels", "tensor", "func", "linalg", "fft", "special", "cuda",
    "amp", "random", "serialization", "nn", "optim", "data", "compiler", "distributed", "utils", "averaging",
)  # fmt: skip
ENGINE_LIBRARIES = {"numpy", "ml_dtypes", "llvmlite"}
# May be imported inside a function, to keep them out of start-up.
HEAVY = {
    "mlflow", "cupy", "cupyx", "sklearn", "pandas", "matplotlib", "PIL", "torch", "hydra", "omegaconf", "rich", "numpy",
    "llvmlite",
}  # fmt: skip


class Import(NamedTuple):
    module: str  # "expkit.nn.module", "numpy.random"
    line: int
    inside_function: bool


class Function(NamedTuple):
    name: str
    line: int
    lines: int


def layer_of(part: str) -> int:
    """The number of the layer that holds `part` ("nn", "errors"); the front door (expkit/__init__.py) is above all."""
    for number, parts in enumerate(LAYERS):
        if part in parts:
            return number
    if part in {"__init__", "__main__"}:
        return len(LAYERS)
    raise LookupError(f"expkit/{part} is in no layer: add it to LAYERS in {__name__}")


def part_of(module: str) -> str:
    """"nn" for "expkit.nn.module", "__init__" for "expkit"."""
    return module.split(".")[1] if "." in module else "__init__"


@cache
def package_files() -> tuple[Path, ...]:
    return tuple(sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts))


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file of the project: git's list, or without git (a source archive) the folders that it ships."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        names = [name for name in listing.split("\0") if name]
        return tuple(ROOT / name for name in sorted(names) if (ROOT / name).is_file())
    folders = ("expkit", "conf", "tests", "benchmarks", "docs", "examples")
    inside = (p for folder in folders for p in (ROOT / folder).rglob("*") if "__pycache__" not in p.parts)
    return tuple(sorted(p for p in (*inside, *ROOT.glob("*.*"), ROOT / "Makefile") if p.is_file()))


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """"expkit.nn.module" for expkit/nn/module.py, "expkit.nn" for its __init__.py."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.Module, module: str = "", is_package: bool = False) -> Iterator[Import]:
    """Every import statement; relative ones are resolved against `module`."""
    for node, inside in _walk(tree, inside_function=False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, inside)
        elif isinstance(node, ast.ImportFrom):
            yield from _from_import(node, inside, module, is_package)


def _from_import(node: ast.ImportFrom, inside: bool, module: str, is_package: bool) -> Iterator[Import]:
    base = node.module or ""
    if node.level:
        package = module.split(".") if is_package else module.split(".")[:-1]
        kept = package[: len(package) - node.level + 1]
        base = ".".join([*kept, base] if base else kept)
    if base == "expkit":  # `from expkit import flags` names a part of the package
        for alias in node.names:
            yield Import(f"expkit.{alias.name}", node.lineno, inside)
    else:
        yield Import(base, node.lineno, inside)


def _walk(node: ast.AST, inside_function: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, inside_function
        deeper = inside_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, deeper)


def functions_of(tree: ast.Module) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(node.name, node.lineno, node.end_lineno - node.lineno + 1)
