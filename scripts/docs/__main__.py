"""Writes the generated documentation, or says what of it is not up to date.

Usage, from the top folder: python -m scripts.docs [--check]. Exit status: 0 done or up to date, 1 not up to date.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from scripts.docs import agent, command_line, faults, formats, index, inventory, playbooks, plugins, roles, scenarios
from scripts.docs.markdown import HEAD, REFERENCE, TOP, DocsError

PAGES: tuple[Callable[[], Mapping[Path, str]], ...] = (
    index.pages,
    command_line.pages,
    inventory.pages,
    playbooks.pages,
    roles.pages,
    plugins.pages,
    agent.pages,
    faults.pages,
    scenarios.pages,
    formats.pages,
)


def wanted() -> dict[Path, str]:
    """Return the text of every file that is generated, wholly or in part."""
    files: dict[Path, str] = {}
    for pages in PAGES:
        files.update(pages())
    return files


def stale(files: Mapping[Path, str]) -> Iterator[Path]:
    """Yield generated pages of before that nothing generates any more."""
    for path in sorted(REFERENCE.rglob("*.md")):
        if path not in files and path.read_text(encoding="utf-8").startswith(HEAD):
            yield path


def differences(files: Mapping[Path, str]) -> Iterator[str]:
    """Yield what would change, as a unified diff, file by file."""
    texts = {**files, **dict.fromkeys(stale(files), "")}
    for path, text in sorted(texts.items()):
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        name = str(path.relative_to(TOP))
        yield from difflib.unified_diff(
            before.splitlines(), text.splitlines(), name, f"{name} (generated)", lineterm=""
        )


def main() -> int:
    """Write, or with --check compare, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when something would change")
    arguments = parser.parse_args()
    try:
        files = wanted()
    except DocsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if arguments.check:
        found = list(differences(files))
        if found:
            print(*found, "", "The generated documentation is not up to date. Fix: make docs", sep="\n")
        return 1 if found else 0
    for path in stale(files):
        path.unlink()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(TOP))
    return 0


if __name__ == "__main__":
    sys.exit(main())
