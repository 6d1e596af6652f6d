# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The daemon: its sockets with an agent of the world behind them, and once as a whole process."""

from __future__ import annotations

import dataclasses
import http.client
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from failover_agent import daemon
from failover_agent.__main__ import main
from failover_agent.agent import CommandError
from failover_agent.config import Pki
from failover_agent.daemon import Guardian, _CommandServer, _HealthServer, _Waker, command
from failover_agent.etcd import tls_context
from failover_agent.peer import PeerError

from simulator.etcd import Etcd
from simulator.world import ETCD, World

from .etcd_gateway import Gateway

PACKAGE = Path(daemon.__file__).parent.parent


class TestCommand:
    """Commands find their way."""

    def test_status(self, world: World) -> None:
        estate = command(world.agent("www2"), {"command": "status"})["estate"]
        assert (estate["schema"], estate["host"], estate["role"], estate["primary"]) == (1, "www2", "replica", "www1")
        assert estate["leader"] == {"holder": "www1", "term": 2}
        assert estate["sync"] == {"term": 2, "primary": "www1", "members": ("www2",), "mode": "strict"}
        assert estate["database"]["replicates_from"] == "www1"
        assert estate["lease"]["held"]
        assert 0 < estate["lease"]["remaining_seconds"] <= 6
        assert estate["etcd"] == {"reachable": True, "endpoints": 1, "healthy": 1, "unhealthy": []}
        assert set(estate["members"]) == {"www1", "www2"}
        assert json.loads(json.dumps(estate))["lock"] is None

    def test_status_without_etcd(self, world: World) -> None:
        world.cut("www2", ETCD)
        estate = command(world.agent("www2"), {"command": "status"})["estate"]
        assert (estate["etcd"]["reachable"], estate["etcd"]["unhealthy"]) == (False, ["https://etcd:2379"])
        assert (estate["term"], estate["role"]) == (None, "replica")

    def test_a_check_of_a_switchover(self, world: World) -> None:
        request = {"command": "switchover", "run_id": "run-1", "to": "", "check": True}
        assert command(world.agent("www1"), request)["switchover"]["result"] == "possible"

    def test_bootstrap_changes_an_estate_once(self, world: World) -> None:
        answer = command(world.agent("www2"), {"command": "bootstrap", "primary": "www2"})
        assert answer == {"changed": False, "primary": "www1", "term": 2}

    def test_adopt_and_seed_of_what_is_seeded_change_nothing(self, world: World) -> None:
        for name in ("adopt", "seed"):
            assert command(world.agent("www2"), {"command": name}) == {"changed": False}

    def test_the_lock(self, world: World) -> None:
        take = {"command": "lock_acquire", "owner": "a", "run_id": "run-1", "runbook": "setup", "ttl_seconds": "9"}
        assert command(world.agent("www1"), take)["acquired"]
        assert not command(world.agent("www2"), take | {"run_id": "run-2"})["acquired"]
        give = {"command": "lock_release", "run_id": "run-1"}
        assert command(world.agent("www2"), give)["released"]

    def test_what_is_no_command(self, world: World) -> None:
        with pytest.raises(CommandError, match="'dance' is no command") as caught:
            command(world.agent("www1"), {"command": "dance"})
        assert caught.value.code == "unknown_command"

    @pytest.mark.parametrize("request_", [{}, {"command": "switchover"}, {"command": "lock_release"}])
    def test_a_field_that_is_missing_is_an_error(self, world: World, request_: dict[str, Any]) -> None:
        with pytest.raises(KeyError):
            command(world.agent("www1"), request_)


Say = Callable[[bytes], dict[str, Any]]


