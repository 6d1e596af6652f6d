# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A failover agent that says what a test tells it to, on a real unix socket."""

from __future__ import annotations

import json
import socketserver
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

JsonObject = dict[str, Any]


def estate(**changes: Any) -> JsonObject:
    """The status of a settled replica, with changes at the top level."""
    status: JsonObject = {
        "schema": 1,
        "estate": "lab",
        "host": "www2",
        "role": "replica",
        "term": 3,
        "primary": "www1",
        "sync": {"term": 3, "primary": "www1", "members": ["www2"], "mode": "strict"},
        "etcd": {"reachable": True, "endpoints": 3, "healthy": 3, "unhealthy": []},
        "database": {"io_running": True, "sql_running": True, "error": ""},
        "lock": None,
        "problems": [],
    }
    return status | changes


class FakeAgent(socketserver.ThreadingUnixStreamServer):
    """A context; inside it the agent listens on ``path``.

    ``say`` gives the answers of a command, the last of them for ever. ``asked`` is every request.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "agent.sock")
        self.asked: list[JsonObject] = []
        self._answers: dict[str, list[JsonObject | bytes]] = {}
        super().__init__(self.path, _Handler)

    def say(self, command: str, *answers: JsonObject | bytes) -> None:
        """Answer ``command`` with ``answers``, one after the other."""
        self._answers[command] = list(answers)

    def status(self, *estates: JsonObject) -> None:
        """Answer ``status``."""
        self.say("status", *({"ok": True, "estate": each} for each in estates))

    def commands(self) -> list[str]:
        """What was asked besides the status."""
        return [str(request["command"]) for request in self.asked if request["command"] != "status"]

    def answer(self, request: JsonObject) -> bytes:
        """The line that goes back."""
        self.asked.append(request)
        answers = self._answers[request["command"]]
        reply = answers.pop(0) if len(answers) > 1 else answers[0]
        return reply if isinstance(reply, bytes) else json.dumps(reply).encode() + b"\n"

    def __enter__(self) -> FakeAgent:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    server: FakeAgent

    def handle(self) -> None:
        self.wfile.write(self.server.answer(json.loads(self.rfile.readline())))
