"""docs/reference/ is what docs/generate.py makes of the registry and the docstrings as they are."""

import subprocess
import sys

import pytest

from docs.reference_api import public, signature, summary
from docs.reference_config import comments
from tests.docs.running import ROOT


@pytest.mark.slow
def test_the_reference_is_up_to_date():
    """In a process of its own: other tests register things."""
    done = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run `make docs`: these pages are stale\n{done.stdout}{done.stderr}"


class Sample:
    """Does a thing (arXiv:1.2). More of it.

    And more.
    """

    def method(self, a: "int", b=print) -> None: ...


@pytest.mark.parametrize(
    ("what", "shown"),
    [(Sample.method, "(a: 'int', b=print) -> None"), (Sample, "()"), (KeyError, "")],
)
def test_signatures(what, shown):
    assert signature(what) == shown


def test_summaries():
    assert summary(Sample) == "Does a thing (arXiv:1.2)."
    assert summary(Sample.method) == ""


def test_public_names_are_the_packages_own():
    from expkit import errors

    found = dict(public(errors))
    assert "ConfigError" in found
    assert "Iterable" not in found
    assert "get_close_matches" not in found


def test_comments_of_a_file():
    assert comments("# all\na: 1  # one | two\nc:\n  a: 3 # other\n  b: 4\n") == {"a": "one \\| two"}
