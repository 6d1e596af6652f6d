# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Members of an etcd cluster: what they are, how one joins, and when it is safe to touch one.

PRIVATE to the collection. Speaks the v3 JSON gateway over mutual TLS (etcd 3.4 and 3.5, dev-guide/api_grpc_gateway).
The procedures are those of etcd's op-guide/runtime-configuration.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CLIENT_PORT, PEER_PORT = 2379, 2380
UNIT = "etcd.service"

CONNECTION_SPEC: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "addresses": {"type": "dict", "required": True},
    "pki_directory": {"type": "str", "default": "/etc/etcd/pki"},
    "data_directory": {"type": "str", "required": True},
    "bootstrap_file": {"type": "str", "default": "/etc/etcd/bootstrap.env"},
    "request_timeout_seconds": {"type": "float", "default": 5.0},
}
INFO_SPEC: dict[str, Any] = {
    **CONNECTION_SPEC,
    "restart_on": {"type": "list", "elements": "str", "default": []},
    "changed_files": {"type": "list", "elements": "str", "default": []},
}
MEMBER_SPEC: dict[str, Any] = {
    **CONNECTION_SPEC,
    "state": {
        "type": "str",
        "required": True,
        "choices": ["bootstrapped", "joined", "rejoined", "started", "restarted", "healthy", "alone"],
    },
    "without": {"type": "list", "elements": "str", "default": []},
    "token": {"type": "str", "required": True, "no_log": False},
    "timeout_seconds": {"type": "int", "default": 60},
}

ActionName = Literal["none", "bootstrap", "join", "rejoin", "start"]


class EtcdError(Exception):
    """etcd did not answer or answered with an error; the text holds both."""


class EtcdRefusedError(Exception):
    """Going on could lose data or quorum; the text says what was seen and what to do."""


@dataclass(frozen=True)
class Member:
    """A member as the cluster lists it. One that never started has no client URLs."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]

    @property
    def has_started(self) -> bool:
        """Whether the member has ever been up in this cluster."""
        return bool(self.client_urls)


@dataclass(frozen=True)
class View:
    """What one host knows. ``pending``: its bootstrap was begun and not yet confirmed."""

    has_data: bool
    pending: bool = False
    active: bool = False
    enabled: bool = False
    healthy: bool = False
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Client:
    """Access to one member's gateway. Certificates are paths; ``timeout`` is in seconds."""

    address: str
    ca: str
    certificate: str
    key: str
    timeout: float
    port: int = CLIENT_PORT
    _context: list[ssl.SSLContext] = field(default_factory=list, repr=False, compare=False)

    def _connect(self) -> http.client.HTTPSConnection:
        if not self._context:
            context = ssl.create_default_context(cafile=self.ca)
            context.load_cert_chain(self.certificate, self.key)
            self._context.append(context)
        return http.client.HTTPSConnection(self.address, self.port, timeout=self.timeout, context=self._context[0])

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON object that etcd answers.

        Raises ``EtcdError`` when it cannot be reached in time or does not answer with status 200.
        """
        where = f"https://{self.address}:{self.port}{path}"
        try:
            connection = self._connect()
            try:
                connection.request(method, path, body=None if body is None else json.dumps(body))
                response = connection.getresponse()
                text = response.read().decode("utf-8", errors="replace")
            finally:
                connection.close()
            answer = json.loads(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EtcdError(f"{where}: {error or type(error).__name__}") from error
        if response.status != http.client.OK or not isinstance(answer, dict):
            raise EtcdError(f"{where}: status {response.status}: {text.strip()[:500]}")
        return answer

    def is_healthy(self) -> bool:
        """Return whether the member serves linearizable reads, which needs a leader and a quorum."""
        try:
            return self.call("GET", "/health").get("health") == "true"
        except EtcdError:
            return False

    def list_members(self) -> tuple[Member, ...]:
        """Return the members of the cluster. Raises ``EtcdError``."""
        return parse_members(self.call("POST", "/v3/cluster/member/list", {}))

    def add_member(self, peer_url: str) -> tuple[Member, ...]:
        """Announce a member and return all members. Raises ``EtcdError``, also when quorum would be at risk."""
        return parse_members(self.call("POST", "/v3/cluster/member/add", {"peerURLs": [peer_url]}))

    def remove_member(self, member: Member) -> None:
        """Remove a member. Raises ``EtcdError``."""
        self.call("POST", "/v3/cluster/member/remove", {"ID": member.id})


def parse_members(answer: Mapping[str, Any]) -> tuple[Member, ...]:
    """Return the members from an answer of the gateway, sorted by their peer URLs."""
    members = (
        Member(
            id=str(item.get("ID", "")),
            name=str(item.get("name", "")),
            peer_urls=tuple(item.get("peerURLs", ())),
            client_urls=tuple(item.get("clientURLs", ())),
        )
        for item in answer.get("members", ())
    )
    return tuple(sorted(members, key=lambda member: member.peer_urls))


def peer_url(address: str) -> str:
    """Return the URL at which the other members reach a member."""
    return f"https://{address}:{PEER_PORT}"


def make_initial_cluster(addresses: Mapping[str, str]) -> str:
    """Return the value of ETCD_INITIAL_CLUSTER for a new cluster of these hosts."""
    return ",".join(f"{name}={peer_url(address)}" for name, address in sorted(addresses.items()))


def make_joined_cluster(members: Iterable[Member], name: str, own_peer_url: str) -> str:
    """Return the value of ETCD_INITIAL_CLUSTER for a member that joins, of which the list has no name yet."""
    pairs = []
    for member in members:
        label = name if own_peer_url in member.peer_urls else member.name
        pairs += [f"{label}={url}" for url in member.peer_urls]
    return ",".join(sorted(pairs))


def make_bootstrap_file(initial_cluster: str, state: Literal["new", "existing"], token: str) -> str:
    """Return the environment file of a member's first start."""
    return (
        "# Written by hosting.failover for the first start of this member, removed when it is healthy.\n"
        f"ETCD_INITIAL_CLUSTER={initial_cluster}\n"
        f"ETCD_INITIAL_CLUSTER_STATE={state}\n"
        f"ETCD_INITIAL_CLUSTER_TOKEN={token}\n"
    )


