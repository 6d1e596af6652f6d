# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""etcd's JSON gateway on a real socket, as far as the agent uses it; answers are those of etcd 3.5.16.

It speaks HTTPS with mutual TLS. As protobuf's JSON has it, 64-bit numbers are text, bytes are base64, and a field with
its zero value is left out. Keys and leases are in :class:`simulator.etcd.Etcd`; several gateways may share one, as the
members of a cluster do.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from failover_agent.etcd import Delete, EtcdError, Put

from simulator.etcd import Etcd

Mood = Literal["well", "silent", "drops_requests", "drops_answers"]
JsonObject = dict[str, Any]
HEADER = {"cluster_id": "10233724442669170821", "member_id": "11833301271255937352", "raft_term": "4"}
_NO_LEASE = {"code": 5, "message": "etcdserver: requested lease not found"}


class Gateway(ThreadingHTTPServer):
    """One member. ``mood`` says how it behaves, ``answer`` is sent instead of every answer, as status and text.

    A ``silent`` member accepts and never answers, as one does that has no quorum.
    """

    daemon_threads = True

    def __init__(self, etcd: Etcd, context: ssl.SSLContext) -> None:
        self.etcd = etcd
        self.mood: Mood = "well"
        self.answer: tuple[int, str] | None = None
        self.requests: list[tuple[str, JsonObject]] = []
        self.lock = threading.Lock()
        self._started = time.monotonic()
        self.closing = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        """Where clients find it."""
        return f"https://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no event."""

    def carry_out(self, path: str, body: JsonObject) -> tuple[int, JsonObject]:
        """The status and the object of the answer."""
        with self.lock:
            self.requests.append((path, body))
            self.etcd.advance(time.monotonic() - self._started)
            match path:
                case "/v3/kv/range":
                    return 200, self._range(body)
                case "/v3/kv/txn":
                    return self._transaction(body)
                case "/v3/lease/grant":
                    lease = self.etcd.grant(float(body["TTL"]))
                    return 200, {"header": self._header(), "ID": str(lease), "TTL": body["TTL"]}
                case "/v3/lease/keepalive":
                    return 200, {"result": self._keep_alive(int(body["ID"]))}
                case "/v3/lease/revoke":
                    if int(body["ID"]) not in self.etcd.leases:
                        return 404, _NO_LEASE
                    self.etcd.revoke(int(body["ID"]))
                    return 200, {"header": self._header()}
        return 404, {"code": 5, "message": "Not Found"}

    def _header(self) -> JsonObject:
        return {**HEADER, "revision": str(self.etcd.revision)}

    def _range(self, body: JsonObject) -> JsonObject:
        start = _text(body["key"])
        end = _text(body["range_end"]) if "range_end" in body else f"{start}\0"
        found = {key: entry for key, entry in sorted(self.etcd.entries.items()) if start <= key < end}
        answer: JsonObject = {"header": self._header()}
        if found and not body.get("count_only"):
            answer["kvs"] = [
                {
                    "key": _base64(key),
                    "create_revision": str(entry.revision),
                    "mod_revision": str(entry.revision),
                    "version": "1",
                    **({"value": _base64(entry.text)} if entry.text else {}),
                    **({"lease": str(entry.lease)} if entry.lease else {}),
                }
                for key, entry in found.items()
            ]
        if found:
            answer["count"] = str(len(found))
        return answer

    def _transaction(self, body: JsonObject) -> tuple[int, JsonObject]:
        expected = {}
        for each in body["compare"]:
            assert (each["target"], each["result"]) == ("MOD", "EQUAL")
            expected[_text(each["key"])] = int(each["mod_revision"])
        changes: list[Put | Delete] = []
        for operation in body["success"]:
            if "request_put" in operation:
                put = operation["request_put"]
                changes.append(Put(_text(put["key"]), _text(put["value"]), int(put.get("lease", 0))))
            else:
                changes.append(Delete(_text(operation["request_delete_range"]["key"])))
        try:
            succeeded = self.etcd.commit(expected, changes)
        except EtcdError:
            return 404, _NO_LEASE
        return 200, {"header": self._header(), **({"succeeded": True} if succeeded else {})}

    def _keep_alive(self, lease: int) -> JsonObject:
        known = self.etcd.renew(lease)
        return {"header": self._header(), "ID": str(lease), **({"TTL": "6"} if known else {})}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Gateway

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        gateway = self.server
        if gateway.mood == "silent":
            gateway.closing.wait(30.0)
        if gateway.mood in {"silent", "drops_requests"}:
            self.close_connection = True
            return
        status, answer = gateway.carry_out(self.path, body)
        if gateway.mood == "drops_answers":
            self.close_connection = True
            return
        status, text = gateway.answer or (status, json.dumps(answer))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_args: Any) -> None:
        """Tests are silent."""


def _text(encoded: str) -> str:
    return base64.b64decode(encoded, validate=True).decode()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
