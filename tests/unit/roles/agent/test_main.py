# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command line: exit statuses, and one question and answer over the socket."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from failover_agent import __version__
from failover_agent.__main__ import main

from .test_config import GOOD


class TestCheck:
    """``run --check`` is what the role validates the configuration with."""

    def test_a_good_configuration(self, tmp_path: Path) -> None:
        path = tmp_path / "agent.json"
        path.write_text(json.dumps(GOOD), encoding="utf-8")
        assert main(["run", "--check", "--config", str(path)]) == 0

    @pytest.mark.parametrize("text", ["", "{}", '{"colour": "red"}', "[]"])
    def test_a_bad_one_says_why(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
        path = tmp_path / "agent.json"
        path.write_text(text, encoding="utf-8")
        assert main(["run", "--check", "--config", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("failover-agent: ")
        assert str(path) in captured.err

    def test_a_missing_one(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["run", "--config", str(tmp_path / "none.json")]) == 2
        assert "cannot read" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["dance"], ["ctl"], ["run", "--fast"]])
def test_a_wrong_call_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: failover-agent" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"failover-agent {__version__}\n"


def answering(path: Path, reply: bytes) -> list[dict[str, Any]]:
    """Answer one question on a socket; what was asked."""
    asked: list[dict[str, Any]] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection = listener.accept()[0]
        with connection, connection.makefile("rb") as stream:
            asked.append(json.loads(stream.readline()))
            connection.sendall(reply)
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return asked


class TestCtl:
    """``ctl`` asks the running daemon."""

    def test_a_good_answer_is_printed_and_ends_with_0(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "agent.sock"
        asked = answering(path, b'{"ok": true, "changed": false}\n')
        fields = ["run_id=run-1", "force=true", "check=false", "to=", "note=a=b"]
        assert main(["ctl", "--socket", str(path), "lock_release", *fields]) == 0
        assert asked == [
            {"command": "lock_release", "run_id": "run-1", "force": True, "check": False, "to": "", "note": "a=b"}
        ]
        assert json.loads(capsys.readouterr().out) == {"ok": True, "changed": False}

    def test_a_refusal_is_printed_and_ends_with_1(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "agent.sock"
        answering(path, b'{"ok": false, "code": "not_primary", "error": "no"}\n')
        assert main(["ctl", "--socket", str(path), "adopt"]) == 1
        assert json.loads(capsys.readouterr().out)["code"] == "not_primary"

    def test_nobody_there_ends_with_1_and_advice(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["ctl", "--socket", str(tmp_path / "none.sock"), "status"]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "is failover-agent.service running?" in captured.err

    @pytest.mark.parametrize("reply", [b"", b"nonsense\n"])
    def test_an_answer_that_is_none_ends_with_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], reply: bytes
    ) -> None:
        path = tmp_path / "agent.sock"
        answering(path, reply)
        assert main(["ctl", "--socket", str(path), "status"]) == 1
        assert str(path) in capsys.readouterr().err
