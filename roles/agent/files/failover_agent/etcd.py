# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""etcd's v3 API through its JSON gateway (etcd documentation, "Why gRPC gateway"): keys and values are base64, 64-bit
numbers are strings. One :class:`Client` belongs to one thread.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from failover_agent.config import Pki
from failover_agent.model import (
    Member,
    Stored,
    acknowledged_from,
    history_from,
    leader_from,
    lock_from,
    member_from,
    pause_from,
    sync_from,
    term_from,
)

T = TypeVar("T")


class EtcdError(Exception):
    """No endpoint answered in time, or etcd refused the request. After a transaction the outcome is then unknown."""


@dataclass(frozen=True)
class Put:
    """One write of a transaction; ``lease`` 0 means that the key stays until it is deleted."""

    key: str
    value: str
    lease: int = 0


@dataclass(frozen=True)
class Delete:
    """One deletion of a transaction."""

    key: str


def tls_context(pki: Pki, *, server: bool = False) -> ssl.SSLContext:
    """Mutual TLS with the estate's CA: both sides show a certificate of that CA. ``server`` says which side this is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(pki.ca)
    context.load_cert_chain(pki.certificate, pki.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


class Client:
    """Reads and writes the keys below ``prefix``. ``timeout`` is seconds for one request to one endpoint."""

    def __init__(self, endpoints: tuple[str, ...], prefix: str, context: ssl.SSLContext, timeout: float = 1.0) -> None:
        self._endpoints = list(endpoints)
        self._prefix = prefix
        self._context = context
        self._timeout = timeout
        self._connections: dict[str, http.client.HTTPSConnection] = {}

    def read(self) -> Stored:
        """All keys of the estate in one linearizable reading.

        :raises EtcdError: there is no quorum, or a stored value is not ours.
        """
        start = self._prefix.encode()
        end = start[:-1] + bytes([start[-1] + 1])
        answer = self._anywhere("/v3/kv/range", {"key": _encode(start), "range_end": _encode(end)})
        raw = {}
        for item in answer.get("kvs", ()):
            name = _decode(item["key"]).removeprefix(self._prefix)
            raw[name] = (
                _decode(item.get("value", "")),
                int(item["mod_revision"]),
                int(item.get("lease", 0)),
            )
        return parse_stored(raw)

    def commit(self, expected: Mapping[str, int], changes: list[Put | Delete]) -> bool:
        """Apply ``changes`` if every key in ``expected`` still has that mod_revision (0: absent); False if one has not.

        Never repeated by itself: after an :class:`EtcdError` the caller must read again to learn the outcome.
        """
        body = {
            "compare": [
                {
                    "key": self._key(key),
                    "target": "MOD",
                    "result": "EQUAL",
                    "mod_revision": str(revision),
                }
                for key, revision in expected.items()
            ],
            "success": [self._operation(change) for change in changes],
        }
        answer = self._first("/v3/kv/txn", body)
        return bool(answer.get("succeeded", False))

    def grant(self, ttl_seconds: float) -> int:
        """A new lease of ``ttl_seconds``, rounded up: it never ends before the holder thinks so; its id."""
        answer = self._anywhere("/v3/lease/grant", {"TTL": str(max(1, math.ceil(ttl_seconds)))})
        if "ID" not in answer:
            raise EtcdError(f"/v3/lease/grant answered {answer}")
        return int(answer["ID"])

    def renew(self, lease: int) -> bool:
        """Renew a lease; False when etcd no longer knows it."""
        answer = self._anywhere("/v3/lease/keepalive", {"ID": str(lease)})
        return int(answer.get("result", {}).get("TTL", 0)) > 0

    def revoke(self, lease: int) -> None:
        """End a lease and delete the keys that hang on it."""
        self._first("/v3/lease/revoke", {"ID": str(lease)})

    def healthy(self) -> dict[str, bool]:
        """Which endpoints answer a linearizable read by themselves."""
        with ThreadPoolExecutor(len(self._endpoints)) as pool:
            return dict(zip(self._endpoints, pool.map(self._answers, self._endpoints), strict=True))

    def clone(self) -> Client:
        """Another client for another thread."""
        return Client(tuple(self._endpoints), self._prefix, self._context, self._timeout)

    def watch(self, changed: Callable[[], None], timeout: float = 30.0) -> None:
        """Call ``changed`` for every change below the prefix; returns when there was none for ``timeout`` seconds.

        Only a hint: what is not heard here is seen by the next reading. (etcd documentation, "Watch keys".)

        :raises EtcdError: the endpoint that answered last does not, or the stream broke.
        """
        endpoint = self._endpoints[0]
        start = self._prefix.encode()
        end = start[:-1] + bytes([start[-1] + 1])
        url = urlsplit(endpoint)
        connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=self._timeout, context=self._context
        )
        body = {"create_request": {"key": _encode(start), "range_end": _encode(end)}}
        try:
            connection.request("POST", "/v3/watch", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise EtcdError(f"/v3/watch answered {response.status}")
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            while line := response.readline():
                if b'"events"' in line:
                    changed()
        except TimeoutError:
            return
        except (OSError, http.client.HTTPException) as error:
            raise EtcdError(f"{endpoint}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        raise EtcdError(f"{endpoint}: the watch ended")

    def move_leader(self, address: str) -> str:
        """Let another member of etcd lead, if the one that this client asks first does; the member that leads then.

        ``address`` is the host in the client URL of the member that is wanted. Empty when nothing was moved.

        :raises EtcdError: etcd refused, or did not answer.
        """
        endpoint = self._endpoints[0]
        try:
            status = self._post(endpoint, "/v3/maintenance/status", {})
            me = str(status["header"]["member_id"])
            if str(status.get("leader", "")) != me:
                return ""
            members = self._post(endpoint, "/v3/cluster/member/list", {}).get("members", [])
            for member in members:
                urls = member.get("clientURLs", [])
                if str(member["ID"]) != me and any(f"//{address}:" in str(each) for each in urls):
                    self._post(endpoint, "/v3/maintenance/transfer-leadership", {"targetID": str(member["ID"])})
                    return str(member.get("name", address))
        except (OSError, http.client.HTTPException, KeyError) as error:
            raise EtcdError(f"{endpoint}: {error or type(error).__name__}") from error
        return ""

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    # ---- plumbing

    def _answers(self, endpoint: str) -> bool:
        try:
            self._post(
                endpoint,
                "/v3/kv/range",
                {"key": _encode(self._prefix.encode()), "count_only": True},
            )
        except (EtcdError, OSError, http.client.HTTPException):
            return False
        return True

    def _operation(self, change: Put | Delete) -> dict[str, Any]:
        if isinstance(change, Delete):
            return {"request_delete_range": {"key": self._key(change.key)}}
        put = {"key": self._key(change.key), "value": _encode(change.value.encode())}
        if change.lease:
            put["lease"] = str(change.lease)
        return {"request_put": put}

    def _key(self, name: str) -> str:
        return _encode((self._prefix + name).encode())

    def _anywhere(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Try the endpoints in turn, the one that answered last first. Only for requests that may be repeated."""
        errors = []
        for endpoint in list(self._endpoints):
            try:
                answer = self._post(endpoint, path, body)
            except (EtcdError, OSError, http.client.HTTPException) as error:
                errors.append(f"{endpoint}: {error or type(error).__name__}")
                self._endpoints.remove(endpoint)
                self._endpoints.append(endpoint)
            else:
                return answer
        raise EtcdError("; ".join(errors))

    def _first(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the endpoint that answered last, once."""
        try:
            return self._post(self._endpoints[0], path, body)
        except (OSError, http.client.HTTPException) as error:
            raise EtcdError(f"{self._endpoints[0]}: {error or type(error).__name__}") from error

    def _post(self, endpoint: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = self._connections.get(endpoint)
        if connection is None:
            url = urlsplit(endpoint)
            connection = http.client.HTTPSConnection(
                url.hostname or "", url.port, timeout=self._timeout, context=self._context
            )
            self._connections[endpoint] = connection
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except BaseException:
            connection.close()
            del self._connections[endpoint]
            raise
        if response.status != http.client.OK:
            raise EtcdError(f"{path} answered {response.status}: {text.strip()[:200]}")
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise EtcdError(f"{path} answered {text[:200]!r}")
        return answer


def parse_stored(raw: Mapping[str, tuple[str, int, int]]) -> Stored:
    """Typed values from raw keys ``{name: (json text, mod_revision, lease)}``.

    :raises EtcdError: a value is not what this agent stores; the text names the key.
    """
    members: dict[str, Member] = {}
    for name, (text, *_revisions) in raw.items():
        if name.startswith("members/"):
            members[name.removeprefix("members/")] = _typed(name, text, member_from)
    leader = raw.get("leader")

    def typed(name: str, read: Callable[[Any], T]) -> T | None:
        return _typed(name, raw[name][0], read) if name in raw else None

    return Stored(
        term=typed("term", term_from),
        leader=_typed("leader", leader[0], lambda value: leader_from(value, leader[2])) if leader else None,
        sync=typed("sync", sync_from),
        lock=typed("lock", lock_from),
        history=typed("history", history_from) or (),
        pause=typed("pause", pause_from),
        acknowledged=typed("acknowledged", acknowledged_from),
        members=members,
        revisions={name: revision for name, (_text, revision, _lease) in raw.items()},
    )


def _typed(name: str, text: str, read: Callable[[Any], T]) -> T:
    try:
        return read(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise EtcdError(f"the key {name} holds {text[:120]!r}, which is not ours: {error}") from error


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")
