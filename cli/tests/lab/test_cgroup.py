from __future__ import annotations

from pathlib import Path

import pytest
from failoverctl.lab import cgroup

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize(
    ("file", "mount"),
    [("mountinfo-hybrid.txt", "/sys/fs/cgroup/unified"), ("mountinfo-v2.txt", "/sys/fs/cgroup")],
)
def test_the_version_2_hierarchy_is_found(file: str, mount: str) -> None:
    text = (FIXTURES / file).read_text(encoding="utf-8")
    assert cgroup.parse_mountinfo(text) == Path(mount)


def test_a_machine_without_it() -> None:
    assert cgroup.parse_mountinfo("22 27 0:21 / /proc rw,relatime - proc proc rw\n") is None


def test_what_does_not_exist_has_no_processes(tmp_path: Path) -> None:
    group = tmp_path / "none"
    assert not cgroup.populated(group)
    assert not cgroup.frozen(group)
    assert cgroup.processes(group) == []
    assert cgroup.first_process(group) is None
    cgroup.kill(group)


def test_events_are_read(tmp_path: Path) -> None:
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    assert cgroup.populated(tmp_path)
    assert not cgroup.frozen(tmp_path)
