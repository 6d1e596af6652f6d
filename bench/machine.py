"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.beds import Bed

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""


def now() -> str:
    """Return the moment as UTC ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def facts() -> dict[str, Any]:
    """Return what the results file says about this machine; nothing in it names the machine."""
    release = platform.freedesktop_os_release()
    return {
        "cpus": os.cpu_count(),
        "cpu_model": parse_cpu_model(Path("/proc/cpuinfo").read_text(encoding="utf-8")),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release().partition("-")[0],
        "os": release.get("PRETTY_NAME", "?"),
        "python": platform.python_version(),
    }


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two descriptions are of machines of one kind.

    What the kernel leaves of the memory differs by a few pages between two starts of one machine.
    """
    return {**one, "memory_bytes": memory_mib(one)} == {**other, "memory_bytes": memory_mib(other)}


def memory_mib(described: Mapping[str, Any]) -> int:
    """Return the memory in a description of a machine, in whole MiB."""
    return int(described.get("memory_bytes", 0)) // 2**20


def parse_cpu_model(cpuinfo: str) -> str:
    """Return the model name in the text of /proc/cpuinfo, `?` where it has none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return "?"


def commit() -> str:
    """Return the commit of the checkout, with a plus sign when files differ from it."""
    head = _git("rev-parse", "--short", "HEAD")
    return f"{head}+" if _git("status", "--porcelain", "--untracked-files=no") else head


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def own_versions() -> dict[str, str]:
    """Return the versions of what runs on this machine."""
    from importlib.metadata import version

    return {name: version(name) for name in ("ansible-core", "failoverctl")}


def package_versions(bed: Bed, host: str, packages: Sequence[str]) -> Mapping[str, str]:
    """Return the versions of Debian packages on a host, without those that are not installed."""
    shown = bed.lab.exec(host, ["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *packages])
    return dict(line.split(" ", 1) for line in shown.stdout.splitlines() if not line.endswith(" "))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("" if done.returncode == 0 else "unknown")
