"""Kernel settings are raised where they are too low, and put back exactly."""

from __future__ import annotations

from pathlib import Path

from failoverctl.lab import kernel

NEEDED = {"net/ipv4/ip_forward": 1, "fs/inotify/max_user_instances": 1024}


def system(tmp_path: Path, forward: int, instances: int) -> Path:
    root = tmp_path / "sys"
    for name, value in zip(NEEDED, (forward, instances), strict=True):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def values(root: Path) -> list[int]:
    return [int((root / name).read_text()) for name in NEEDED]


def test_low_values_are_raised_once_and_put_back(tmp_path: Path) -> None:
    root, marker = system(tmp_path, 0, 128), tmp_path / "kernel.was"
    kernel.raise_limits(marker, NEEDED, root)
    kernel.raise_limits(marker, NEEDED, root)
    assert values(root) == [1, 1024]
    kernel.restore(marker, root)
    kernel.restore(marker, root)
    assert values(root) == [0, 128]
    assert not marker.exists()


def test_values_that_are_high_enough_are_left_alone(tmp_path: Path) -> None:
    root, marker = system(tmp_path, 1, 4096), tmp_path / "kernel.was"
    kernel.raise_limits(marker, NEEDED, root)
    assert not marker.exists()
    assert values(root) == [1, 4096]


def test_a_value_lowered_by_somebody_meanwhile_does_not_hide_the_first_one(tmp_path: Path) -> None:
    root, marker = system(tmp_path, 0, 128), tmp_path / "kernel.was"
    kernel.raise_limits(marker, NEEDED, root)
    (root / "fs/inotify/max_user_instances").write_text("256")
    kernel.raise_limits(marker, NEEDED, root)
    kernel.restore(marker, root)
    assert values(root) == [0, 128]
