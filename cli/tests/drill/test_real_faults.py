"""Faults on real hosts: needs root, the programs of the lab and a package mirror."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from failoverctl.drill.faults import CATALOGUE, Injected, heal_everything
from failoverctl.drill.targets import TargetError, Targets, find_lab
from failoverctl.estate import Estate, Host
from failoverctl.lab import Lab
from failoverctl.lab.network import find_overlap, read_used
from failoverctl.lab.requirements import find_missing

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(find_missing()), reason=f"needs {' '.join(find_missing())}"),
]

_SERVICE = "drilled"


def _free_network() -> IPv4Network:
    for network in IPv4Network("198.51.100.0/24").subnets(new_prefix=28):
        if find_overlap(network, read_used("no-lab")) is None:
            return network
    pytest.skip("198.51.100.0/24 is full of labs")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    found = Lab.open("drilled", say=print)
    try:
        found.up("drill", network=_free_network())
        for host in ("www1", "www2"):
            found.exec(host, ["apt-get", "-qq", "-y", "--no-install-recommends", "install", "nftables"], check=True)
        yield found
    finally:
        found.down()


@pytest.fixture
def targets(lab: Lab) -> Iterator[Targets]:
    hosts = tuple(Host(name, (), address, "", {}, False) for name, address in lab.addresses().items())
    groups = {"database": ("www1", "www2"), "web": ("www1", "www2")}
    estate = Estate(lab.name, "lan", hosts, groups, (), {}, ())
    found = find_lab(estate)
    assert found is not None
    with Targets.open(None, estate) as all_hosts:  # type: ignore[arg-type]
        assert all_hosts.lab == lab.name
        yield all_hosts
        assert heal_everything(all_hosts) == []


def inject(targets: Targets, name: str, *hosts: str, **options: Any) -> Injected:
    seconds = options.pop("deadman", 60.0)
    assert CATALOGUE[name].problems(options) == []
    return CATALOGUE[name].inject(targets, {"hosts": hosts, "deadman_seconds": seconds, **options})


def tables(targets: Targets, host: str) -> str:
    return targets.run(host, ["nft", "list", "tables"], check=True).stdout


def round_trip(targets: Targets, a: str, b: str) -> float | None:
    """The time of a ping in seconds, None when there is no answer."""
    address = next(host.address for host in targets.estate.hosts if host.name == b)
    done = targets.run(a, ["ping", "-n", "-c", "2", "-i", "0.3", "-W", "1", address])
    if done.returncode != 0:
        return None
    return float(done.stdout.rsplit("= ", 1)[1].split("/")[1]) / 1000.0


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def state(targets: Targets, unit: str, host: str = "www1") -> str:
    return targets.run(host, ["systemctl", "is-active", unit]).stdout.strip()


@pytest.fixture
def service(targets: Targets) -> Iterator[str]:
    """A unit on www1 that counts in a file, ten times a second."""
    script = "while true; do date +%s.%N > /run/drilled; sleep 0.1; done"
    unit = f"[Service]\nExecStart=/bin/sh -c {script.replace('%', '%%')!r}\n"
    targets.run("www1", ["sh", "-c", f"cat > /etc/systemd/system/{_SERVICE}.service"], stdin=unit, check=True)
    targets.run("www1", ["systemctl", "daemon-reload"], check=True)
    targets.run("www1", ["systemctl", "restart", _SERVICE], check=True)
    yield _SERVICE
    targets.run("www1", ["systemctl", "stop", _SERVICE])


def goes_on(targets: Targets) -> bool:
    def said() -> str:
        return targets.run("www1", ["cat", "/run/drilled"]).stdout

    before = said()
    time.sleep(0.5)
    return said() != before


def test_processes_and_units(targets: Targets, service: str) -> None:
    killed = inject(targets, "kill_process", "www1", unit=service)
    assert wait_until(lambda: state(targets, service) == "failed", 3.0)
    killed.revert()
    assert state(targets, service) == "active"
    assert not killed.fired()

    frozen = inject(targets, "freeze_process", "www1", unit=service)
    assert state(targets, service) == "active"
    assert not goes_on(targets)
    frozen.revert()
    assert goes_on(targets)

    stopped = inject(targets, "stop_unit", "www1", unit=service)
    assert state(targets, service) == "inactive"
    inject(targets, "start_unit", "www1", unit=service)
    assert wait_until(lambda: state(targets, service) == "active", 3.0)
    stopped.revert()


def test_cuts(targets: Targets) -> None:
    assert round_trip(targets, "www1", "www2") is not None
    cut = inject(targets, "cut", **{"from": ("www1",), "to": ("www2",)})
    assert round_trip(targets, "www1", "www2") is None
    assert round_trip(targets, "www2", "www1") is None
    assert round_trip(targets, "www1", "vault") is not None
    cut.revert()
    cut.revert()
    assert round_trip(targets, "www1", "www2") is not None
    assert "failover_drill" not in tables(targets, "www1")

    everybody = inject(targets, "cut", **{"from": ("www1",)})
    assert round_trip(targets, "www1", "vault") is None
    # ssh is spared: a real host can still be healed.
    address = next(host.address for host in targets.estate.hosts if host.name == "www1")
    command = ["bash", "-c", f"exec 3<>/dev/tcp/{address}/22; head -c 4 <&3"]
    greeting = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    assert greeting.stdout == "SSH-"
    everybody.revert()
    assert round_trip(targets, "www1", "vault") is not None


def test_one_way_and_ports(targets: Targets) -> None:
    listen = "import socket; s = socket.create_server(('', 2379)); [s.accept()[0].close() for _ in range(9)]"
    targets.run("www2", ["systemd-run", "--quiet", "--collect", "--unit=listen", "python3", "-c", listen], check=True)
    address = next(host.address for host in targets.estate.hosts if host.name == "www2")

    def connects() -> bool:
        argv = ["timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{address}/2379"]
        return targets.run("www1", argv).returncode == 0

    assert wait_until(connects, 5.0)
    ports = inject(targets, "cut", **{"from": ("www1",), "to": ("www2",), "ports": [2379, 2380]})
    assert not connects()
    assert round_trip(targets, "www1", "www2") is not None, "other ports and protocols are left alone"
    ports.revert()
    assert connects()
    one_way = inject(targets, "cut", **{"from": ("www1",), "to": ("www2",), "one_way": True})
    assert round_trip(targets, "www1", "www2") is None
    ruleset = targets.run("www1", ["nft", "list", "ruleset"]).stdout
    assert "saddr" not in ruleset
    one_way.revert()
    targets.run("www2", ["systemctl", "stop", "listen"])


def test_links_that_flap_end_by_themselves(targets: Targets) -> None:
    began = time.monotonic()
    flap = inject(targets, "flap_link", "www1", on_seconds=1, off_seconds=1, times=2, to=["www2"])
    seen = []
    while time.monotonic() - began < 4.5:
        seen.append("failover_drill" in tables(targets, "www1"))
        time.sleep(0.1)
    changes = [after for before, after in itertools.pairwise(seen) if before != after]
    assert changes in ([False, True, False], [True, False, True, False])
    flap.revert()
    flap = inject(targets, "flap_link", "www1", on_seconds=1, off_seconds=30, times=2)
    assert wait_until(lambda: "failover_drill" in tables(targets, "www1"), 3.0)
    flap.revert()
    assert "failover_drill" not in tables(targets, "www1")


def test_slow_links(targets: Targets) -> None:
    usual = round_trip(targets, "www1", "www2")
    assert usual is not None
    assert usual < 0.05
    slow = inject(targets, "slow_link", "www1", delay_ms=150, to=["www2"])
    delayed = round_trip(targets, "www1", "www2")
    assert delayed is not None
    assert 0.15 <= delayed < 0.3
    other = round_trip(targets, "www1", "vault")
    assert other is not None
    assert other < 0.05, "only what was asked for"
    slow.revert()
    back = round_trip(targets, "www1", "www2")
    assert back is not None
    assert back < 0.05
    rules = targets.run("www1", ["ip", "rule"]).stdout
    assert len(rules.splitlines()) == 3, rules
    lossy = inject(targets, "slow_link", "www1", loss_percent=100, to=["www2"])
    assert round_trip(targets, "www1", "www2") is None
    lossy.revert()
    assert round_trip(targets, "www1", "www2") is not None


def test_disks(targets: Targets) -> None:
    data = "/var/lib/mysql"

    def room() -> int:
        return int(targets.run("www1", ["df", "--output=avail", "-B1", data]).stdout.split()[1])

    before = room()
    assert before < 5 * 2**30, "a disk of its own"
    full = inject(targets, "fill_disk", "www1", leave_bytes=10 * 2**20, folder=data)
    assert wait_until(lambda: room() <= 10 * 2**20, 5.0)
    full.revert()
    assert wait_until(lambda: room() >= before - 2**20, 5.0)
    inject(targets, "fill_disk", "www1", folder=data)
    inject(targets, "free_disk", "www1")
    assert wait_until(lambda: room() >= before - 2**20, 5.0)
    with pytest.raises(TargetError):
        inject(targets, "fill_disk", "vault", folder="/var/lib")


def test_vrrp(targets: Targets) -> None:
    blocked = inject(targets, "block_vrrp", "www1", direction="in")
    assert "failover_drill" in tables(targets, "www1")
    blocked.revert()
    assert "failover_drill" not in tables(targets, "www1")


def test_power_and_freezes(targets: Targets, lab: Lab) -> None:
    off = inject(targets, "power_off", "www2")
    assert not lab.is_on("www2")
    assert not targets.answers("www2")
    off.revert()
    assert wait_until(lambda: lab.is_on("www2"), 5.0)
    lab.power_on("www2")
    frozen = inject(targets, "freeze_host", "www2")
    assert lab.status().hosts[1].frozen
    frozen.revert()
    assert not lab.status().hosts[1].frozen
    targets.run("www2", ["touch", "/run/gone-with-the-next-boot"], check=True)
    inject(targets, "reboot", "www2").revert()
    assert targets.run("www2", ["test", "-e", "/run/gone-with-the-next-boot"]).returncode == 1
    lab.power_on("www2")


def test_the_dead_man_undoes_what_nobody_undid(targets: Targets, service: str, lab: Lab) -> None:
    stopped = inject(targets, "stop_unit", "www1", unit=service, deadman=2.0)
    cut = inject(targets, "cut", deadman=2.0, **{"from": ("www1",)})
    frozen = inject(targets, "freeze_host", "www2", deadman=2.0)
    assert wait_until(lambda: state(targets, service) == "active", 6.0)
    assert wait_until(lambda: "failover_drill" not in tables(targets, "www1"), 6.0)
    assert wait_until(lambda: not lab.status().hosts[1].frozen, 6.0)
    for each in (stopped, cut, frozen):
        assert each.fired()
        each.revert()
        assert each.fired()


_VICTIM = """
import sys
from failoverctl.drill.faults import CATALOGUE
from failoverctl.drill.targets import Targets
from failoverctl.estate import Estate, Host
import json
estate = Estate(**json.loads(sys.argv[1]) | {{"hosts": tuple(Host(**each) for each in json.loads(sys.argv[2]))}})
targets = Targets.open(None, estate)
options = {{"from": ("www1",), "hosts": (), "deadman_seconds": 4.0}}
CATALOGUE["cut"].inject(targets, options)
CATALOGUE["power_off"].inject(targets, {{"hosts": ("www2",), "deadman_seconds": 4.0}})
print("made", flush=True)
sys.stdin.read()
"""


def test_hosts_heal_themselves_when_the_drill_is_killed(targets: Targets, lab: Lab) -> None:
    import json
    from dataclasses import asdict

    data = asdict(targets.estate)
    hosts = data.pop("hosts")
    command = [sys.executable, "-c", _VICTIM.format(), json.dumps({**data, "hosts": ()}), json.dumps(hosts)]
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    victim = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == "made\n"
    assert not lab.is_on("www2")
    assert "failover_drill" in tables(targets, "www1")
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert wait_until(lambda: "failover_drill" not in tables(targets, "www1"), 10.0)
    assert wait_until(lambda: lab.is_on("www2"), 10.0)
    lab.power_on("www2")
