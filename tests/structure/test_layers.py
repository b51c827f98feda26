"""Imports run one way: the layers of source.LAYERS, read from the imports themselves."""

import ast
import subprocess
import sys
import textwrap

import pytest

from tests.structure.source import (
    ENGINE,
    ENGINE_LIBRARIES,
    HEAVY,
    LAYERS,
    PACKAGE,
    ROOT,
    imports_of,
    layer_of,
    module_name,
    package_files,
    part_of,
    syntax,
)  # fmt: skip


def breaches(source: ast.Module, module: str, is_package: bool = False) -> list[str]:
    """What `module` imports from expkit that its layer may not."""
    part, found = part_of(module), []
    for imported in imports_of(source, module, is_package):
        if imported.module.split(".")[0] != "expkit" or part == "__init__":
            continue
        target = part_of(imported.module)
        if target != part and layer_of(target) >= layer_of(part):
            relation = "a sibling" if layer_of(target) == layer_of(part) else "above it"
            found.append(f"{module}:{imported.line} imports {imported.module}, {relation}")
    return found


def late_imports(source: ast.Module, module: str) -> list[str]:
    """Imports inside functions, the heavy optional libraries aside."""
    return [
        f"{module}:{found.line} imports {found.module} inside a function"
        for found in imports_of(source, module)
        if found.inside_function and found.module.split(".")[0] not in HEAVY
    ]


@pytest.mark.parametrize("path", package_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_the_layers_below(path):
    assert breaches(syntax(path), module_name(path), path.name == "__init__.py") == []


@pytest.mark.parametrize("path", package_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_stand_at_the_top(path):
    if path == PACKAGE / "__init__.py":
        return  # the front door loads the upper layers on first use
    assert late_imports(syntax(path), module_name(path)) == []


def test_every_part_has_a_layer():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in package_files()}
    assert parts - {"__init__", "__main__"} <= set().union(*LAYERS)


PLANTED = [
    ("expkit.nn.linear", "from expkit.trainer import Trainer", "above it"),
    ("expkit.nn.linear", "from expkit.optim import SGD", "a sibling"),
    ("expkit.nn.linear", "import expkit.cli.main", "above it"),
    ("expkit.nn.linear", "from ..data import loader", "a sibling"),
    ("expkit.tensor.dtypes", "from expkit import nn", "above it"),
    ("expkit.tensor.dtypes", "import expkit", "above it"),
    ("expkit.tensor.dtypes", "def f():\n    from expkit.nn import Module", "above it"),
]


@pytest.mark.parametrize(("module", "source", "relation"), PLANTED)
def test_a_planted_breach_is_found(module, source, relation):
    assert [found.endswith(relation) for found in breaches(ast.parse(source), module)] == [True]


def test_a_planted_late_import_is_found():
    source = ast.parse("def f():\n    import json\n    import mlflow\n    return lambda: __import__\n")
    assert late_imports(source, "expkit.nn.x") == ["expkit.nn.x:2 imports json inside a function"]


def run_python(source: str) -> str:
    """Standard output of a fresh interpreter in the repository root; its error output fails the test."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(source)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_engine_imports_with_its_own_libraries_alone():
    """Whoever embeds the engine needs NumPy, ml_dtypes and llvmlite; all else is refused while it is imported."""
    modules = [module_name(path) for path in package_files() if part_of(module_name(path)) in ENGINE]
    assert modules
    run_python(f"""
        import importlib, sys
        allowed = sys.stdlib_module_names | {ENGINE_LIBRARIES | {"expkit"}!r}
        class Refuse:
            def find_spec(self, name, path=None, target=None):
                # NumPy asks for some libraries and does without them
                if name.split(".")[0] not in allowed:
                    raise ImportError(f"{{name}} is not a library of the engine")
        sys.meta_path.insert(0, Refuse())
        for name in {modules!r}:
            importlib.import_module(name)
    """)


def test_importing_expkit_is_light():
    loaded = run_python("import sys, expkit; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert "expkit" in loaded
    assert not set(loaded) & (HEAVY - {"numpy"})
