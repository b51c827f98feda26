"""Small files and small functions: hard caps here, the softer aims in what `make lines` prints.

Tables of data (files named table*.py) may be longer.
"""

import pytest

from tests.structure.source import ROOT, functions_of, syntax, tracked_files

FILE_CAP, FILE_AIM = 400, 300
FUNCTION_CAP, FUNCTION_AIM = 60, 40

SOURCES = [path for path in tracked_files() if path.suffix == ".py" and not path.name.startswith("table")]


def line_count(path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_stay_within_the_caps(path):
    assert line_count(path) <= FILE_CAP
    too_long = [f for f in functions_of(syntax(path)) if f.lines > FUNCTION_CAP]
    assert too_long == []


def report() -> list[str]:
    """What is over the aims, longest first."""
    over = [(line_count(path), f"{path.relative_to(ROOT)}: {line_count(path)} lines") for path in SOURCES]
    rows = [(count / FILE_AIM, text) for count, text in over if count > FILE_AIM]
    for path in SOURCES:
        for f in functions_of(syntax(path)):
            if f.lines > FUNCTION_AIM:
                where = f"{path.relative_to(ROOT)}:{f.line}"
                rows.append((f.lines / FUNCTION_AIM, f"{where} {f.name}: {f.lines} lines"))
    return [text for _, text in sorted(rows, reverse=True)]


if __name__ == "__main__":
    print(*report() or ["every file and function is within the aims"], sep="\n")
