"""Every test has its own home, state and cache, and no terminal."""

from __future__ import annotations

import os
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
