"""Programs that a drill runs on hosts: sent there as text, for Debian's python3 (and python3-pymysql on data hosts)."""

from __future__ import annotations

from pathlib import Path


def program(name: str) -> str:
    """Return the text of a program of this folder, such as ``sampler``."""
    return (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
