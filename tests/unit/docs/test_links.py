"""Links lead somewhere: between pages, to their headings, and from messages of the code to pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from failoverctl.commands.conducting import GATES
from failoverctl.runbooks import CATALOGUE

from .conftest import PAGES, TOP, blocks, name, prose

_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_PAGE = re.compile(r"(?<!``)\bdocs/[\w./-]+\.md(?:#[\w-]+)?")


def anchors(path: Path) -> set[str]:
    """The names of a page's headings as GitHub makes them: lower case, no punctuation, hyphens for spaces."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(path.read_text(encoding="utf-8"))):
        words = re.sub(r"\]\([^)]*\)", "", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (numbered := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(numbered)
    return found


def broken(target: str, base: Path) -> bool:
    """Whether a link does not lead to a file of the repository, or not to a heading of it."""
    place, _, anchor = target.partition("#")
    path = (base.parent / place).resolve() if place else base
    if not path.exists() or not path.is_relative_to(TOP):
        return True
    return bool(anchor) and anchor not in anchors(path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_a_page(page: Path) -> None:
    found = [one or two for one, two in _LINK.findall(prose(page.read_text(encoding="utf-8")))]
    inside = [target for target in found if not re.match(r"[a-z]+:", target)]
    assert [target for target in inside if broken(target, page)] == []


def sources() -> Iterator[Path]:
    """Files of code that name pages."""
    for pattern in ("cli/failoverctl/**/*.py", "plugins/**/*.py", "roles/**/*.*", "playbooks/**/*.yml", "scripts/*"):
        yield from (path for path in sorted(TOP.glob(pattern)) if path.is_file() and "__pycache__" not in path.parts)


def test_pages_that_the_code_names() -> None:
    named = {
        (name(path), target)
        for path in sources()
        if path.suffix != ".md"
        for target in _PAGE.findall(path.read_text(encoding="utf-8"))
    }
    assert named
    assert [(path, target) for path, target in named if broken(target, TOP / "README.md")] == []


@pytest.mark.parametrize("runbook", CATALOGUE)
def test_a_runbook_with_gates_has_a_page(runbook: str) -> None:
    playbook = (TOP / "playbooks" / f"{runbook}.yml").read_text(encoding="utf-8")
    assert ("Ask every gate" not in playbook) or GATES[runbook] == f"docs/howto/{runbook}.md#gates"
    assert not broken(GATES.get(runbook, "docs/howto/setup.md"), TOP / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_closed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(list(blocks(text)))
