"""GPT-2's way to cut a text into words, inside of which its BPE merges (Radford et al., 2019).

Its pattern is  's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+  in the syntax
of the package regex. Python's re has no \\p{...}, and its \\s also means the separators U+001C to U+001F: the three
classes are written out, from unicodedata.
"""

import re
import sys
import unicodedata
from functools import cache
from itertools import groupby

# What Unicode calls White_Space.
SPACES = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"


def words(text: str) -> list[str]:
    """The pieces of a text; joined they are the text again."""
    return _pattern(text.isascii()).findall(text)


@cache
def _pattern(ascii_only: bool) -> re.Pattern[str]:
    letters, numbers = ("a-zA-Z", "0-9") if ascii_only else (_class("L"), _class("N"))
    return re.compile(
        f"'s|'t|'re|'ve|'m|'ll|'d| ?[{letters}]+| ?[{numbers}]+| ?[^{SPACES}{letters}{numbers}]+"
        f"|[{SPACES}]+(?![^{SPACES}])|[{SPACES}]+"
    )


@cache
def _class(kind: str) -> str:
    """The ranges, as between the brackets of a pattern, of all characters whose category begins with `kind`."""
    ranges = []
    category = unicodedata.category
    inside = (code for code in range(sys.maxunicode + 1) if category(chr(code))[0] == kind)
    for _, run in groupby(enumerate(inside), key=lambda pair: pair[1] - pair[0]):
        codes = [code for _, code in run]
        ranges.append(f"\\U{codes[0]:08x}-\\U{codes[-1]:08x}")
    return "".join(ranges)
