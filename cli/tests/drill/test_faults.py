"""Faults: what is run where, what undoes it, and that the dead-man is armed before."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any

import pytest
from failoverctl.drill import deadman, faults
from failoverctl.drill.faults import CATALOGUE, Fault, Option, Scene, cut_rules, nft_table
from failoverctl.drill.remote import program
from failoverctl.drill.targets import SshPeer, TargetError
from failoverctl.estate import Estate

from .conftest import FakeTargets


def plan(estate: Estate, name: str, **options: Any) -> list[faults.Deed]:
    fault = CATALOGUE[name]
    assert fault.problems(options) == []
    return fault.plan(Scene(estate, ("www1",), fault.read(options), "abc123", False))


def inject(targets: FakeTargets, name: str, *hosts: str, **options: Any) -> faults.Injected:
    return CATALOGUE[name].inject(targets, {"hosts": hosts, "deadman_seconds": 90.0, **options})


# ---------------------------------------------------------------------------------------------- options


def test_every_fault_can_be_described() -> None:
    for name, fault in CATALOGUE.items():
        assert fault.name == name
        words = {"hosts": "www1", **dict.fromkeys(fault.options, "?")}
        assert fault.summary.format(**words)
        for option in fault.options.values():
            assert option.meaning
            assert option.default is None or option.problem(option.default) == ""


def test_the_contract_s_names_are_all_there() -> None:
    wanted = (
        "kill_process stop_unit start_unit freeze_process thaw_process power_off power_on freeze_host thaw_host cut "
        "heal_links slow_link block_vrrp break_php fill_disk free_disk write_on_replica reboot flap_link"
    )
    assert set(wanted.split()) <= set(CATALOGUE)
    assert {name for name, fault in CATALOGUE.items() if fault.lab_only} == {
        *("power_off", "power_on", "freeze_host", "thaw_host")
    }


@pytest.mark.parametrize(
    ("name", "given", "problems"),
    [
        ("kill_process", {"unit": "mariadb"}, []),
        ("kill_process", {}, [("unit", "name either a unit or a process")]),
        ("kill_process", {"unit": "a", "process": "b"}, [("unit", "name either a unit or a process")]),
        ("stop_unit", {}, [("unit", "missing: " + CATALOGUE["stop_unit"].options["unit"].meaning)]),
        ("stop_unit", {"units": "x"}, [("units", "unknown option; did you mean 'unit'?"), ("unit", None)]),
        ("cut", {"from": "primary", "to": ["replica", "witness"], "ports": [2379, 2380]}, []),
        ("cut", {"from": "primary", "ports": 70000}, [("ports", "expected 65535 or less, found 70000")]),
        ("cut", {"from": [], "one_way": "yes"}, [("from", "it is an empty list"), ("one_way", None)]),
        ("slow_link", {"delay_ms": -1}, [("delay_ms", "expected 0 or more, found -1")]),
        ("slow_link", {"delay_ms": True}, [("delay_ms", "expected a number, found True")]),
        ("block_vrrp", {"direction": "up"}, [("direction", "expected one of in, out, both, found 'up'")]),
        ("flap_link", {"times": 1.5}, [("times", "expected a whole number, found 1.5")]),
        ("start_unit", {"unit": "mariadb"}, [("unit", "only the agent starts the database: it knows in which role")]),
        ("power_off", {"force": 1}, [("force", "unknown option; ")]),
    ],
)
def test_options_are_checked(name: str, given: dict[str, Any], problems: list[tuple[str, str | None]]) -> None:
    found = CATALOGUE[name].problems(given)
    assert [key for key, _ in found] == [key for key, _ in problems]
    for (_, said), (_, wanted) in zip(found, problems, strict=True):
        assert wanted is None or said == wanted


# ---------------------------------------------------------------------------------------------- plans


def test_processes_and_units(estate: Estate) -> None:
    (killed,) = plan(estate, "kill_process", unit="mariadb")
    assert killed.do == "systemctl kill --kill-whom=main --signal=KILL -- mariadb"
    assert killed.undo == "", "only the agent may start the database"
    (killed,) = plan(estate, "kill_process", unit="keepalived")
    assert killed.undo == "systemctl start -- keepalived"
    (killed,) = plan(estate, "kill_process", process="mariadbd", signal="ABRT")
    assert (killed.do, killed.undo) == ("pkill --signal ABRT --exact -- mariadbd", "")
    (frozen,) = plan(estate, "freeze_process", unit="php*-fpm.service")
    assert frozen.do == "systemctl kill --kill-whom=all --signal=STOP -- 'php*-fpm.service'"
    assert "--signal=CONT" in frozen.undo
    (stopped,) = plan(estate, "stop_unit", unit="etcd")
    assert (stopped.do, stopped.undo) == ("systemctl stop -- etcd", "systemctl start -- etcd")
    (stopped,) = plan(estate, "stop_unit", unit="php*-fpm.service")
    assert "list-unit-files --no-legend 'php*-fpm.service'" in stopped.undo, "what is stopped, no pattern finds"
    (started,) = plan(estate, "start_unit", unit="etcd")
    assert started.do == "systemctl start --no-block -- etcd"


def test_a_cut_between_hosts_leaves_clients_alone(estate: Estate) -> None:
    (deed,) = plan(estate, "cut", **{"from": ("www1",), "to": ("witness",)})
    assert "ip saddr { 198.51.100.13 } drop" in deed.do
    assert "ip daddr { 198.51.100.13 } drop" in deed.do
    assert "198.51.100.10" not in deed.do, "www2 may hold the address, and that is not cut off"
    assert deed.undo == "nft delete table inet failover_drill_abc123 2>/dev/null || true"


def test_a_cut_from_all_holders_cuts_the_address_too(estate: Estate) -> None:
    (deed,) = plan(estate, "cut", **{"from": ("www1",), "to": ("www2", "witness")})
    assert "{ 198.51.100.12, 198.51.100.13, 198.51.100.10 }" in deed.do
    assert 'oif "lo" accept' in deed.do, "the host may hold it itself"


def test_a_one_way_cut_drops_what_is_sent(estate: Estate) -> None:
    (deed,) = plan(estate, "cut", **{"from": "www1", "to": "www2", "one_way": True})
    assert "daddr" in deed.do
    assert "saddr" not in deed.do


def test_a_cut_from_everybody_spares_ssh(estate: Estate) -> None:
    (deed,) = plan(estate, "cut", **{"from": ("www1",)})
    lines = [line.strip() for line in deed.do.splitlines()]
    assert lines[lines.index("tcp dport 22 accept") + 1] == "drop"
    assert lines[lines.index("tcp sport 22 accept") + 1] == "drop"


def test_a_cut_spares_our_own_connection_whoever_is_cut_off(estate: Estate) -> None:
    peers = {"www1": SshPeer("198.51.100.13", 2222)}
    for to in (("witness",), None):
        scene = Scene(
            estate, (), {"from": ("www1",), "to": to, "one_way": False, "ports": None}, "abc123", False, peers
        )
        (deed,) = CATALOGUE["cut"].plan(scene)
        lines = [line.strip() for line in deed.do.splitlines()]
        for spared in ("ip saddr 198.51.100.13 tcp dport 2222 accept", "ip daddr 198.51.100.13 tcp sport 2222 accept"):
            assert lines.index(spared) < max(number for number, line in enumerate(lines) if line.endswith("drop"))
            assert lines[lines.index(spared) - 1] in ('iif "lo" accept', 'oif "lo" accept'), "nothing comes before it"
    assert "tcp dport 2222 accept" in lines, "nor is anybody else who is logged in there"


def test_the_disk_of_the_system_is_filled_only_where_a_scenario_says_so(estate: Estate) -> None:
    for in_lab, said, own_only in ((True, True, True), (False, False, True), (False, True, False)):
        options = CATALOGUE["fill_disk"].read({"system_disk": said})
        (deed,) = CATALOGUE["fill_disk"].plan(Scene(estate, ("www1",), options, "abc123", in_lab))
        assert f'"own_only":{str(own_only).lower()}' in deed.do


def test_php_is_broken_by_what_a_reboot_takes_away(estate: Estate) -> None:
    (deed,) = plan(estate, "break_php")
    assert "mount --bind" in deed.do
    assert "umount" in deed.undo
    assert "failover-drill-php-" in faults._HEAL


def test_a_cut_of_ports(estate: Estate) -> None:
    (deed,) = plan(estate, "cut", **{"from": ("www1",), "to": ("witness",), "ports": [2379, 2380]})
    for line in ("ip saddr { 198.51.100.13 } tcp dport", "ip daddr { 198.51.100.13 } tcp sport"):
        assert f"{line} {{ 2379, 2380 }} drop" in deed.do


def test_slow_links_take_what_goes_to_others(estate: Estate) -> None:
    (deed,) = plan(estate, "slow_link", delay_ms=200, loss_percent=5)
    assert deed.feed == program("relay")
    for address in ("198.51.100.12", "198.51.100.13", "198.51.100.14", "198.51.100.10"):
        assert address in deed.do
    assert "198.51.100.11" not in deed.do
    assert "ip rule del" in deed.undo


def test_rules_for_both_families() -> None:
    rules = cut_rules(["198.51.100.1", "2001:db8::1"], outgoing=True)
    assert rules == ["ip daddr { 198.51.100.1 } drop", "ip6 daddr { 2001:db8::1 } drop"]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")
@pytest.mark.parametrize("addresses", [None, ["198.51.100.1"], ["198.51.100.1", "2001:db8::1"]])
@pytest.mark.parametrize("ports", [(), (22, 3306)])
def test_nftables_understands_the_rules(addresses: list[str] | None, ports: tuple[int, ...]) -> None:
    rules = [cut_rules(addresses, ports, outgoing=outgoing) for outgoing in (False, True)]
    text = nft_table("failover_drill_test", *rules)
    done = subprocess.run(["nft", "--check", "-f", "-"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def all_scripts(estate: Estate) -> list[str]:
    given: dict[str, dict[str, Any]] = {
        **{name: {"unit": "nginx"} for name in ("kill_process", "stop_unit", "start_unit")},
        **{name: {"process": "nginx"} for name in ("freeze_process", "thaw_process")},
        "cut": {"from": ("www1",), "to": ("www2",)},
        "busy_database": {"by": "backup"},
    }
    deeds = [deed for name in CATALOGUE for deed in plan(estate, name, **given.get(name, {}))]
    return [script for deed in deeds for script in (deed.do, deed.undo) if script] + [faults._HEAL]


def test_the_shell_understands_every_script(estate: Estate) -> None:
    for script in all_scripts(estate):
        done = subprocess.run(["sh", "-n", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (script, done.stderr)


@pytest.mark.parametrize("name", ["sampler", "writer", "relay", "filler"])
def test_programs_for_hosts_need_nothing_of_ours(name: str) -> None:
    text = program(name)
    compile(text, name, "exec")
    assert "failoverctl" not in text.split('"""', 2)[2]


