"""The documentation as the tests read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
DOCS = TOP / "docs"
REFERENCE = DOCS / "reference"

#: Pages that people wrote.
WRITTEN = sorted(
    [
        TOP / "README.md",
        *(path for path in DOCS.rglob("*.md") if REFERENCE not in path.parents),
        *TOP.glob("roles/*/README.md"),
    ]
)
#: Pages that are generated, and those with figures.
GENERATED = sorted(REFERENCE.rglob("*.md"))
PAGES = WRITTEN + GENERATED

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def name(path: Path) -> str:
    """The path of a page as the ids of tests have it."""
    return str(path.relative_to(TOP))


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and lines of each block of code."""
    for found in _FENCE.finditer(text):
        yield found[2], found[3]


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", text)


def inline_code(text: str) -> list[str]:
    """What stands in backticks, blocks left out."""
    return [found.replace("\\|", "|") for found in _CODE.findall(prose(text))]
