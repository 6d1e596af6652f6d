"""An estate without a database on real hosts: address and units follow one quorum decision."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from tests.e2e.conftest import DATA_HOSTS, Estate, bare_hosts, other, wait_for

pytestmark = pytest.mark.e2e

LAB = "cistatic"
NETWORK = IPv4Network("198.18.0.192/26")
VIP = str(NETWORK.network_address + 10)
DOMAIN = "static.example.org"
UNIT = """\
[Unit]
PartOf=failover-primary.target
[Service]
ExecStart=/usr/bin/sleep infinity
[Install]
WantedBy=failover-primary.target
"""
#: A lease, the step between candidates, and what keepalived needs; twice, as the machine may be busy.
TAKEOVER_SECONDS = 12.0


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """Two hosts that serve a page, a witness, and a unit of our own under the target."""
    with bare_hosts(LAB, "static", NETWORK, tmp_path_factory.mktemp("static")) as made:
        made.run("setup", "--yes", timeout=900.0)
        for host in DATA_HOSTS:
            page, unit = f"/srv/www/{DOMAIN}/index.html", "/etc/systemd/system/only-there.service"
            script = f"echo Hello > {page}; printf '%s' \"$1\" > {unit}; systemctl enable only-there.service"
            made.lab.exec(host, ["sh", "-c", script, "sh", UNIT], check=True)
        yield made


def served_by() -> str | None:
    """The host that serves the page at the virtual IP; None when none does."""
    connection = http.client.HTTPConnection(VIP, timeout=0.5)
    try:
        connection.request("GET", "/", headers={"Host": DOMAIN})
        answer = connection.getresponse()
        return answer.getheader("X-Served-By") if answer.status == http.client.OK else None
    except OSError:
        return None
    finally:
        connection.close()


def holders(estate: Estate) -> list[str]:
    """The hosts that have the virtual IP, as the kernel says."""
    on = [status.name for status in estate.lab.status().hosts if status.on and status.name in DATA_HOSTS]
    return [host for host in on if f" {VIP}/" in estate.lab.exec(host, ["ip", "-4", "address"], check=True).stdout]


def whole(estate: Estate) -> str | None:
    """The primary of an estate in which all is well."""
    roles = {host: estate.role(host) for host in DATA_HOSTS}
    leading = [host for host, role in roles.items() if role == "primary"]
    if sorted(roles.values()) != ["primary", "replica"] or holders(estate) != leading or served_by() != leading[0]:
        return None
    return leading[0]


def runs_there(estate: Estate, host: str) -> bool:
    """Whether our own unit runs on a host."""
    return estate.lab.exec(host, ["systemctl", "is-active", "only-there.service"]).stdout.strip() == "active"


def test_it_leads_moves_and_comes_back(static: Estate) -> None:
    primary = str(wait_for(lambda: whole(static), 30.0))
    assert "mariadb" not in static.lab.exec(primary, ["dpkg", "-l"], check=True).stdout
    status = json.loads(static.run("status", "--json").stdout)
    assert (status["verdict"], status["primary"]) == ("healthy", primary)
    assert "SYNC" not in static.run("status").stdout

    # Planned: the address and our unit go over, and a rejoin has nothing to do.
    static.run("switchover", "--no-measure", "--yes")
    assert wait_for(lambda: whole(static), 20.0) == other(primary)
    assert [runs_there(static, host) for host in (primary, other(primary))] == [False, True]
    static.run("rejoin", primary, "--yes", exit_code=3)
    assert [refusal["code"] for refusal in static.last_run()["refusals"]] == ["no_database"]

    # Unplanned: nobody types anything.
    primary, heir = other(primary), primary
    static.lab.power_off(primary)
    began = time.monotonic()
    wait_for(lambda: served_by() == heir, TAKEOVER_SECONDS, lambda: f"the page is served by {served_by()}")
    took = time.monotonic() - began
    assert took < TAKEOVER_SECONDS
    assert holders(static) == [heir]
    static.lab.power_on(primary)
    assert wait_for(lambda: whole(static), 60.0) == heir, "the old primary comes back and takes nothing"
    wait_for(lambda: runs_there(static, heir), 10.0)
    assert not runs_there(static, primary)
