"""What to aim the prober at, for an estate. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from failoverctl.estate import Estate, Vip

#: The account and database that the role mariadb makes for the prober.
PROBE_USER = "failover_probe"

#: The agent's read-only HTTP.
AGENT_PORT = 8010
MARIADB_PORT = 3306
HTTP_PORT = 80


def target(estate: Estate, password: str, *, writers: int = 1) -> dict[str, Any] | None:
    """Return the prober's target.json without schema and run_id, or None: nothing to measure.

    Writes go to the first VIP that follows the primary, if the inventory has a password for the
    prober's account. Requests go to the first site: by the same VIP when data hosts are web hosts
    too, else by the first VIP that follows the web hosts.

    :param password: ``mariadb_probe_password``; empty when there is none.
    :param writers: how many connections write at the same time.
    """
    primary = _vip(estate, "primary")
    shared = set(estate.groups.get("web", ())) & set(estate.groups.get("database", ()))
    web = primary if shared and primary else _vip(estate, "web")
    data_hosts = estate.in_role("database")
    write: Mapping[str, Any] | None = None
    if primary and password and estate.with_database:
        write = {
            "host": primary.address,
            "port": MARIADB_PORT,
            "user": PROBE_USER,
            "password": password,
            "database": PROBE_USER,
        }
    http: Mapping[str, Any] | None = None
    if web and estate.domains:
        http = {
            "host": web.address,
            "port": HTTP_PORT,
            "host_header": estate.domains[0],
            "path": "/",
        }
    if write is None and http is None:
        return None
    return {
        "writers": writers,
        "write": write,
        "http": http,
        "sample": [{"host": host.name, "url": f"http://{host.address}:{AGENT_PORT}/role"} for host in data_hosts],
        "readers": [{"host": host.name, "address": host.address, "port": MARIADB_PORT} for host in data_hosts]
        if write is not None
        else [],
    }


def _vip(estate: Estate, follows: str) -> Vip | None:
    return next((vip for vip in estate.vips if vip.follows == follows), None)
