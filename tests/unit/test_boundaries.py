"""What the parts of this repository may know of each other, and of the machines it was written on."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
COLLECTION = ("meta", "playbooks", "plugins", "roles")


def texts(*folders: str) -> Iterator[tuple[str, str]]:
    """The path and the content of every text file below some folders."""
    for folder in folders:
        for path in sorted((TOP / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(TOP)), path.read_text(encoding="utf-8")


def test_the_collection_knows_nothing_of_the_command_line() -> None:
    known = [
        f"{path}: {found[0]}"
        for path, text in texts(*COLLECTION)
        if (found := re.search(r"\bcli/.*|^\s*(from|import) failoverctl\b.*|python3? -m failoverctl\b.*", text, re.M))
    ]
    assert known == []


@pytest.mark.parametrize(
    ("package", "home"), [("ansible_runner", "runner.py"), ("rich", "render"), ("click", "commands")]
)
def test_a_library_is_imported_in_one_place(package: str, home: str) -> None:
    strangers = []
    for path, text in texts("cli/failoverctl"):
        if path.endswith(".py") and not path.removeprefix("cli/failoverctl/").startswith(home):
            for node in ast.walk(ast.parse(text)):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
                strangers += [path for name in names if name.partition(".")[0] == package]
    assert strangers == []


def test_no_file_names_a_place_of_the_machine_it_was_written_on() -> None:
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True)
    places = re.compile(r"/wor[k]/|/hom[e]/\w|/roo[t]/\.|\.\./share[d]\b|\bfile://")
    named = []
    for name in filter(None, listed.stdout.split("\0")):
        path = TOP / name
        if path.is_file() and not path.is_symlink():
            named += [f"{name}: {found[0]}" for found in places.finditer(path.read_text("utf-8", errors="replace"))]
    assert named == []
