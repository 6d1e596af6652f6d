# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the agent does with its host: units of systemd, the fence in nftables, the gate of the virtual IPs, sockets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from failover_agent.config import Config

PRIMARY_TARGET = "failover-primary.target"
_FENCE_TABLE = "failover_fence"
#: How often (seconds) connections that must not be are reset.
_RESET_SECONDS = 0.03
_SHUT_OUT_TABLE = "failover_shut_out"
_REFUSING_TABLE = "failover_refusing"
#: For so long (seconds) connections are refused at most, should the agent die meanwhile.
_REFUSED_SECONDS = 2
#: What opens a connection, for nftables.
_NEW = "tcp flags & (syn | ack) == syn"
_TCP = Path("/proc/net/tcp")
#: The kind of timer there of a connection that asks whether it may send.
_PROBES = "04:"


class HostError(Exception):
    """A command of the host failed or took too long; the text names it and what it said."""


def run(argv: list[str], *, timeout: float = 5.0, feed: str | None = None) -> str:
    """Run a command and return what it printed.

    :raises HostError: it failed, is missing, or took longer than ``timeout`` seconds.
    """
    try:
        done = subprocess.run(argv, input=feed, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{' '.join(argv)}: {error}") from error
    if done.returncode != 0:
        raise HostError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Host:
    """This machine. Every method is safe to repeat."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._runtime = Path(config.runtime_directory)
        self._gate = self._runtime / "vip_primary"
        self._prepared = self._runtime / "gate-prepared"
        self._permit = self._runtime / "mariadb.env"
        self._pid_file = Path(config.database_pid_file)
        # A file and no variable: the guard of a dead agent fences too, and the next agent has to know.
        self._fenced = self._runtime / "fenced"
        self._shut_out = self._runtime / "shut-out"
        if _table_exists():
            self._fenced.touch()
        else:
            self._fenced.unlink(missing_ok=True)

    # ---- time

    def now(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Seconds since 1970. Only for what people read, and for the count of failovers in an hour."""
        return time.time()

    # ---- the database's unit

    def database_state(self) -> str:
        """systemd's ActiveState of the database unit: ``active``, ``activating``, ``inactive``, ``failed``, ..."""
        return run(["systemctl", "show", "-p", "ActiveState", "--value", self._config.database_unit]).strip()

    def open_database(self) -> int:
        """A file descriptor that is readable once the process of the database is dead (``pidfd_open(2)``); -1 when it
        is.
        """
        try:
            with self._pid_file.open("rb", buffering=0) as file:
                process = os.pidfd_open(int(file.read(32)))
        except (OSError, ValueError, OverflowError):
            return -1
        ended = select.poll()
        ended.register(process, select.POLLIN)
        if ended.poll(0):
            os.close(process)  # Dead, and not yet buried.
            return -1
        return process

    def start_database(self, *, keep_in_doubt: bool) -> None:
        """Start mariadbd with the ``init_rpl_role`` that the term asks for; returns before it answers.

        The unit asserts that the permit file exists, so nothing but this can start it: a start with the wrong role
        would discard acknowledged transactions or resurrect others.
        """
        role = "MASTER" if keep_in_doubt else "SLAVE"
        self._permit.write_text(f"MYSQLD_OPTS=--init-rpl-role={role}\n", encoding="utf-8")
        with contextlib.suppress(HostError):
            run(["systemctl", "reset-failed", self._config.database_unit])
        run(["systemctl", "start", "--no-block", self._config.database_unit])

    def withdraw_permit(self) -> None:
        """Nobody may start the database until the agent says so again."""
        self._permit.unlink(missing_ok=True)

    def stop_database(self) -> None:
        """A regular stop; only of a database that waits for no acknowledgement."""
        run(["systemctl", "stop", self._config.database_unit], timeout=120.0)

    # ---- the fence

    @property
    def fenced(self) -> bool:
        """Whether the ports of the database are shut."""
        return self._fenced.exists()

    def fence(self) -> None:
        """Shut the database's ports, then kill mariadbd at once. The ports first, so that no late answer gets out.

        Only resets do: whoever waits for an answer, or comes anew, is told that none will come while the address is
        still here.
        """
        self.withdraw_permit()
        problem = None
        try:
            try:
                self._shut(refusing=True)
            except HostError:  # Perhaps this kernel cannot refuse.
                self._shut(refusing=False)
            self._fenced.touch()
            self._reset_clients()
        except HostError as error:
            problem = error
        try:
            pid = self._database_pid()
        except HostError as error:
            pid, problem = 0, problem or error
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if problem:
            raise problem

    def _shut(self, *, refusing: bool) -> None:
        ports = self._ports()
        refuse = f"tcp dport {ports} {_NEW} reject with tcp reset; " if refusing else ""
        drop = f"tcp dport {ports} drop; tcp sport {ports} drop;"
        told = "tcp flags & rst == rst accept;"
        rules = (
            f"table inet {_FENCE_TABLE} {{}}\ndelete table inet {_FENCE_TABLE}\ntable inet {_FENCE_TABLE} {{\n"
            f"  chain input {{ type filter hook input priority -200; {told} {refuse}{drop} }}\n"
            f"  chain output {{ type filter hook output priority -200; {told} {drop} }}\n}}\n"
        )
        run(["nft", "-f", "-"], feed=rules, timeout=0.5)

    def _reset_clients(self) -> None:
        """Reset every connection over an address that follows the primary, and the others of the database's clients.

        Those of the replicas are left: without them the database might acknowledge what no replica has. A reset is for
        a process that lives; of a dead one's connections the kernel only sends the ends, which the fence drops.
        """
        clients = " and ".join(
            [
                f"sport = :{self._config.database_port}",
                *(f"not dst {_literal(peer)}" for peer in self._config.peers.values()),
            ]
        )
        over = [f"src {_literal(vip.address)}" for vip in self._config.vips if vip.follows == "primary"]
        with contextlib.suppress(HostError):
            run(["ss", "-K", "-t", " or ".join([*over, f"( {clients} )"])], timeout=0.2)

    def lift_fence(self) -> None:
        """Open the ports of the database again."""
        run(["nft", "-f", "-"], feed=f"table inet {_FENCE_TABLE} {{}}\ndelete table inet {_FENCE_TABLE}\n")
        self._fenced.unlink(missing_ok=True)

    @property
    def shut_out(self) -> frozenset[str]:
        """The addresses that may not replicate from here."""
        try:
            return frozenset(self._shut_out.read_text(encoding="utf-8").split())
        except OSError:
            return frozenset()

    def set_shut_out(self, addresses: frozenset[str]) -> None:
        """Let nothing from ``addresses`` get to the database: no acknowledgement of theirs arrives any more.

        The table is replaced in one transaction of nftables.
        """
        rules = "".join(
            f"  chain input_{number} {{ type filter hook input priority -190;"
            f" {_family(address)} saddr {address} tcp dport {self._ports()} drop; }}\n"
            for number, address in enumerate(sorted(addresses))
        )
        table = f"table inet {_SHUT_OUT_TABLE} {{}}\ndelete table inet {_SHUT_OUT_TABLE}\n"
        run(["nft", "-f", "-"], feed=f"{table}table inet {_SHUT_OUT_TABLE} {{\n{rules}}}\n" if rules else table)
        fresh = self._shut_out.with_suffix(".new")
        fresh.write_text("\n".join(sorted(addresses)), encoding="utf-8")
        fresh.rename(self._shut_out)

    def _ports(self) -> str:
        """The ports of the database, as nftables wants them."""
        return f"{{ {', '.join(map(str, self._config.database_ports))} }}"

    def _database_pid(self) -> int:
        """The main process of the database, 0 when it does not run. From its pid file if that is right, without asking
        systemd, which may be slow when everything is."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(Path(self._config.database_pid_file).read_text(encoding="utf-8"))
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() in {"mariadbd", "mysqld"}:
                return pid
        with contextlib.suppress(ValueError):
            return int(run(["systemctl", "show", "-p", "MainPID", "--value", self._config.database_unit], timeout=1.0))
        return 0

    # ---- the gate: what follows the primary

    @property
    def gate_open(self) -> bool:
        """Whether keepalived may hold the addresses that follow the primary."""
        try:
            return self._gate.read_text(encoding="utf-8").strip() == "1"
        except OSError:
            return False

    @property
    def gate_prepared(self) -> bool:
        """Whether the gate was opened for a planned switchover to come, while another host still leads."""
        return self._prepared.exists()

    def open_gate(self, *, prepared: bool = False) -> None:
        """Let the addresses come. For keepalived 1 is healthy; 0, an empty and a missing file are FAULT.

        With ``prepared`` a file says so, for the guard: this host does not lead yet.
        """
        if prepared:
            self._prepared.touch()
        self._set_gate("1")
        if not prepared:
            self._prepared.unlink(missing_ok=True)

    def close_gate(self) -> None:
        """Send the addresses away."""
        self._set_gate("0")
        self._prepared.unlink(missing_ok=True)

    def _set_gate(self, text: str) -> None:
        """Write the gate by rename: keepalived must never read a half-written file."""
        fresh = self._gate.with_suffix(".new")
        fresh.write_text(f"{text}\n", encoding="utf-8")
        fresh.rename(self._gate)

    def start_followers(self) -> None:
        """Start the units that run on the primary only; does not wait for them."""
        run(["systemctl", "start", "--no-block", PRIMARY_TARGET])

    def stop_followers(self) -> None:
        """Stop the units that run on the primary only; does not wait for them."""
        run(["systemctl", "stop", "--no-block", PRIMARY_TARGET])

    def unit_active(self, unit: str) -> bool:
        """Whether a unit is active."""
        try:
            return run(["systemctl", "is-active", unit], timeout=2.0).strip() == "active"
        except HostError:
            return False

    # ---- addresses and sockets

    def held(self) -> dict[str, bool]:
        """Which virtual IPs are configured on this host, by name."""
        present = self.addresses()
        return {vip.name: vip.address in present for vip in self._config.vips}

    def addresses(self) -> set[str]:
        """All IPv4 and IPv6 addresses of this host."""
        links = json.loads(run(["ip", "-json", "address", "show"], timeout=2.0))
        return {info["local"] for link in links for info in link.get("addr_info", ()) if "local" in info}

    def kill_sockets(self, address: str) -> None:
        """Reset every TCP connection of a local address, so that no client waits for an answer that never comes."""
        run(["ss", "-K", "-t", "src", _literal(address)], timeout=2.0)

    @contextlib.contextmanager
    def refusing(self, addresses: Iterable[str]) -> Iterator[None]:
        """Meanwhile refuse new connections to the database over addresses of this host. Where nftables cannot do that,
        they are taken.

        The kernel itself ends it after a while: a rule that a dead agent left behind would refuse everybody.
        """
        table = f"table inet {_REFUSING_TABLE}"
        none = f"{table} {{}}\ndelete {table}\n"
        rules = "".join(
            f"  set over_{number} {{ type {'ipv6' if ':' in address else 'ipv4'}_addr; flags timeout;"
            f" elements = {{ {address} timeout {_REFUSED_SECONDS}s }}; }}\n"
            f"  chain input_{number} {{ type filter hook input priority -180; {_family(address)} daddr @over_{number}"
            f" tcp dport {self._ports()} {_NEW} reject with tcp reset; }}\n"
            for number, address in enumerate(addresses)
        )
        rules = rules if self._config.engine != "none" else ""
        if rules:
            with contextlib.suppress(HostError):
                run(["nft", "-f", "-"], feed=f"{none}{table} {{\n{rules}}}\n", timeout=1.0)
        try:
            yield
        finally:
            if rules:
                with contextlib.suppress(HostError):
                    run(["nft", "-f", "-"], feed=none, timeout=1.0)

    @contextlib.contextmanager
    def no_connections(self, address: str) -> Iterator[None]:
        """Meanwhile reset whatever this host has open, or tries to open, to the database of another."""
        done = threading.Event()
        ports = f"( {' or '.join(f'dport = :{port}' for port in self._config.database_ports)} )"

        def reset() -> None:
            while not done.is_set():
                with contextlib.suppress(HostError):
                    run(["ss", "-K", "-t", "dst", _literal(address), "and", *ports.split()], timeout=1.0)
                done.wait(_RESET_SECONDS)

        thread = threading.Thread(target=reset, name="reset", daemon=True)
        if address:
            thread.start()
        try:
            yield
        finally:
            done.set()

    def reset_silent(self, limit: float) -> frozenset[str]:
        """Reset the connections to the port for replicas whose other side has confirmed nothing for ``limit`` seconds
        of what was sent to it; the addresses.

        TCP would try for minutes, and long after the link is good again. Cheap while there is none.
        """
        port = self._config.replication_port
        if not _struggles(_TCP.read_text(encoding="ascii"), port):
            return frozenset()
        told = run(["ss", "-H", "-O", "-t", "-n", "-i", "state", "established", "sport", "=", f":{port}"], timeout=1.0)
        silent = silent_connections(told, limit)
        for address, remote in silent:
            run(["ss", "-K", "-t", "dst", f"{address}:{remote}", "sport", "=", f":{port}"], timeout=1.0)
        return frozenset(address for address, _remote in silent)

    # ---- disk

    def disk_free_fraction(self) -> float:
        """Free share (0..1) of the file system that holds the data directory."""
        if self._config.engine == "none":
            return 1.0
        path = Path(self._config.database_directory)
        while not path.exists():  # While a copy takes its place.
            path = path.parent
        disk = os.statvfs(path)
        return disk.f_bavail / disk.f_blocks


def _struggles(table: str, port: int) -> bool:
    """Whether TCP sends something again in an established connection of a local port, or asks whether it may send at
    all, as it does where packets are dropped before they leave. From ``/proc/net/tcp``
    (Documentation/networking/proc_net_tcp.rst of Linux).
    """
    rows = (line.split() for line in table.splitlines()[1:])
    local, established = f":{port:04X}", "01"
    return any(
        row[1].endswith(local) and row[3] == established and (int(row[6], 16) > 0 or row[5].startswith(_PROBES))
        for row in rows
    )


def silent_connections(table: str, limit: float) -> list[tuple[str, int]]:
    """Address and port of the other sides that have confirmed nothing for ``limit`` seconds although something is on
    its way to them, from ``ss -HOtni state established``.
    """
    found = []
    for line in table.splitlines():
        last = re.search(r"\blastack:(\d+)", line)
        if last and int(last[1]) > limit * 1000.0 and int(line.split()[1]) > 0:
            address, _colon, remote = line.split()[3].rpartition(":")
            found.append((address, int(remote)))
    return found


def sync(path: Path) -> None:
    """Bring a file to the disk, or the names that are in a directory."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip"


def _literal(address: str) -> str:
    """An address as ss(8) takes it: the last group of a bare IPv6 address would be its port."""
    return f"[{address}]" if ":" in address else address


def _table_exists() -> bool:
    try:
        run(["nft", "list", "table", "inet", _FENCE_TABLE], timeout=2.0)
    except HostError:
        return False
    return True
