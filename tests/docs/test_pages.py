"""Every block of the README and of the pages in docs/ runs as it stands (`tests/docs/markdown.py` says how)."""

from pathlib import Path

import pytest

from tests.docs.markdown import blocks, commands, is_file, missing
from tests.docs.running import ROOT, Page, PageError

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = ROOT / "docs" / "reference"
WRITTEN = [path for path in PAGES if GENERATED not in path.parents]

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow
@pytest.mark.parametrize("path", WRITTEN, ids=[str(path.relative_to(ROOT)) for path in WRITTEN])
def test_a_page_runs(path, folder):
    Page(path, folder).run()


def test_the_readme_has_examples():
    found = blocks((ROOT / "README.md").read_text())
    assert sum(block.language == "python" for block in found) >= 2
    assert sum(len(commands(block)) for block in found if block.language in ("console", "indented")) >= 8


def test_what_is_not_run_has_a_reason():
    silent = []
    for path in WRITTEN:
        for block in blocks(path.read_text()):
            silent += [f"{path}:{block.line}" for said in block.values("skip") if len(said.split()) < 3]
            silent += [f"{path}:{block.line}" for said in block.values("without") if "," not in said]
    assert silent == []


# ---------------------------------------------------------------------- the harness itself


def page(folder: Path, text: str) -> Page:
    (folder / "page.md").write_text(text)
    return Page(folder / "page.md", folder)


GOOD = """
Text.

<!-- tests: setup
a = 2
-->
```python
# of no file
b = a + 1
print("b is", b, object())
```

```text
b is 3 <object ...>
```

```python
# pack/one.py
VALUE = 5
```

```yaml
# conf/model/quadratic.yaml
name: mlp
hidden: [3]
```

1. a list

   ```python
   from pack.one import VALUE
   assert VALUE + b == 8
   ```

    $ expkit train model=quadratic --cfg job \\
        -p model
    name: mlp
    ...
    - 3
    $ expkit train model=quadratik
    ConfigError: override 'model=quadratik': ... Did you mean 'quadratic'?

<!-- tests: without expkit ui, it does not end -->

    expkit ls loss    # comments are none of it
    expkit ui
"""


def test_a_good_page_runs(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    made = page(folder, GOOD)
    made.run()
    assert made.ran == 6
    assert (folder / "conf" / ".expkit").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("b is 3", "b is 4", "page.md:14: not printed: b is 4"),
        ("b = a + 1", "b = a + c", "page.md:8: NameError"),
        ("    - 3", "    - 4", "not printed: - 4"),
        ("'quadratic'?", "'cubic'?", "not printed: ConfigError"),
        ("expkit ls loss ", "expkit ls los ", "exit code 2 of expkit ls los"),
        ("hidden: [3]", "hidden: [3", "exit code 2"),
        ("VALUE = 5", "VALUE = 6", "page.md:31: AssertionError"),
    ],
)
def test_what_is_wrong_on_a_page_is_found(folder, monkeypatch, old, new, said):
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(PageError) as caught:
        page(folder, GOOD.replace(old, new)).run()
    assert said in str(caught.value)


def test_comments_that_nobody_understands_are_refused():
    with pytest.raises(ValueError, match="is none of"):
        blocks("<!-- tests: skipp, a reason -->\n```python\n1\n```")
    with pytest.raises(ValueError, match="nothing follows"):
        blocks("```python\n1\n```\n<!-- tests: skip, a reason -->\n")


def test_expected_lines_are_looked_for_in_order():
    assert missing(["a ... c", "...", "e"], "a b c\nd\n e ") is None
    assert missing(["e", "a"], "a\ne") == "a"


def test_a_path_in_the_first_line_makes_a_file():
    (one, two) = blocks("```python\n# a/b.py\n1\n```\n\n```python\n# a remark\n```")
    assert (is_file(one), is_file(two)) == ("a/b.py", None)
