"""Writes docs/reference/: every setting, from the registry and conf/; every public name, from the docstrings.

    python docs/generate.py            write what has changed, remove what is no more
    python docs/generate.py --check    only say what is stale; exit code 1 if anything is

A test makes sure that the pages are up to date.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT))

from docs.reference_api import api_pages  # noqa: E402
from docs.reference_config import config_pages  # noqa: E402


def pages() -> dict[str, str]:
    """Every generated page: its path below docs/reference/, and its text."""
    return {f"config/{name}.md": text for name, text in config_pages(ROOT / "conf").items()} | {
        f"api/{name}.md": text for name, text in api_pages().items()
    }


def stale(wanted: dict[str, str]) -> list[str]:
    """The pages that are missing, have another text, or should not be there."""
    present = {path.relative_to(REFERENCE).as_posix(): path for path in REFERENCE.rglob("*.md")}
    changed = [
        name for name, text in wanted.items() if name not in present or present[name].read_text("utf-8") != text
    ]
    return sorted([*changed, *(present.keys() - wanted.keys())])


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes docs/reference/.")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    check = parser.parse_args().check
    wanted = pages()
    names = stale(wanted)
    for name in names:
        print(name)
        path = REFERENCE / name
        if check:
            continue
        if name in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[name], encoding="utf-8")
        else:
            path.unlink()
    return 1 if check and names else 0


if __name__ == "__main__":
    sys.exit(main())
