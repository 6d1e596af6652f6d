# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Talks to the failover agent of the host a module runs on.

PRIVATE to the collection. One JSON object a line each way, over the agent's root-only unix socket.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any

SOCKET = "/run/failover-agent/agent.sock"

ARGUMENT_SPEC: dict[str, Any] = {"socket": {"type": "path", "default": SOCKET}}


class AgentError(Exception):
    """The agent does not answer, or said no.

    ``code`` is a stable word, ``absent`` when there is no agent to ask; the text names the next step.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def call(path: str, request: dict[str, Any], timeout_seconds: float = 30.0) -> dict[str, Any]:
    """Send one command and return the fields of the agent's reply.

    :raises AgentError: nobody answers on ``path`` within ``timeout_seconds``, or the agent refuses.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                reply = dict(json.loads(stream.readline()))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise AgentError("absent", f"no agent listens on {path}: is failover-agent.service running?") from error
    except (OSError, TypeError, ValueError) as error:
        raise AgentError("silent", f"the agent on {path} gave no answer in {timeout_seconds:g} s: {error}") from error
    if not reply.pop("ok", False):
        raise AgentError(str(reply.get("code", "failed")), str(reply.get("error", reply)))
    return reply


def status(path: str, timeout_seconds: float = 10.0) -> dict[str, Any]:
    """The agent's view of its host and of the estate; fields as in the agent's reference.

    :raises AgentError: nobody answers.
    """
    return dict(call(path, {"command": "status"}, timeout_seconds)["estate"])


def wait_for_agent(path: str, timeout_seconds: float) -> dict[str, Any]:
    """The first status the agent gives within ``timeout_seconds``.

    :raises AgentError: it gave none.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            return status(path)
        except AgentError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def serving_problem(estate: dict[str, Any]) -> str:
    """Why the host of this status is not yet a settled member of its estate; empty when it is."""
    database = estate["database"]
    words = "; ".join(problem["message"] for problem in estate["problems"])
    if estate["role"] == "primary":
        return ""
    if estate["role"] != "replica":
        return f"it is {estate['role']}: {words or database['error'] or 'no reason given'}"
    if estate.get("engine") == "none":
        return "" if estate.get("leader") else f"nobody leads: {words or 'no reason given'}"
    if not (database["io_running"] and database["sql_running"]):
        return f"replication does not run: {database['error'] or words or 'connecting'}"
    sync = estate["sync"] or {}
    if estate["host"] not in sync.get("members", ()):
        return "it is not in the sync set yet"
    return ""
