# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files, directories and links: what differs, and how it lands."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _config_files as cf
from hypothesis import given
from hypothesis import strategies as st

UID, GID = os.getuid(), os.getgid()


def a_file(path: Path | str, content: bytes = b"new\n", mode: int = 0o640) -> cf.WantedFile:
    return cf.WantedFile(str(path), content, mode, UID, GID)


def plan(wanted: cf.Wanted) -> tuple[cf.Change, ...]:
    cf.check_wanted(wanted)
    return cf.decide_changes(wanted, {path: cf.read_state(path) for path in cf.list_paths(wanted)})


def land(wanted: cf.Wanted) -> tuple[cf.Change, ...]:
    changes = plan(wanted)
    for change in changes:
        cf.apply_change(change)
    return changes


def test_a_set_lands_once(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("x")
    wanted = cf.Wanted(
        directories=(cf.WantedDirectory(str(tmp_path / "a/b"), 0o750, UID, GID),),
        files=(a_file(tmp_path / "a/b/c.conf"),),
        links=(cf.WantedLink(str(tmp_path / "link"), "a/b/c.conf"),),
        absent=(str(tmp_path / "old"),),
    )
    assert [change.reasons for change in land(wanted)] == [("created",), ("created",), ("created",), ("removed",)]
    assert (tmp_path / "link").read_bytes() == b"new\n"
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    assert not (tmp_path / "old").exists()
    assert plan(wanted) == ()


def test_parents_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        land(cf.Wanted(directories=(cf.WantedDirectory(str(tmp_path / "a/b"), 0o700, UID, GID),)))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_attributes_alone_keep_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"new\n")
    path.chmod(0o600)
    inode = path.stat().st_ino
    (change,) = land(cf.Wanted(files=(a_file(path),)))
    assert change.reasons == ("mode",)
    assert (path.stat().st_ino, stat.S_IMODE(path.stat().st_mode)) == (inode, 0o640)


def test_a_link_in_the_place_of_a_file_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "file").symlink_to("target")
    land(cf.Wanted(files=(a_file(tmp_path / "file"),)))
    assert (tmp_path / "file").read_bytes() == b"new\n"
    assert (tmp_path / "target").read_text() == "theirs"


@pytest.mark.parametrize("kind", ["files", "links", "absent"])
def test_a_directory_is_never_replaced(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x").mkdir()
    path = str(tmp_path / "x")
    wanted = {
        "files": cf.Wanted(files=(a_file(path),)),
        "links": cf.Wanted(links=(cf.WantedLink(path, "y"),)),
        "absent": cf.Wanted(absent=(path,)),
    }[kind]
    with pytest.raises(cf.ConfigFilesError, match="is a directory"):
        plan(wanted)


def test_a_file_is_never_replaced_by_a_directory(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(cf.ConfigFilesError, match="should be a directory but is a file"):
        plan(cf.Wanted(directories=(cf.WantedDirectory(str(tmp_path / "x"), 0o755, UID, GID),)))


def test_an_unknown_account_can_be_planned_but_not_landed(tmp_path: Path) -> None:
    wanted = cf.Wanted(files=(cf.WantedFile(str(tmp_path / "x"), b"", 0o600, None, GID),))
    (change,) = plan(wanted)
    with pytest.raises(cf.ConfigFilesError, match="its owner does not exist"):
        cf.apply_change(change)
    assert not list(tmp_path.iterdir())


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(cf.ConfigFilesError, match="its directory does not exist"):
        land(cf.Wanted(files=(a_file(tmp_path / "no/x"),)))


def test_undo_brings_everything_back(tmp_path: Path) -> None:
    (tmp_path / "changed").write_bytes(b"old\n")
    (tmp_path / "changed").chmod(0o604)
    (tmp_path / "gone").write_bytes(b"kept\n")
    (tmp_path / "link").symlink_to("changed")
    wanted = cf.Wanted(
        directories=(cf.WantedDirectory(str(tmp_path / "d"), 0o700, UID, GID),),
        files=(a_file(tmp_path / "changed"), a_file(tmp_path / "d/fresh")),
        links=(cf.WantedLink(str(tmp_path / "link"), "elsewhere"),),
        absent=(str(tmp_path / "gone"),),
    )
    for change in reversed(land(wanted)):
        cf.undo_change(change)
    assert (tmp_path / "changed").read_bytes() == b"old\n"
    assert stat.S_IMODE((tmp_path / "changed").stat().st_mode) == 0o604
    assert (tmp_path / "gone").read_bytes() == b"kept\n"
    assert str((tmp_path / "link").readlink()) == "changed"
    assert not (tmp_path / "d").exists()


def test_prune_takes_what_matches_and_is_not_wanted() -> None:
    wanted = cf.Wanted(
        directories=(cf.WantedDirectory("/d", 0o755, 0, 0, prune="failover-*.conf"),),
        files=(a_file("/d/failover-a.conf"),),
    )
    names = {"/d": ["failover-a.conf", "failover-b.conf", "mine.conf"]}
    assert cf.decide_prunes(wanted, names) == ("/d/failover-b.conf",)


@pytest.mark.parametrize("path", ["relative", "/a/../b", "/a/", "//a"])
def test_only_plain_absolute_paths(path: str) -> None:
    with pytest.raises(cf.ConfigFilesError, match="not a plain absolute path"):
        cf.check_wanted(cf.Wanted(absent=(path,)))


def test_a_path_given_twice_is_an_error() -> None:
    with pytest.raises(cf.ConfigFilesError, match="given twice"):
        cf.check_wanted(cf.Wanted(files=(a_file("/a"),), absent=("/a",)))


@pytest.mark.parametrize(("text", "mode"), [("0640", 0o640), ("755", 0o755), ("4711", 0o4711)])
def test_modes(text: str, mode: int) -> None:
    assert cf.parse_mode(text) == mode


@pytest.mark.parametrize("text", ["u=rw", "0888", "-1", "77777", ""])
def test_bad_modes(text: str) -> None:
    with pytest.raises(cf.ConfigFilesError, match="quoted"):
        cf.parse_mode(text)


def test_a_block_is_appended_then_replaced_in_place() -> None:
    once = cf.merge_block(b"127.0.0.1 localhost", b"a\n")
    assert once == b"127.0.0.1 localhost\n# BEGIN hosting.failover\na\n# END hosting.failover\n"
    assert cf.merge_block(once + b"mine\n", b"b") == once.replace(b"a\n#", b"b\n#") + b"mine\n"


LINES = st.lists(st.sampled_from([b"", b"a", b"# BEGIN other", b"127.0.0.1 localhost"]), max_size=5).map(b"\n".join)


@given(before=LINES, content=LINES, other=LINES)
def test_a_block_changes_nothing_else(before: bytes, content: bytes, other: bytes) -> None:
    once = cf.merge_block(before, content)
    assert once.startswith(before)
    assert cf.merge_block(once, content) == once
    assert cf.merge_block(cf.merge_block(before, other), content) == once


def test_a_secret_is_not_in_the_difference() -> None:
    change = cf.Change(
        "/k", cf.WantedFile("/k", b"new secret", 0o600, 0, 0), cf.PathState("file", b"old secret"), ("content",)
    )
    assert "secret" not in str(cf.describe_change(change, secret=True))
    assert "new secret" in cf.describe_change(change, secret=False)["after"]


def test_binary_content_is_described_by_its_size() -> None:
    assert "(binary, 2 bytes)" in cf.describe_state(cf.PathState("file", b"\xff\x00", mode=0o644), secret=False)
