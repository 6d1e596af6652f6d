# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the agent does with its host, with programs on PATH that write down how they were called."""

from __future__ import annotations

import dataclasses
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from failover_agent.config import Config, Pki, Vip
from failover_agent.host import Host, HostError, run, silent_connections

PKI = Pki("", "", "")
FENCE = "inet failover_fence"
#: Writes down its name, its arguments and its input, then does what the file beside it says.
PROGRAM = """#!/bin/sh
name=${0##*/}
{ echo "$name $*"; [ "$1 $2" = "-f -" ] && cat; } >> "$CALLS"
[ -f "$0.does" ] && . "$0.does"
exit 0
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for name in ("run", "data"):
        (tmp_path / name).mkdir()
    return Config(
        "lab",
        "www1",
        {"www1": "198.51.100.11", "www2": "198.51.100.12"},
        (),
        PKI,
        PKI,
        vips=(Vip("site", "198.51.100.10", "primary"), Vip("web", "198.51.100.9", "web")),
        runtime_directory=str(tmp_path / "run"),
        database_directory=str(tmp_path / "data"),
        database_pid_file=str(tmp_path / "mysqld.pid"),
    )


Does = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Does:
    """Say what a program does besides being called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemctl", "nft", "ip", "ss"):
        (programs / name).write_text(PROGRAM, encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def say(name: str, text: str) -> None:
        (programs / f"{name}.does").write_text(text, encoding="utf-8")

    say("nft", '[ "$1" = list ] && exit 1')
    return say


@pytest.fixture
def host(config: Config, tmp_path: Path) -> Host:
    made = Host(config)
    (tmp_path / "calls").write_text("", encoding="utf-8")
    return made


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    """What was called."""
    return lambda: (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


class TestRun:
    """Commands of the host."""

    def test_what_it_prints(self) -> None:
        assert run(["echo", "good"]) == "good\n"
        assert run(["cat"], feed="text") == "text"

    def test_a_failure_says_what_the_command_said(self) -> None:
        with pytest.raises(HostError, match="sh -c echo bad >&2; exit 3 ended with 3: bad"):
            run(["sh", "-c", "echo bad >&2; exit 3"])

    def test_a_missing_command(self) -> None:
        with pytest.raises(HostError, match=r"no-such-command: .*No such file"):
            run(["no-such-command"])

    def test_one_that_takes_too_long(self) -> None:
        with pytest.raises(HostError, match=r"timed out after 0\.1 seconds"):
            run(["sleep", "20"], timeout=0.1)


class TestDatabase:
    """The unit of the database."""

    @pytest.mark.parametrize(("keep", "role"), [(True, "MASTER"), (False, "SLAVE")])
    def test_it_is_started_with_the_role_of_the_term(
        self, host: Host, calls: Callable[[], list[str]], config: Config, keep: bool, role: str
    ) -> None:
        host.start_database(keep_in_doubt=keep)
        permit = Path(config.runtime_directory) / "mariadb.env"
        assert permit.read_text(encoding="utf-8") == f"MYSQLD_OPTS=--init-rpl-role={role}\n"
        assert calls()[-1] == "systemctl start --no-block mariadb.service"

    def test_a_failed_unit_can_be_started_again(self, host: Host, does: Does, calls: Callable[[], list[str]]) -> None:
        does("systemctl", '[ "$1" = reset-failed ] && exit 1')
        host.start_database(keep_in_doubt=False)
        assert calls() == ["systemctl reset-failed mariadb.service", "systemctl start --no-block mariadb.service"]

    def test_its_state(self, host: Host, does: Does) -> None:
        does("systemctl", "echo activating")
        assert host.database_state() == "activating"

    def test_a_unit_is_active_or_not(self, host: Host, does: Does) -> None:
        does("systemctl", "echo active")
        assert host.unit_active("keepalived.service")
        does("systemctl", "echo inactive; exit 3")
        assert not host.unit_active("keepalived.service")


@pytest.fixture
def mariadbd(config: Config, tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process that looks like the server, with its pid file."""
    program = tmp_path / "mariadbd"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    process = subprocess.Popen([str(program), "60"])
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process.pid}/comm").read_text(encoding="utf-8").strip() != "mariadbd":
        assert time.monotonic() < deadline
    Path(config.database_pid_file).write_text(f"{process.pid}\n", encoding="utf-8")
    return process


def test_the_end_of_the_database_can_be_waited_for(
    host: Host, config: Config, mariadbd: subprocess.Popen[bytes]
) -> None:
    process = host.open_database()
    ended = select.poll()
    ended.register(process, select.POLLIN)
    assert ended.poll(0) == []
    mariadbd.kill()
    assert ended.poll(10_000) == [(process, select.POLLIN)]
    os.close(process)
    assert host.open_database() == -1, "it is dead, although nobody has waited for it"
    mariadbd.wait()
    assert host.open_database() == -1
    for text in ("", "nonsense", "0", "-1", "99999999999999999999"):
        Path(config.database_pid_file).write_text(text, encoding="utf-8")
        assert host.open_database() == -1
    Path(config.database_pid_file).unlink()
    assert host.open_database() == -1


class TestFence:
    """The port is shut, the server is killed."""

    def test_the_port_is_shut_first_and_the_server_killed(
        self, host: Host, calls: Callable[[], list[str]], mariadbd: subprocess.Popen[bytes]
    ) -> None:
        assert not host.fenced
        host.fence()
        assert host.fenced
        assert mariadbd.wait(10) == -9
        told = calls()
        assert told[0] == "nft -f -"
        rules = "\n".join(told[1:])
        assert f"delete table {FENCE}" in rules
        ports, told = "{ 3306, 3307 }", "tcp flags & rst == rst accept;"
        drop = f"tcp dport {ports} drop; tcp sport {ports} drop;"
        refuse = f"tcp dport {ports} tcp flags & (syn | ack) == syn reject with tcp reset;"
        assert f"hook input priority -200; {told} {refuse} {drop} }}" in rules
        assert f"hook output priority -200; {told} {drop} }}" in rules

    def test_a_kernel_that_cannot_refuse_drops(
        self, host: Host, does: Does, mariadbd: subprocess.Popen[bytes], calls: Callable[[], list[str]]
    ) -> None:
        does("nft", 'tail -n 9 "$CALLS" | grep -q reject && exit 1')
        host.fence()
        assert host.fenced
        assert mariadbd.wait(10) == -9
        assert sum("reject" in line for line in calls()) == 1

    def test_clients_are_told_before_the_server_dies_and_the_replicas_are_left(
        self, host: Host, does: Does, mariadbd: subprocess.Popen[bytes], calls: Callable[[], list[str]]
    ) -> None:
        """Of a dead process's connections the kernel sends no reset any more."""
        does("ss", f"kill -0 {mariadbd.pid} && echo alive >> $CALLS")
        host.fence()
        assert calls()[-2:] == [
            "ss -K -t src 198.51.100.10 or ( sport = :3306 and not dst 198.51.100.12 )",
            "alive",
        ]
        assert mariadbd.wait(10) == -9

    @pytest.mark.parametrize("trouble", ["exit 1", "exec sleep 60"])
    def test_clients_that_cannot_be_told_do_not_save_the_server(
        self, host: Host, does: Does, mariadbd: subprocess.Popen[bytes], trouble: str
    ) -> None:
        does("ss", trouble)
        host.fence()
        assert mariadbd.wait(10) == -9

    def test_nobody_may_start_the_server_behind_the_fence(self, host: Host, config: Config) -> None:
        host.start_database(keep_in_doubt=True)
        host.fence()
        assert not (Path(config.runtime_directory) / "mariadb.env").exists()

    def test_a_port_that_cannot_be_shut_does_not_save_the_server(
        self, host: Host, does: Does, mariadbd: subprocess.Popen[bytes]
    ) -> None:
        does("nft", "echo 'Error: could not process rule' >&2; exit 1")
        with pytest.raises(HostError, match="could not process rule"):
            host.fence()
        assert mariadbd.wait(10) == -9
        assert not host.fenced

    def test_another_process_with_that_number_is_left_alone(self, host: Host, does: Does, config: Config) -> None:
        other = subprocess.Popen(["sleep", "60"])
        Path(config.database_pid_file).write_text(f"{other.pid}\n", encoding="utf-8")
        does("systemctl", "echo 0")
        host.fence()
        assert other.poll() is None
        other.kill()
        other.wait()

    def test_without_a_pid_file_systemd_is_asked(self, host: Host, does: Does) -> None:
        victim = subprocess.Popen(["sleep", "60"])
        does("systemctl", f"echo {victim.pid}")
        host.fence()
        assert victim.wait(10) == -9

    def test_a_server_that_cannot_be_found_is_an_error(self, host: Host, does: Does) -> None:
        """Not knowing is not the same as not running."""
        does("systemctl", "exit 1")
        with pytest.raises(HostError, match="MainPID"):
            host.fence()
        assert host.fenced

    def test_it_can_be_repeated_and_lifted(self, host: Host, calls: Callable[[], list[str]], does: Does) -> None:
        does("systemctl", "echo 0")
        host.fence()
        host.fence()
        host.lift_fence()
        assert not host.fenced
        assert calls()[-2:] == [f"table {FENCE} {{}}", f"delete table {FENCE}"]

    def test_a_fence_that_cannot_be_lifted_is_still_there(self, host: Host, does: Does) -> None:
        does("systemctl", "echo 0")
        host.fence()
        does("nft", "exit 1")
        with pytest.raises(HostError):
            host.lift_fence()
        assert host.fenced

    def test_a_restarted_agent_finds_the_fence(self, does: Does, config: Config) -> None:
        assert not Host(config).fenced
        does("nft", "exit 0")
        assert Host(config).fenced


class TestGate:
    """The file that keepalived watches."""

    def test_it_is_closed_until_it_is_opened(self, host: Host, config: Config) -> None:
        gate = Path(config.runtime_directory) / "vip_primary"
        assert not host.gate_open
        host.open_gate()
        assert (host.gate_open, gate.read_text(encoding="utf-8")) == (True, "1\n")
        host.close_gate()
        assert (host.gate_open, gate.read_text(encoding="utf-8")) == (False, "0\n")
        host.open_gate(prepared=True)
        assert (host.gate_open, host.gate_prepared) == (True, True)
        host.open_gate()
        assert (host.gate_open, host.gate_prepared) == (True, False), "it is this host's own now"
        host.open_gate(prepared=True)
        host.close_gate()
        assert (host.gate_open, host.gate_prepared) == (False, False)

    def test_it_changes_by_rename(self, host: Host, config: Config) -> None:
        """keepalived must never read a file that is half written: empty is FAULT."""
        gate = Path(config.runtime_directory) / "vip_primary"
        host.open_gate()
        with gate.open(encoding="utf-8") as old:
            host.close_gate()
            assert old.read() == "1\n"

    def test_what_follows_is_started_and_stopped_without_waiting(
        self, host: Host, calls: Callable[[], list[str]]
    ) -> None:
        host.start_followers()
        host.stop_followers()
        assert calls() == [
            "systemctl start --no-block failover-primary.target",
            "systemctl stop --no-block failover-primary.target",
        ]


class TestAddresses:
    """Addresses, sockets, disk, clock."""

    #: As iproute2 6.1 prints it; the second line is an interface without an address.
    ADDRESSES = (
        '[{"ifindex":1,"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8},'
        '{"family":"inet6","local":"::1","prefixlen":128}]},{"ifname":"dummy0","addr_info":[]},{},'
        '{"ifname":"host0","addr_info":[{"family":"inet","local":"198.51.100.11","prefixlen":26},'
        '{"family":"inet","local":"198.51.100.10","prefixlen":32}]}]'
    )

    def test_which_virtual_addresses_are_here(self, host: Host, does: Does) -> None:
        does("ip", f"echo '{self.ADDRESSES}'")
        assert host.addresses() == {"127.0.0.1", "::1", "198.51.100.11", "198.51.100.10"}
        assert host.held() == {"site": True, "web": False}

    def test_connections_of_an_address_are_reset(self, host: Host, calls: Callable[[], list[str]]) -> None:
        host.kill_sockets("198.51.100.10")
        host.kill_sockets("2001:db8::10")
        assert calls() == ["ss -K -t src 198.51.100.10", "ss -K -t src [2001:db8::10]"]

    def test_nobody_connects_to_the_database_while_an_address_moves(
        self, host: Host, calls: Callable[[], list[str]]
    ) -> None:
        with host.refusing(["198.51.100.10", "2001:db8::10"]):
            text = "\n".join(calls())
            assert "type ipv4_addr; flags timeout; elements = { 198.51.100.10 timeout 2s }" in text
            assert "ip6 daddr @over_1 tcp dport { 3306, 3307 } tcp flags & (syn | ack) == syn reject with" in text
        ending = ["nft -f -", "table inet failover_refusing {}", "delete table inet failover_refusing"]
        assert calls()[-3:] == ending
        assert len(calls()) > 6
        before = calls()
        with host.refusing([]):
            assert calls() == before

    def test_an_address_moves_also_where_nobody_can_be_refused(self, host: Host, does: Does) -> None:
        does("nft", "exit 1")
        with host.refusing(["198.51.100.10"]):
            pass

    def test_what_goes_to_the_database_of_another_host_is_reset_on_both_ports(
        self, host: Host, calls: Callable[[], list[str]]
    ) -> None:
        with host.no_connections("198.51.100.12"):
            deadline = time.monotonic() + 10
            while not calls():
                assert time.monotonic() < deadline
        assert calls()[0] == "ss -K -t dst 198.51.100.12 and ( dport = :3306 or dport = :3307 )"

    def test_who_is_shut_out_gets_to_neither_port(self, host: Host, calls: Callable[[], list[str]]) -> None:
        host.set_shut_out(frozenset({"198.51.100.12"}))
        assert "ip saddr 198.51.100.12 tcp dport { 3306, 3307 } drop;" in "\n".join(calls())
        assert host.shut_out == {"198.51.100.12"}
        host.set_shut_out(frozenset())
        assert calls()[-1] == "delete table inet failover_shut_out"
        assert not host.shut_out

    #: As iproute2 6.15 printed it: a replica that was cut off, one that is idle, one to which nothing gets out of this
    #: host, one that confirms all the time.
    SOCKETS = (
        "0      4811     198.51.100.12:3307  198.51.100.11:35890 ts sack bbr wscale:10,10 rto:52224 backoff:8 mss:1448"
        " lastsnd:13324 lastrcv:67564 lastack:67564 busy:68404ms unacked:1 retrans:1/21 lost:1 dsack_dups:12\n"
        "0      0        198.51.100.12:3307  198.51.100.13:44090 bbr wscale:10,10 rto:204 mss:1448 lastsnd:316"
        " lastrcv:42376 lastack:99316 busy:52ms rcv_rtt:1\n"
        "0      1349   198.51.100.12:3307  198.51.100.13:54540 bbr wscale:10,10 rto:204 backoff:5 mss:1448 lastsnd:316"
        " lastrcv:42376 lastack:9704 busy:52ms rcv_rtt:1\n"
        "0      20       198.51.100.12:3307  198.51.100.13:44092 bbr wscale:10,10 rto:204 mss:1448 lastsnd:3"
        " lastrcv:42376 lastack:316 busy:52ms unacked:1\n"
    )

    @pytest.mark.parametrize(
        ("line", "asked"),
        [
            ("0C6433C6:0CEB 0B6433C6:8C32 01 000012CB:00000000 01:00000F2A 00000008", True),
            ("0C6433C6:0CEB 0B6433C6:8C32 01 00000545:00000000 04:0000017F 00000000", True),
            ("0C6433C6:0CEB 0B6433C6:8C32 01 00000000:00000000 02:000007D0 00000000", False),
            ("0C6433C6:0CEA 0B6433C6:8C32 01 000012CB:00000000 01:00000F2A 00000008", False),
            ("0C6433C6:0CEB 0B6433C6:8C32 04 000012CB:00000000 01:00000F2A 00000008", False),
        ],
        ids=["it is tried again", "it does not leave the host", "all is well", "a client", "closing"],
    )
    def test_silent_replicas_are_looked_for_where_tcp_tries_again(
        self,
        host: Host,
        calls: Callable[[], list[str]],
        does: Does,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        line: str,
        asked: bool,
    ) -> None:
        table = tmp_path / "tcp"
        heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
        table.write_text(f"{heading}\n   0: {line}   105        0 31337 2 0000000000000000 204 4\n", encoding="ascii")
        monkeypatch.setattr("failover_agent.host._TCP", table)
        does("ss", f"[ \"$1\" = -K ] || printf '%s' '{self.SOCKETS}'")
        assert host.reset_silent(3.0) == ({"198.51.100.11", "198.51.100.13"} if asked else frozenset())
        assert calls() == (
            [
                "ss -H -O -t -n -i state established sport = :3307",
                "ss -K -t dst 198.51.100.11:35890 sport = :3307",
                "ss -K -t dst 198.51.100.13:54540 sport = :3307",
            ]
            if asked
            else []
        )

    def test_for_how_long_they_may_be_silent(self) -> None:
        assert silent_connections(self.SOCKETS, 67.0) == [("198.51.100.11", 35890)]
        assert silent_connections(self.SOCKETS, 68.0) == []
        assert silent_connections("", 1.0) == []

    def test_the_kernel_says_it_in_this_form(self, host: Host) -> None:
        """/proc/net/tcp of this machine can be read; nothing is sent again to a port that nobody uses."""
        assert host.reset_silent(3.0) == frozenset()

    def test_the_disk(self, host: Host) -> None:
        assert 0.0 < host.disk_free_fraction() <= 1.0

    def test_the_disk_while_the_directory_is_being_replaced(self, config: Config) -> None:
        missing = Path(config.database_directory) / "missing" / "mysql"
        found = Host(dataclasses.replace(config, database_directory=str(missing))).disk_free_fraction()
        assert 0.0 < found <= 1.0

    def test_the_clock_is_the_one_that_nobody_steps(self, host: Host) -> None:
        assert abs(host.now() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60.0
