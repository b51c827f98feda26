"""What the project's files may not contain, and promises of its documents that can be checked."""

import ast
import re

import pytest

from tests.structure.source import PACKAGE, ROOT, package_files, syntax, tracked_files

TEXT_SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".cfg", ".ini", ".sh", ".cu", ".json", ""}
TEXTS = [p for p in tracked_files() if p.suffix in TEXT_SUFFIXES and p.name != "LICENSE"]
# Written in two halves so that this table does not find itself.
UNWANTED = {
    "a path of one machine": r"(?<![\w.~])/(?:wo" r"rk|ro" r"ot|fa" r"rm|ho" r"me/\w+|Us" r"ers)/",
    "an issue number": r"(?i)\b(?:iss" r"ue|pull request|gh)[ -]?#?\d+\b|\(#\d+\)",
    "a registry's host": r"(?i)py" r"pi\.org|files\.python" r"hosted|npm" r"js\.(?:org|com)|index" r"-url",
    "an unfinished mark": r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b",
}


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_contains(what):
    pattern, found = re.compile(UNWANTED[what]), []
    for path in TEXTS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a path of one machine", 'open("/ro' 'ot/data.csv")'),
        ("an issue number", "see iss" "ue 12"),
        ("a registry's host", "pip install --index" "-url x"),
        ("an unfinished mark", "# TO" "DO: later"),
    ],
)
def test_the_patterns_find_what_they_are_for(what, line):
    assert re.search(UNWANTED[what], line)
    assert not re.search(UNWANTED[what], "outputs/mlflow.db holds 12 issues of work/root.csv")


# ---------------------------------------------------------------------- code that could run what a file says

FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def dangers(tree: ast.Module) -> list[str]:
    """Calls and imports through which data could run as code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(f"{node.lineno}: {node.func.id}()")
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", True):
            found.append(f"{node.value.lineno}: allow_pickle")
        elif isinstance(node, ast.Import):
            found += [f"{node.lineno}: {a.name}" for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(f"{node.lineno}: {node.module}")
        elif isinstance(node, ast.Attribute) and node.attr in {"unsafe_load", "UnsafeLoader", "instantiate"}:
            found.append(f"{node.lineno}: {node.attr}")
    return found


@pytest.mark.parametrize("path", package_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_runs_data_as_code(path):
    assert dangers(syntax(path)) == []


@pytest.mark.parametrize(
    "source",
    ["eval(x)", "exec(x)", "import pickle", "from pickle import loads", "np.load(f, allow_pickle=True)",
     "hydra.utils.instantiate(c)", "yaml.unsafe_load(f)", "compile(s, f, 'exec')"],
)  # fmt: skip
def test_a_planted_danger_is_found(source):
    assert len(dangers(ast.parse(source))) == 1


@pytest.mark.parametrize("source", ["model.eval()", "np.load(f, allow_pickle=False)", "re.compile(s)"])
def test_harmless_code_passes(source):
    assert dangers(ast.parse(source)) == []


# ---------------------------------------------------------------------- documents


DOCUMENTS = sorted(str(p.relative_to(ROOT)) for p in [*ROOT.glob("[A-Z]*.md"), *ROOT.glob("docs/*.md")])


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_make_targets_that_a_document_names_exist(name):
    named = set(re.findall(r"(?:^|`|\$ )make ([a-z]+)", (ROOT / name).read_text(), re.MULTILINE))
    assert named - makefile_targets() == set()


def test_the_readme_shows_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make train" in text
    assert "make test" in text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_files_that_a_document_links_to_exist(name):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / name).read_text())
    missing = [link for link in links if "://" not in link and not ((ROOT / name).parent / link).exists()]
    assert missing == []


def test_every_target_is_phony_and_explained():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split())
    assert phony == makefile_targets()
