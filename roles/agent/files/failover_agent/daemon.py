# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The agent's threads and sockets: loop, lease, guard, peers, health port and command socket."""

from __future__ import annotations

import http.client
import json
import logging
import math
import os
import select
import signal
import socket
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from failover_agent import __version__, failover, gates, returning, seed
from failover_agent.agent import Agent, CommandError
from failover_agent.config import Config
from failover_agent.etcd import Client, EtcdError, tls_context
from failover_agent.host import Host, HostError
from failover_agent.lease import Lease
from failover_agent.mariadb import DatabaseError, MariaDB
from failover_agent.peer import Peer, PeerError, PeerServer, serve
from failover_agent.rejoin import Rejoin
from failover_agent.switchover import Switchover

_log = logging.getLogger("failover-agent")
#: How soon (seconds) a fence that did not work is tried again, and how long the guard sleeps at most: what is timed
#: stands still while a machine is suspended, and its lease does not.
_GUARD_AGAIN_SECONDS, _GUARD_SLEEPS_SECONDS = 0.1, 0.5
_PEER_TIMEOUT_SECONDS = 5.0
_FAILSAFE_INTERVAL_SECONDS = 0.25
_MOVE_INTERVAL_SECONDS = 5.0


def run(config: Config) -> None:
    """Run the agent until SIGTERM. Stopping it changes no role: the database goes on, and the lease guard's deadline
    is taken up by the next start."""
    stop = threading.Event()
    threading.excepthook = _end
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Path(config.state_directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    context = tls_context(config.pki)
    store = Client(config.etcd_endpoints, config.prefix, context)
    host = Host(config)
    lease = Lease(store.clone(), config.policy, Path(config.runtime_directory) / "lease", host.now)
    database = MariaDB(config)
    agent = Agent(config, store, database, host, lease, _connector(config), Rejoin(config, database))
    guardian = Guardian(agent)
    peers = PeerServer(
        "0.0.0.0",
        config.peer_port,
        tls_context(config.pki, server=True),
        agent,
        frozenset(config.peers),
    )
    health = _HealthServer(config, agent)
    commands = _CommandServer(config, agent)
    stop_wake = _Waker(stop, agent)
    threads = [
        threading.Thread(target=lease.keep, args=(stop, stop_wake.renewed), name="lease", daemon=True),
        threading.Thread(target=guardian.keep, args=(stop,), name="guard", daemon=True),
        threading.Thread(target=_failsafe, args=(agent, stop), name="failsafe", daemon=True),
        threading.Thread(target=_watch, args=(agent, store.clone(), stop), name="watch", daemon=True),
        threading.Thread(target=_move_etcd, args=(agent, store.clone(), stop), name="etcd", daemon=True),
        # What a dead agent was copying takes room for nothing; named now, as this one may begin another copy.
        threading.Thread(target=seed.clear, args=(agent.directory.leftovers(),), name="clear", daemon=True),
        threading.Thread(target=health.serve_forever, name="health", daemon=True),
        threading.Thread(target=commands.serve_forever, name="commands", daemon=True),
    ]
    for thread in threads:
        thread.start()
    serve(peers)
    _notify("READY=1")
    _log.info("failover-agent %s of estate %s on %s", __version__, config.estate, config.host)
    while not stop.is_set():
        agent.wake.clear()
        try:
            agent.tick()
        except (HostError, DatabaseError, EtcdError) as error:
            _log.error("%s", error)
        agent.wake.wait(agent.pace())
    _notify("STOPPING=1")


class _Waker:
    """Wakes the loop when etcd comes back, so that nothing waits for a whole interval."""

    def __init__(self, stop: threading.Event, agent: Agent) -> None:
        self._agent = agent
        self._good = False
        self._stop = stop

    def renewed(self, good: bool) -> None:
        if good and not self._good:
            self._agent.wake.set()
        self._good = good


def _connector(config: Config) -> Callable[[str], Peer]:
    context = tls_context(config.pki)

    def connect(name: str) -> Peer:
        return Peer(name, config.hosts[name], config.peer_port, context, _PEER_TIMEOUT_SECONDS)

    return connect


class Guardian:
    """Fences in time, and tells the loop at once when the database has died. It sleeps until then: a process that wakes
    ten times a second only to read a clock takes more of a CPU than all else that it does.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._roused = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        #: The process of the database (``pidfd_open(2)``), -1 while none is known.
        self._database = -1
        agent.rouse_guard = self.rouse

    def rouse(self) -> None:
        """There is a deadline now: look at it."""
        os.eventfd_write(self._roused, 1)

    def keep(self, stop: threading.Event) -> None:
        """Guard until ``stop``. The body of the guard's thread: nothing may end it, and nothing else waits in it."""
        while not stop.is_set():
            try:
                self._agent.guard()
                self._sleep(self._due_in())
            except Exception:
                _log.critical("fencing failed", exc_info=True)
                stop.wait(_GUARD_AGAIN_SECONDS)

    def _due_in(self) -> float:
        due_in = self._agent.fence_at() - self._agent.host.now()
        return min(due_in, _GUARD_SLEEPS_SECONDS) if due_in > 0.0 else _GUARD_AGAIN_SECONDS

    def _sleep(self, seconds: float) -> None:
        """Until so many seconds have passed, a host becomes writable, or its database dies."""
        if self._database < 0:
            self._database = self._agent.host.open_database()
        waiting = select.poll()
        for each in (self._roused, self._database):
            if each >= 0:
                waiting.register(each, select.POLLIN)
        happened = {each for each, _event in waiting.poll(math.ceil(seconds * 1000.0))}
        if self._roused in happened:
            os.eventfd_read(self._roused)
        if self._database in happened:
            os.close(self._database)
            self._database = -1
            self._agent.wake.set()  # It crashed: nobody waits for the next look.


def _failsafe(agent: Agent, stop: threading.Event) -> None:
    """Nothing has to be promised before a renewal is overdue, so this sleeps until then."""
    while not stop.wait(max(agent.lease.overdue_at - agent.host.now(), _FAILSAFE_INTERVAL_SECONDS)):
        agent.failsafe()


def _watch(agent: Agent, client: Client, stop: threading.Event) -> None:
    """Look at once when etcd's keys change. Without this the loop sees it at its next look."""
    while not stop.is_set():
        try:
            client.watch(agent.wake.set)
        except EtcdError as error:
            _log.debug("watch: %s", error)
            stop.wait(1.0)


def _move_etcd(agent: Agent, client: Client, stop: threading.Event) -> None:
    """Keep the leader of etcd away from the primary's host.

    A new leader of etcd lets every lease live for a whole time-to-live more. If both died together, the failover would
    wait for etcd's election and then for a lease that begins anew.
    """
    others = (*agent.config.witnesses, *agent.config.peers.values())
    while not stop.wait(_MOVE_INTERVAL_SECONDS):
        if not agent.is_primary:
            continue
        for address in others:
            try:
                name = client.move_leader(address)
            except EtcdError as error:
                _log.info("the leader of etcd stays: %s", error)
                continue
            if name:
                _log.info("etcd is led by %s now, away from the primary", name)
            break


def _end(trouble: threading.ExceptHookArgs) -> None:
    """A thread that should live for ever has died: end the process, so that systemd starts a whole one."""
    name = trouble.thread.name if trouble.thread else "a thread"
    _log.critical("%s died", name, exc_info=trouble.exc_value)
    os._exit(os.EX_SOFTWARE)


def _notify(text: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens without NOTIFY_SOCKET."""
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(text.encode(), path.replace("@", "\0", 1) if path.startswith("@") else path)


# ------------------------------------------------------------------------------------------------ health


class _HealthHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 10.0
    server: _HealthServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        agent = self.server.agent
        role = agent.role()
        match url.path:
            case "/role":
                self._reply(http.client.OK, json.dumps(role), "application/json")
            case "/primary":
                self._verdict(bool(role["writable"]), role["role"])
            case "/replica":
                limit = parse_qs(url.query, keep_blank_values=True).get("lag", [None])[0]
                if limit is not None and not limit.isdecimal():
                    self._reply(http.client.BAD_REQUEST, f"lag is whole seconds, not {limit!r}\n", "text/plain")
                    return
                lag = agent.lag_seconds()
                good = role["role"] == "replica" and lag is not None and (limit is None or lag <= int(limit))
                self._verdict(good, f"{role['role']}, lag {lag}")
            case "/health":
                self._verdict(role["role"] in {"primary", "replica"}, role["role"])
            case "/metrics":
                self._reply(http.client.OK, metrics(agent, role), "text/plain; version=0.0.4")
            case _:
                self._reply(
                    http.client.NOT_FOUND,
                    "/role /primary /replica?lag= /health /metrics\n",
                    "text/plain",
                )

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_OPTIONS(self) -> None:
        self.do_GET()

    def log_message(self, *_args: Any) -> None:
        """Probes ask many times a second; nothing is logged."""

    def _verdict(self, good: bool, text: str) -> None:
        self._reply(http.client.OK if good else http.client.SERVICE_UNAVAILABLE, f"{text}\n", "text/plain")

    def _reply(self, status: int, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class _HealthServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, config: Config, agent: Agent) -> None:
        self.agent = agent
        super().__init__((config.health_address, config.health_port), _HealthHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left early is no event."""


def metrics(agent: Agent, role: dict[str, Any]) -> str:
    """Prometheus text format 0.0.4."""
    estate, name = agent.config.estate, agent.config.host
    label = f'estate="{estate}",host="{name}"'
    lines = [
        "# TYPE failover_role gauge",
        f'failover_role{{{label},role="{role["role"]}"}} 1',
        "# TYPE failover_writable gauge",
        f"failover_writable{{{label}}} {int(role['writable'])}",
        "# TYPE failover_term gauge",
        f"failover_term{{{label}}} {role['term'] or 0}",
        "# TYPE failover_lease_remaining_seconds gauge",
        f"failover_lease_remaining_seconds{{{label}}} {max(0.0, agent.lease.valid_until - agent.host.now()):.2f}",
        "# TYPE failover_vip_held gauge",
    ]
    lines += [f'failover_vip_held{{{label},vip="{vip}"}} {int(held)}' for vip, held in role["vips"].items()]
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ commands


class _CommandHandler(socketserver.StreamRequestHandler):
    server: _CommandServer

    def handle(self) -> None:
        try:
            request = json.loads(self.rfile.readline())
            reply = {"ok": True, **command(self.server.agent, request)}
        except CommandError as error:
            reply = {"ok": False, "code": error.code, "error": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            reply = {"ok": False, "code": "bad_request", "error": f"not understood: {error!r}"}
        except (DatabaseError, EtcdError, HostError, PeerError, OSError) as error:
            reply = {"ok": False, "code": "failed", "error": str(error)}
        self.wfile.write(json.dumps(reply).encode() + b"\n")


class _CommandServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, config: Config, agent: Agent) -> None:
        self.agent = agent
        path = Path(config.runtime_directory) / "agent.sock"
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            super().__init__(str(path), _CommandHandler)
        finally:
            os.umask(before)


def command(agent: Agent, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out one command of the unix socket and return the reply's fields.

    :raises CommandError: it cannot be done; ``KeyError`` and ``ValueError`` for a request that is not understood.
    """
    match request["command"]:
        case "status":
            return {"estate": agent.status()}
        case "switchover":
            wanted = gates.Request(to=str(request.get("to") or ""), run_id=str(request["run_id"]))
            return {"switchover": Switchover(agent, wanted, check=bool(request.get("check"))).run()}
        case "failover":
            asked = failover.Request(
                run_id=str(request["run_id"]),
                to=str(request.get("to") or ""),
                accept_data_loss=bool(request.get("accept_data_loss")),
                confirm_fenced=tuple(str(name) for name in request.get("confirm_fenced") or ()),
                check=bool(request.get("check")),
            )
            return {"failover": failover.Failover(agent, asked).run()}
        case "rejoin":
            wish = returning.Request(
                run_id=str(request["run_id"]),
                reclone=bool(request.get("reclone")),
                check=bool(request.get("check")),
            )
            return {"rejoin": returning.Returning(agent, wish).run()}
        case "bootstrap":
            return agent.bootstrap(str(request["primary"]))
        case "adopt":
            return agent.adopt()
        case "seed":
            return agent.seed(discard=bool(request.get("discard")))
        case "pause":
            return agent.pause(str(request["by"]), str(request.get("reason") or ""), float(request["seconds"]))
        case "resume":
            return agent.resume(str(request["by"]))
        case "lock_acquire":
            owner, run_id, runbook = (str(request[key]) for key in ("owner", "run_id", "runbook"))
            return agent.lock_acquire(owner, run_id, runbook, float(request["ttl_seconds"]))
        case "lock_release":
            return agent.lock_release(str(request["run_id"]), force=bool(request.get("force")))
    raise CommandError("unknown_command", f"{request['command']!r} is no command of failover-agent {__version__}")