class TestCommandSocket:
    """One JSON object a line each way."""

    @pytest.fixture
    def say(self, world: World) -> Iterator[Say]:
        """Send a line to the socket of www1 and read the answer."""
        config = world.machines["www1"].config
        server = _CommandServer(config, world.agent("www1"))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

        def send(line: bytes) -> dict[str, Any]:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20.0)
                connection.connect(f"{config.runtime_directory}/agent.sock")
                connection.sendall(line)
                reply: dict[str, Any] = json.loads(connection.makefile("rb").read())
                return reply

        yield send
        server.shutdown()
        server.server_close()

    def test_an_answer_is_ok(self, say: Say) -> None:
        reply = say(b'{"command": "bootstrap", "primary": "www1"}\n')
        assert reply == {"ok": True, "changed": False, "primary": "www1", "term": 2}

    def test_a_refusal_has_a_code(self, say: Say) -> None:
        reply = say(b'{"command": "bootstrap", "primary": "www9"}\n')
        assert (reply["ok"], reply["code"]) == (False, "unknown_host")
        assert "www9 is no database host of this estate: www1, www2" in reply["error"]

    @pytest.mark.parametrize("line", [b"\n", b"nonsense\n", b"[]\n", b"5\n", b"{}\n", b'{"command"\n', b"\xff\n"])
    def test_what_is_not_understood_is_answered(self, say: Say, line: bytes) -> None:
        assert say(line)["code"] == "bad_request"

    def test_trouble_of_the_world_is_answered(self, say: Say, world: World) -> None:
        world.cut("www1", ETCD)
        assert say(b'{"command": "bootstrap", "primary": "www1"}\n')["code"] == "quorum_lost"

    @pytest.mark.parametrize("error", [OSError(16, "Device or resource busy"), PeerError("www2 is away")])
    def test_trouble_of_this_host_is_answered(
        self, say: Say, world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        """It used to end the thread; the caller waited an hour for an answer that did not come."""

        def fail() -> None:
            raise error

        monkeypatch.setattr(world.agent("www1"), "adopt", fail)
        reply = say(b'{"command": "adopt"}\n')
        assert reply == {"ok": False, "code": "failed", "error": str(error)}

    @pytest.mark.usefixtures("say")
    def test_only_root_may_open_it(self, world: World) -> None:
        path = Path(world.machines["www1"].config.runtime_directory) / "agent.sock"
        assert path.stat().st_mode & 0o777 == 0o600

    def test_an_old_socket_is_replaced(self, world: World) -> None:
        config, agent = world.machines["www1"].config, world.agent("www1")
        for _number in range(2):
            _CommandServer(config, agent).server_close()


Get = Callable[..., tuple[int, str]]


@pytest.fixture
def get(world: World) -> Iterator[Get]:
    """Ask the health port of a host."""
    servers = {}
    for name, machine in world.machines.items():
        config = dataclasses.replace(machine.config, health_address="127.0.0.1", health_port=0)
        servers[name] = _HealthServer(config, world.agent(name))
        threading.Thread(target=servers[name].serve_forever, args=(0.01,), daemon=True).start()

    def ask(host: str, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", servers[host].server_port, timeout=20.0)
        connection.request(method, path)
        response = connection.getresponse()
        text = response.read().decode()
        assert response.getheader("Content-Length") is not None
        connection.close()
        return response.status, text

    yield ask
    for server in servers.values():
        server.shutdown()
        server.server_close()


class TestHealth:
    """What load balancers and probes see."""

    @pytest.mark.parametrize(
        ("path", "primary", "replica"),
        [
            ("/primary", 200, 503),
            ("/replica", 503, 200),
            ("/replica?lag=5", 503, 200),
            ("/health", 200, 200),
            ("/role", 200, 200),
            ("/metrics", 200, 200),
            ("/", 404, 404),
        ],
    )
    def test_settled(self, get: Get, path: str, primary: int, replica: int) -> None:
        assert (get("www1", path)[0], get("www2", path)[0]) == (primary, replica)

    @pytest.mark.parametrize(("method", "body"), [("HEAD", ""), ("OPTIONS", "primary\n")])
    def test_load_balancers_that_ask_otherwise_get_the_same_verdict(self, get: Get, method: str, body: str) -> None:
        """HAProxy's checks are OPTIONS unless told otherwise."""
        assert get("www1", "/primary", method) == (200, body)
        assert get("www2", "/primary", method)[0] == 503

    def test_lag_is_a_limit(self, get: Get, world: World) -> None:
        world.machines["www2"].server.apply_paused = True
        world.write("www1")
        world.run(1.5)
        assert get("www2", "/replica") == (200, "replica, lag 9\n")
        assert get("www2", "/replica?lag=9")[0] == 200
        assert get("www2", "/replica?lag=8")[0] == 503

    @pytest.mark.parametrize("limit", ["", "soon", "-1", "1.5", "5s"])
    def test_a_limit_that_is_none_is_said_and_not_ignored(self, get: Get, limit: str) -> None:
        assert get("www2", f"/replica?lag={limit}")[0] == 400

    def test_a_replica_whose_replication_broke_is_none(self, get: Get, world: World) -> None:
        world.agent("www2").pause("anna", "replication is being looked at", 60.0)
        world.machines["www2"].server.sql_running = False
        world.machines["www2"].server.io_error = "Got fatal error 1236"
        world.run(1.5)
        assert get("www2", "/replica")[0] == 503
        assert get("www2", "/health")[0] == 200

    def test_a_host_whose_database_is_down_is_nothing(self, get: Get, world: World) -> None:
        world.cut("www1", ETCD)
        world.machines["www1"].server.kill()
        world.run(1.5)
        assert [get("www1", path)[0] for path in ("/primary", "/replica", "/health")] == [503, 503, 503]

    def test_the_role_is_one_small_object(self, get: Get, world: World) -> None:
        role = json.loads(get("www1", "/role")[1])
        assert role.pop("at").endswith("Z")
        assert role == {
            "schema": 1,
            "host": "www1",
            "role": "primary",
            "term": 2,
            "writable": True,
            "vips": {"site": True, "web": False},
        }
        world.switchover("www1")
        world.run(1.5)
        roles = {name: json.loads(get(name, "/role")[1]) for name in world.machines}
        assert {name: (role["role"], role["term"], role["writable"]) for name, role in roles.items()} == {
            "www1": ("replica", 3, False),
            "www2": ("primary", 3, True),
        }

    def test_metrics_are_prometheus_text(self, get: Get) -> None:
        text = get("www1", "/metrics")[1]
        label = 'estate="sim",host="www1"'
        assert f'failover_role{{{label},role="primary"}} 1\n' in text
        assert f"failover_writable{{{label}}} 1\n" in text
        assert f"failover_term{{{label}}} 2\n" in text
        assert f'failover_vip_held{{{label},vip="site"}} 1\n' in text
        assert re.search(r"failover_lease_remaining_seconds\{.*\} [0-6]\.\d\d\n", text)
        assert text.endswith("\n")


class TestThreads:
    """The threads around the agent."""

    def test_nothing_ends_the_guard(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        stop, rounds = threading.Event(), list[int]()

        def fail() -> None:
            rounds.append(1)
            if len(rounds) == 3:
                stop.set()
            raise OSError("no space left on device")

        monkeypatch.setattr(world.agent("www1"), "guard", fail)
        Guardian(world.agent("www1")).keep(stop)
        assert len(rounds) == 3

    def test_the_guard_sleeps_until_there_is_a_deadline(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        agent, stop, rounds = world.agent("www1"), threading.Event(), threading.Semaphore(0)
        monkeypatch.setattr(daemon, "_GUARD_SLEEPS_SECONDS", 3600.0)
        monkeypatch.setattr(agent, "guard", rounds.release)
        monkeypatch.setattr(agent.host, "open_database", lambda: -1)
        agent.may_be_writable = False
        guardian = Guardian(agent)
        thread = threading.Thread(target=guardian.keep, args=(stop,))
        thread.start()
        try:
            assert rounds.acquire(timeout=10)
            assert not rounds.acquire(timeout=0.3)
            agent.may_be_writable = True
            assert rounds.acquire(timeout=10), "it was not told"
            agent.may_be_writable = True
            assert not rounds.acquire(timeout=0.3), "nothing has begun"
        finally:
            stop.set()
            guardian.rouse()
            thread.join()

    def test_a_fence_that_is_due_is_tried_again_soon(self, world: World) -> None:
        agent = world.agent("www1")
        guardian = Guardian(agent)
        assert 0.1 < guardian._due_in() <= 0.5
        world.cut("www1", ETCD)
        assert agent.fence_at() == agent.lease.leads_until - agent.config.policy.fence_margin
        agent.lease._leads_until = agent.host.now()
        assert guardian._due_in() == 0.1
        agent.may_be_writable = False
        assert agent.fence_at() == math.inf
        assert guardian._due_in() == 0.5

    def test_a_database_that_dies_wakes_the_loop(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        agent = world.agent("www1")
        with subprocess.Popen(["sleep", "60"]) as process:
            opened = [os.pidfd_open(process.pid), -1]
            monkeypatch.setattr(agent.host, "open_database", lambda: opened.pop(0))
            guardian = Guardian(agent)
            agent.wake.clear()
            guardian._sleep(0.05)
            assert not agent.wake.is_set()
            process.kill()
            guardian._sleep(60.0)
            assert agent.wake.is_set()
            agent.wake.clear()
            guardian._sleep(0.05)
            assert not agent.wake.is_set(), "told once"

    def test_etcd_coming_back_wakes_the_loop_once(self, world: World) -> None:
        agent = world.agent("www1")
        waker, woken = _Waker(threading.Event(), agent), []
        for good in (False, True, True, False, True):
            agent.wake.clear()
            waker.renewed(good)
            woken.append(agent.wake.is_set())
        assert woken == [False, True, False, False, True]

    def test_systemd_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(path))
            monkeypatch.setenv("NOTIFY_SOCKET", str(path))
            daemon._notify("READY=1")
            assert listener.recv(100) == b"READY=1"
        monkeypatch.delenv("NOTIFY_SOCKET")
        daemon._notify("READY=1")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


PROGRAMS = {
    "systemctl": '#!/bin/sh\ncase "$*" in *ActiveState*) echo inactive;; *MainPID*) echo 0;; esac\n',
    "nft": "#!/bin/sh\n[ $1 = list ] && exit 1\nexit 0\n",
    "ip": "#!/bin/sh\necho '[]'\n",
    "ss": "#!/bin/sh\n",
}


class TestProcess:
    """The whole daemon on a host without MariaDB, with a real etcd gateway and programs that do nothing."""

    @pytest.fixture
    def configuration(self, tmp_path: Path, pki: Callable[[str], Pki]) -> Iterator[dict[str, Any]]:
        gateway = Gateway(Etcd(), tls_context(pki("etcd"), server=True))
        programs = tmp_path / "bin"
        for folder in (programs, tmp_path / "run", tmp_path / "data"):
            folder.mkdir()
        for name, text in PROGRAMS.items():
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        identity = dataclasses.asdict(pki("www1"))
        yield {
            "estate": "lab",
            "host": "www1",
            "hosts": {"www1": "127.0.0.1", "www2": "127.0.0.2"},
            "etcd_endpoints": [gateway.endpoint],
            "pki": identity,
            "replication_pki": identity,
            "health_address": "127.0.0.1",
            "health_port": _free_port(),
            "peer_port": _free_port(),
            "database_socket": str(tmp_path / "none.sock"),
            "database_directory": str(tmp_path / "data"),
            "runtime_directory": str(tmp_path / "run"),
            "state_directory": str(tmp_path / "state"),
        }
        gateway.stop()

    def test_it_starts_answers_and_stops(
        self, configuration: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "agent.json"
        path.write_text(json.dumps(configuration), encoding="utf-8")
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(PACKAGE)}
        notify = tmp_path / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(notify))
            listener.settimeout(30.0)
            process = subprocess.Popen(
                [sys.executable, "-m", "failover_agent", "run", "--config", str(path)],
                env=environment | {"NOTIFY_SOCKET": str(notify)},
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                assert listener.recv(100) == b"READY=1"
                control = f"--socket={tmp_path / 'run' / 'agent.sock'}"
                assert main(["ctl", control, "bootstrap", "primary=www1"]) == 0
                deadline = time.monotonic() + 20.0
                while True:
                    capsys.readouterr()
                    assert main(["ctl", control, "status"]) == 0
                    estate = json.loads(capsys.readouterr().out)["estate"]
                    words = "".join(problem["message"] for problem in estate["problems"])
                    if "does not belong to this estate" in words:
                        break
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                assert (estate["role"], estate["term"], estate["lease"]["held"]) == ("unseeded", 1, True)
                process.send_signal(signal.SIGTERM)
                assert process.wait(20.0) == 0
                assert listener.recv(100) == b"STOPPING=1"
            finally:
                process.kill()
                errors = process.communicate()[1]
        assert "Traceback" not in errors
        assert (tmp_path / "run" / "lease").exists(), "the next start goes on with this lease"
