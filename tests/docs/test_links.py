"""Links between pages, to headings and to files lead somewhere; every page can be reached from the index."""

import re
from pathlib import Path

import pytest

from tests.docs.running import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
LINK = re.compile(r"(?<!`)\[[^\]\n]*\n?[^\]\n]*\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(path: Path) -> list[str]:
    return [link for link in LINK.findall(prose(path)) if "://" not in link and not link.startswith("mailto:")]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).lower()) for text in headings)
    return {text.strip().replace(" ", "-") for text in plain}


def broken(path: Path) -> list[str]:
    found = []
    for link in links(path):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_links_lead_somewhere(path):
    assert broken(path) == []


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "a.md"
    page.write_text("# One two\n[a](b.md) [b](#one-two) [c](#three) [d](a.md#one-two)\n```\n[e](f)\n```\n")
    assert broken(page) == ["b.md", "#three"]


def test_every_page_can_be_reached():
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        path = todo.pop()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        todo += [(path.parent / link.partition("#")[0]).resolve() for link in links(path) if not link.startswith("#")]
    assert set(PAGES) - reached == set()
