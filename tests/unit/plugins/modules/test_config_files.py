# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ``config_files``: validation, verification, check mode."""

from __future__ import annotations

import base64
import getpass
import grp
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.modules import config_files

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
Run = Callable[..., dict[str, Any]]


def task(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the arguments as the action plugin sends them."""
    contents = {item["dest"]: base64.b64encode(item.pop("text").encode()).decode() for item in files}
    return {"files": [{**ME, **item} for item in files], "contents": json.dumps(contents), **more}


def test_a_file_lands_once(tmp_path: Path, run_module: Run) -> None:
    dest = str(tmp_path / "a")
    first = run_module(config_files, task({"dest": dest, "text": "x\n", "mode": "0600", "secret": True}))
    assert (first["changed"], first["changed_files"]) == (True, [dest])
    assert "(content hidden)" in first["diff"][0]["after"]
    assert (tmp_path / "a").read_text() == "x\n"
    second = run_module(config_files, task({"dest": dest, "text": "x\n", "mode": "0600"}))
    assert (second["changed"], second["changed_files"], second["diff"]) == (False, [], [])


def test_check_mode_says_the_same_and_does_nothing(tmp_path: Path, run_module: Run) -> None:
    wanted = task({"dest": str(tmp_path / "d/a"), "text": "x"}, directories=[{**ME, "path": str(tmp_path / "d")}])
    predicted = run_module(config_files, wanted, check=True)
    assert not list(tmp_path.iterdir())
    done = run_module(config_files, wanted)
    assert predicted == done
    assert done["changed_directories"] == [str(tmp_path / "d")]


def test_nothing_lands_when_one_is_invalid(tmp_path: Path, run_module: Run) -> None:
    good = {"dest": str(tmp_path / "good"), "text": "yes", "validate": "grep -q yes %s"}
    bad = {"dest": str(tmp_path / "bad"), "text": "no", "validate": "grep -q yes %s"}
    result = run_module(config_files, task(good, bad))
    assert result["failed"]
    assert f"{tmp_path}/bad was not changed, its new content is invalid: grep" in result["msg"]
    assert not list(tmp_path.iterdir())


def test_in_check_mode_a_new_file_may_be_invalid_a_present_one_not(tmp_path: Path, run_module: Run) -> None:
    item = {"dest": str(tmp_path / "x"), "text": "no", "validate": "grep -q yes %s"}
    assert run_module(config_files, task(dict(item)), check=True)["changed"]
    (tmp_path / "x").write_text("yes")
    assert run_module(config_files, task(dict(item)), check=True)["failed"]


def test_the_set_is_put_back_when_its_verification_fails(tmp_path: Path, run_module: Run) -> None:
    (tmp_path / "old").write_text("before")
    wanted = task(
        {"dest": str(tmp_path / "old"), "text": "after"},
        {"dest": str(tmp_path / "new"), "text": "x"},
        verify=["true", f"grep -q before {tmp_path}/old"],
    )
    result = run_module(config_files, wanted)
    assert result["msg"].startswith("Nothing was changed, the new files were put back: grep -q before")
    assert (tmp_path / "old").read_text() == "before"
    assert not (tmp_path / "new").exists()


def test_the_set_is_put_back_when_a_later_file_cannot_land(tmp_path: Path, run_module: Run) -> None:
    wanted = task({"dest": str(tmp_path / "a"), "text": "x"}, {"dest": str(tmp_path / "no/b"), "text": "x"})
    assert "its directory does not exist" in run_module(config_files, wanted)["msg"]
    assert not list(tmp_path.iterdir())


def test_a_block_keeps_the_rest(tmp_path: Path, run_module: Run) -> None:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    wanted = {"dest": str(tmp_path / "hosts"), "text": "198.51.100.11 www1\n", "block": True}
    assert run_module(config_files, task(dict(wanted)))["changed"]
    assert not run_module(config_files, task(dict(wanted)))["changed"]
    assert (tmp_path / "hosts").read_text().splitlines()[::2] == ["127.0.0.1 localhost", "198.51.100.11 www1"]


def test_leftovers_are_pruned(tmp_path: Path, run_module: Run) -> None:
    for name in ("a.conf", "b.conf", "keep"):
        (tmp_path / name).touch()
    wanted = task(
        {"dest": str(tmp_path / "a.conf"), "text": ""},
        directories=[{**ME, "path": str(tmp_path), "prune": "*.conf", "mode": oct(tmp_path.stat().st_mode)[-3:]}],
    )
    assert run_module(config_files, wanted)["changed_files"] == [f"{tmp_path}/b.conf"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.conf", "keep"]


@pytest.mark.parametrize("check", [True, False])
def test_an_unknown_account(tmp_path: Path, run_module: Run, check: bool) -> None:
    wanted = task({"dest": str(tmp_path / "a"), "text": "", "owner": "nobody-here"})
    result = run_module(config_files, wanted, check=check)
    assert result["changed"] if check else "its owner does not exist" in result["msg"]
