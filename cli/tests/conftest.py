"""Every test has its own home, state and cache, and no terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(("FAILOVERCTL_", "ANSIBLE_", "XDG_", "CLICOLOR")) or name == "NO_COLOR":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TZ", "UTC")


@pytest.fixture
def fixtures() -> Path:
    """The folder with captured output, playbooks and golden files."""
    return Path(__file__).parent / "fixtures"


@pytest.fixture
def golden(fixtures: Path) -> Callable[[str, str], None]:
    """Compare a text with a golden file; with UPDATE_GOLDEN=1 write the file instead."""

    def compare(name: str, text: str) -> None:
        path = fixtures / "golden" / f"{name}.txt"
        if os.environ.get("UPDATE_GOLDEN") == "1":
            path.write_text(text + "\n")
        assert path.read_text() == text + "\n", "look at the difference, then run again with UPDATE_GOLDEN=1"

    return compare
