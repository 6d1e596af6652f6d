# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What outlives an agent of its lease: a file on tmpfs, which its next life and the guard read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class LeaseNote(NamedTuple):
    """What outlives the agent: its lease, the end of it, up to when the host may be writable, and where it led last."""

    lease: int = 0
    valid_until: float = 0.0
    until: float = 0.0
    led: int = 0


def read_note(path: Path) -> LeaseNote:
    """The note of the agent's last life; zeros when there is none."""
    try:
        lease, valid_until, until, *led = path.read_text(encoding="utf-8").split()
        return LeaseNote(int(lease), float(valid_until), float(until), int(led[0]) if led else 0)
    except (OSError, ValueError):
        return LeaseNote()