# ---------------------------------------------------------------------------------------------- making and undoing


def test_the_dead_man_is_armed_before_the_fault_and_disarmed_after_its_end(targets: FakeTargets) -> None:
    injected = inject(targets, "stop_unit", "www1", unit="etcd")
    armed, done = targets.scripts("www1")
    assert "systemd-run" in armed
    assert "--on-active=90.0s" in armed
    assert targets.said[0][2] is not None
    assert targets.said[0][2].endswith("systemctl start -- etcd\n")
    assert done == "systemctl stop -- etcd"
    assert injected.began <= injected.done
    targets.said.clear()
    injected.revert()
    undone, disarmed = targets.scripts("www1")
    assert undone == "systemctl start -- etcd"
    assert ".timer" in disarmed
    injected.revert()
    assert len(targets.said) == 2, "once is enough"
    assert not injected.fired()


def test_a_dead_man_that_acted_is_told(targets: FakeTargets) -> None:
    injected = inject(targets, "cut", **{"from": ("www1",)})
    assert injected.fired(), "the mark is there: the fake host says yes to everything"
    injected = inject(targets, "cut", **{"from": ("www1",)})
    targets.answer = "fired\n"
    injected.revert()
    assert injected.fired()


def test_no_dead_man_no_fault(targets: FakeTargets) -> None:
    targets.fail.add("www2")
    with pytest.raises(TargetError):
        inject(targets, "stop_unit", "www1", "www2", unit="etcd")
    assert "systemctl stop -- etcd" not in targets.scripts("www1"), "nothing was done anywhere"
    assert any(".timer" in script for script in targets.scripts("www1")), "and what was armed is disarmed"