def find_member(members: Iterable[Member], name: str, own_peer_url: str) -> Member | None:
    """Return the entry of a host by its peer URL, else by its name, else None."""
    entries = tuple(members)
    by_url = next((item for item in entries if own_peer_url in item.peer_urls), None)
    return by_url or next((item for item in entries if item.name == name), None)


def decide_actions(addresses: Mapping[str, str], views: Mapping[str, View | None]) -> dict[str, ActionName]:
    """Return what each host that was looked at has to do.

    ``addresses`` has every host that should be a member; ``views`` lacks, or has None for, those that
    this run did not look at.
    Raises ``EtcdRefusedError`` where a new cluster could be made beside an old one:

    - a host has no data, no member is healthy, and not every host was looked at;
    - some hosts have data of a cluster that was once confirmed, others have none, and no member is healthy.
      Starting the empty ones with the old names would let them outvote the data;
    - healthy members do not agree about who is one. That is so when a cluster went on without hosts that were said to
      be off, and they came back and go on by themselves.

    A host whose data is of a cluster that went on without it rejoins: its data is put aside.
    """
    seen = {name: view for name, view in views.items() if view is not None and name in addresses}
    lacking = sorted(name for name, view in seen.items() if not view.has_data)
    actions: dict[str, ActionName] = {
        name: "none" if view.active and view.enabled else "start" for name, view in seen.items()
    }
    clusters = {
        frozenset(url for item in view.members for url in item.peer_urls) for view in seen.values() if view.healthy
    }
    clusters -= {frozenset()}
    if len(clusters) > 1:
        raise EtcdRefusedError(
            "there are two etcd clusters: "
            + " and ".join(sorted(", ".join(sorted(cluster)) for cluster in clusters))
            + ". Stop etcd on the hosts that were said to be off when the other one went on without them."
        )
    if clusters:
        (cluster,) = clusters
        removed = [name for name, view in seen.items() if view.has_data and not view.healthy and not view.pending]
        actions |= dict.fromkeys((name for name in removed if peer_url(addresses[name]) not in cluster), "rejoin")
    if not lacking:
        return actions
    if any(view.healthy and view.members for view in seen.values()):
        return {**actions, **dict.fromkeys(lacking, "join")}
    unseen = sorted(set(addresses) - set(seen))
    if unseen:
        raise EtcdRefusedError(
            f"{', '.join(lacking)} has no etcd data, and this run does not look at {', '.join(unseen)}, which may hold "
            "the cluster. Run setup for all hosts, without --limit."
        )
    confirmed = sorted(name for name, view in seen.items() if view.has_data and not view.pending)
    if confirmed:
        raise EtcdRefusedError(
            f"etcd has no quorum: {', '.join(confirmed)} holds the cluster's data but is not healthy, and "
            f"{', '.join(lacking)} has none. Nothing was started, because empty members could outvote the data. "
            "Bring back the members that had data (systemctl status etcd); if they are lost, restore from a snapshot."
        )
    return {**actions, **dict.fromkeys(lacking, "bootstrap")}


def decide_alone(addresses: Mapping[str, str], me: str, without: Iterable[str], answering: Iterable[str]) -> list[str]:
    """Return why a member must not go on alone, in sentences; none if it may.

    :param without: the hosts that are certainly off, as a person says.
    :param answering: those of them that answer all the same.
    """
    said = set(without)
    reasons = [f"{name} is said to be off, but its etcd answers" for name in sorted(set(answering) & said)]
    unsaid = sorted(set(addresses) - said - {me})
    if unsaid:
        reasons.append(f"{', '.join(unsaid)} votes too, and nobody said that it is off")
    if me in said:
        reasons.append(f"{me} is said to be off, but it is the host to go on")
    return reasons


def decide_problems(
    addresses: Mapping[str, str], members: Iterable[Member], healthy: Mapping[str, bool]
) -> tuple[str, ...]:
    """Return what is wrong with a cluster, nothing if it is exactly the wanted hosts and all are healthy."""
    problems = []
    found = {url: member for member in members for url in member.peer_urls}
    wanted = {peer_url(address): name for name, address in addresses.items()}
    for url, name in sorted(wanted.items(), key=lambda item: item[1]):
        if url not in found:
            problems.append(f"{name} ({url}) is not a member")
        elif not healthy.get(name, False):
            problems.append(f"{name} is not healthy")
    for url, member in sorted(found.items()):
        if url not in wanted:
            problems.append(
                f"member {member.name or member.id} ({url}) is not in the inventory; remove it with "
                f"etcdctl member remove {int(member.id or 0):x}"
            )
    return tuple(problems)