def test_a_host_that_is_off_has_nothing_to_undo(targets: FakeTargets) -> None:
    injected = inject(targets, "cut", **{"from": ("www1",)})
    targets.off.add("www1")
    injected.revert()


def test_what_cannot_be_undone_is_told(targets: FakeTargets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "BOOT_SECONDS", 0.0)
    injected = inject(targets, "cut", **{"from": ("www1",)})
    targets.fail.add("www1")
    with pytest.raises(TargetError) as caught:
        injected.revert()
    assert caught.value.what == "www1 does not answer"
    targets.fail.clear()
    injected.revert()
    assert any("nft delete table" in script for script in targets.scripts("www1")), "it is tried again"


def test_a_host_that_was_told_to_reboot_and_did_not_is_told(
    targets: FakeTargets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "BOOT_SECONDS", 0.0)
    injected = inject(targets, "reboot", "www1")
    ordered = targets.scripts("www1")[-1]
    mark = ordered.split()[1]
    assert ordered == f"touch {mark} && systemctl --no-block reboot"
    targets.status = 1
    with pytest.raises(TargetError) as caught:
        injected.revert()
    assert "www1 shows no sign of it: touch /run/" in caught.value.what
    targets.status = 0
    injected.revert()
    assert targets.scripts("www1")[-1] == f"test ! -e {mark}"


def test_real_hosts_keep_their_power(targets: FakeTargets) -> None:
    with pytest.raises(TargetError) as caught:
        inject(targets, "power_off", "www1")
    assert "lab only" in caught.value.what
    assert targets.said == []


def test_nobody_to_do_it_to(targets: FakeTargets) -> None:
    with pytest.raises(TargetError):
        inject(targets, "reboot")


class FakeLab:
    name = "demo"

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def power_off(self, host: str) -> None:
        self.done.append(("off", host))

    def power_on(self, host: str, *, wait: bool) -> None:
        assert not wait
        self.done.append(("on", host))


def test_power_comes_back(estate: Estate) -> None:
    lab = FakeLab()
    targets = FakeTargets(estate, lab)
    injected = inject(targets, "power_off", "www1", "witness")
    assert sorted(lab.done) == [("off", "witness"), ("off", "www1")]
    lab.done.clear()
    injected.revert()
    assert sorted(lab.done) == [("on", "witness"), ("on", "www1")]
    assert not injected.fired()


def test_random_order(estate: Estate) -> None:
    lab = FakeLab()
    injected = inject(FakeTargets(estate, lab), "power_on", "www1", "www2", "witness", random_order=True)
    assert injected.note == "in the order " + ", ".join(host for _, host in lab.done)
    assert {host for _, host in lab.done} == {"www1", "www2", "witness"}


def test_a_dead_man_of_this_machine_is_stopped() -> None:
    armed = deadman.arm_here(["--name", "no-such-lab", "power-on", "www1"], 60.0)
    assert armed.disarm() is False
    assert armed.disarm() is False
    armed = deadman.arm_here(["--help"], 0.0)
    armed._process.wait(20.0)
    assert armed.disarm() is True


def test_the_script_of_a_dead_man_can_be_read_on_the_host() -> None:
    text = deadman.script("systemctl start -- etcd", "abc-0")
    assert text.startswith("# The dead-man of a drill")
    assert "$" not in " ".join(deadman.arm_argv(60.0, "abc-0")), "systemd would expand it"


def test_wrong_kinds() -> None:
    assert Option("texts", "").problem("x") == "expected a list of texts, found 'x'"
    assert Option("wholes", "").problem([1, "x"]) == "expected a whole number, found 'x'"
    assert Option("host", "").problem(["primary"]) == ""
    assert Fault("x", "", lambda _: []).problems({}) == []
