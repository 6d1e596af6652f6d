"""What a person does when automation does not: fail over, bring back, pause, finish what was cut short."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Estate, kill_at, lock_of_another, one_primary, other, wait_for

pytestmark = pytest.mark.e2e

ROW = "INSERT INTO failover_probe.writes(run_id, stream, seq, server) VALUES ('{0}', 7, 7, 'e2e')"


def automation(estate: Estate) -> str:
    status = estate.run("status", "--json", exit_code=None)
    return str(json.loads(status.stdout)["automation"]["state"])


# ---------------------------------------------------------------------------------------------- pause and failover


def test_a_living_primary_is_not_failed_over(estate: Estate) -> None:
    primary = estate.wait_settled()
    estate.run("failover", "--yes", exit_code=3)
    assert "primary_alive" in [refusal["code"] for refusal in estate.last_run()["refusals"]]
    assert estate.wait_settled() == primary


def test_pause_is_shown_repeated_and_ended_while_another_runbook_is_at_work(estate: Estate) -> None:
    lock_of_another(estate)
    estate.run("pause", "--for", "20m", "--reason", "e2e", "--yes")
    status = estate.run("status", exit_code=5)
    assert "automation is paused by " in status.stdout
    assert automation(estate) == "paused"
    estate.run("pause", "--for", "20m", "--reason", "e2e", "--yes")
    assert estate.last_run()["changed"] == 0
    estate.run("pause", "--for", "20m", "--reason", "e2e", "--check")
    estate.run("resume-automation", "--yes")
    assert automation(estate) == "active"
    estate.run("resume-automation", "--yes")
    assert estate.last_run()["changed"] == 0
    estate.run("lock", "release", "--yes", "--reason", "test")


def test_a_person_fails_over_while_automation_is_paused(estate: Estate) -> None:
    primary = estate.wait_settled()
    row = ROW.format("paused")
    estate.run("pause", "--for", "20m", "--reason", "e2e", "--yes")
    estate.sql(primary, row)
    estate.lab.power_off(primary)
    time.sleep(10.0)
    assert estate.told(other(primary))["role"] == "replica", "paused, and yet somebody was promoted"
    estate.run("failover", "--yes")
    run = estate.last_run()
    assert (run["failover"]["from"], run["failover"]["to"]) == (primary, other(primary))
    assert run["failover"]["possible_loss"] is None
    assert estate.sql(other(primary), "SELECT COUNT(*) FROM failover_probe.writes WHERE run_id='paused'") == "1"
    estate.lab.power_on(primary)
    estate.run("resume-automation", "--yes")
    assert estate.wait_settled(90.0) == other(primary)


def test_a_loss_is_shown_accepted_and_saved(estate: Estate) -> None:
    """The replica is gone, the primary goes on alone and dies: what it wrote alone is lost, said, and saved."""
    primary = estate.wait_settled()
    replica = other(primary)
    estate.lab.power_off(replica)
    wait_for(lambda: (estate.told(primary)["sync"] or {"mode": ""})["mode"] == "degraded", 30.0)
    estate.sql(primary, ROW.format("alone"))
    estate.lab.power_off(primary)
    estate.lab.power_on(replica)
    wait_for(lambda: estate.role(replica) == "replica", 60.0)
    done = estate.run("failover", "--yes", exit_code=3)
    run = estate.last_run()
    assert run["failover"]["possible_loss"] is not None, done.stderr
    assert "What may be lost: " in done.stderr
    estate.run("failover", "--accept-data-loss", "--yes", exit_code=2)
    name = json.loads(estate.run("status", "--json", exit_code=None).stdout)["estate"]
    estate.run("failover", "--accept-data-loss", "--yes", "--confirm-estate", name)
    assert estate.role(replica) == "primary"
    estate.lab.power_on(primary)
    wait_for(lambda: estate.agent(primary) is not None, 60.0)
    wait_for(lambda: estate.told(primary)["divergent"], 90.0)
    estate.run("rejoin", primary, "--yes")
    assert estate.wait_settled(120.0) == replica
    saved = estate.told(primary)["divergent"][0]
    text = estate.lab.exec(primary, ["cat", saved["sql"]], check=True).stdout
    assert "alone" in text
    assert saved["sql"] in estate.run("status", exit_code=None).stdout
    assert "divergent_saved" in estate.run("doctor", exit_code=None).stdout


def test_rejoin_of_a_host_that_follows_and_a_new_copy(estate: Estate) -> None:
    primary = estate.wait_settled()
    replica = other(primary)
    estate.run("rejoin", replica, "--yes")
    assert estate.last_run()["changed"] == 0
    estate.run("rejoin", primary, "--yes", exit_code=3)
    estate.run("rejoin", replica, "--reclone", "--yes")
    assert estate.last_run()["rejoin"]["result"] == "recloned"
    assert estate.wait_settled() == primary


# ---------------------------------------------------------------------------------------------- killed half-way


@pytest.mark.parametrize(
    ("title", "verb"),
    [
        ("take_lock | Take the lock of the estate", "rollback"),
        ("Hand the primary role over", "resume"),
        ("Hand the primary role over", "rollback"),
        ("Insist on one primary", "rollback"),
    ],
)
def test_a_switchover_that_was_killed_is_finished_or_undone(estate: Estate, title: str, verb: str) -> None:
    before = estate.wait_settled()
    kill_at(estate, title, "switchover", "--to", other(before), "--yes", "--no-measure")
    wait_for(lambda: one_primary(estate), 30.0)
    assert "failoverctl resume" in estate.run("status", exit_code=None).stderr
    estate.run(verb, "--yes")
    assert estate.wait_settled() == (other(before) if verb == "resume" else before)
    assert estate.told(before)["lock"] is None
    assert "Nothing to" in estate.run(verb, "--yes").stdout


def test_a_failover_that_was_killed_is_finished(estate: Estate) -> None:
    primary = estate.wait_settled()
    estate.run("pause", "--yes")
    estate.lab.power_off(primary)
    time.sleep(8.0)
    kill_at(estate, "Promote the best replica", "failover", "--yes")
    estate.run("resume", "--yes")
    assert estate.role(other(primary)) == "primary"
    assert estate.told(other(primary))["lock"] is None
    estate.lab.power_on(primary)
    estate.run("resume-automation", "--yes")
    assert estate.wait_settled(90.0) == other(primary)


def test_a_rejoin_that_was_killed_is_finished(estate: Estate) -> None:
    replica = other(estate.wait_settled())
    kill_at(estate, "Follow the primary", "rejoin", replica, "--reclone", "--yes")
    estate.run("resume", "--yes")
    estate.wait_settled(90.0)
    assert estate.told(replica)["lock"] is None


def test_a_pause_that_was_killed_is_finished_or_undone(estate: Estate) -> None:
    kill_at(estate, "Pause automation", "pause", "--yes")
    estate.run("resume", "--yes")
    assert automation(estate) == "paused"
    kill_at(estate, "Resume automation", "resume-automation", "--yes")
    estate.run("resume", "--yes")
    assert automation(estate) == "active"


def test_a_setup_that_fails_by_plain_ansible_frees_the_lock(estate: Estate) -> None:
    primary = estate.wait_settled()
    done = subprocess.run(
        ["ansible-playbook", "-i", "hosts.yml", "hosting.failover.setup", "-e", '{"mariadb_settings": {"no_such": 1}}'],
        cwd=estate.folder,
        env=estate.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0, done.stdout
    assert "no_such" in done.stdout
    assert estate.told(primary)["lock"] is None
    assert estate.wait_settled() == primary


# ---------------------------------------------------------------------------------------------- not ours


@contextlib.contextmanager
def stranger(address: str, vrid: int) -> Iterator[None]:
    """Somebody who advertises a VRRP router id, from this machine."""
    stop = threading.Event()
    advert = bytes([0x21, vrid, 100, 1, 0, 1]) + bytes(2) + socket.inet_aton("198.18.0.250")

    def shout() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, 112) as wire:
            wire.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
            while not stop.wait(0.2):
                wire.sendto(advert, ("224.0.0.18", 0))

    thread = threading.Thread(target=shout)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_what_is_not_ours_is_named_all_at_once_and_makes_nobody_act(estate: Estate) -> None:
    primary = estate.wait_settled()
    replica = other(primary)
    before = (estate.told(primary)["term"], estate.main_pid(primary, "mariadb"), estate.main_pid(replica, "mariadb"))
    text = (estate.folder / "hosts.yml").read_text()
    name = estate.told(primary)["estate"]
    (estate.folder / "renamed.yml").write_text(text.replace(f"failover_estate: {name}", "failover_estate: renamed"))
    here = estate.lab.status().gateway
    edited = "/etc/mysql/mariadb.conf.d/zz-by-hand.cnf"
    estate.lab.exec(replica, ["sh", "-c", f"printf '[mariadbd]\\nsync_binlog = 0\\n' > {edited}"], check=True)
    try:
        with stranger(here, 51):
            done = estate.run("check", "-i", "renamed.yml", "--json", exit_code=2)
    finally:
        estate.lab.exec(replica, ["rm", edited], check=True)
    codes = {problem["code"] for problem in json.loads(done.stdout)["problems"]}
    assert {"other_estate", "etcd_other_estate", "settings_overridden", "vrid_in_use"} <= codes
    after = (estate.told(primary)["term"], estate.main_pid(primary, "mariadb"), estate.main_pid(replica, "mariadb"))
    assert after == before
    estate.run("check")


def test_an_agent_of_another_version_is_named(estate: Estate) -> None:
    primary = estate.wait_settled()
    replica = other(primary)
    path = "/usr/lib/failover-agent/failover_agent/__init__.py"
    estate.lab.exec(replica, ["sed", "-i.kept", 's/^__version__ = .*/__version__ = "9.9.9"/', path], check=True)
    try:
        estate.lab.exec(replica, ["systemctl", "restart", "failover-agent"], check=True)
        wait_for(lambda: (estate.agent(replica) or {"version": ""})["version"] == "9.9.9", 30.0)
        status = json.loads(estate.run("status", "--json", exit_code=5).stdout)
        assert "agent_versions" in [problem["code"] for problem in status["problems"]]
        assert "agent_versions" in estate.run("doctor").stdout
        assert estate.role(primary) == "primary"
    finally:
        estate.lab.exec(replica, ["mv", f"{path}.kept", path], check=True)
        estate.lab.exec(replica, ["systemctl", "restart", "failover-agent"], check=True)


def test_without_a_majority_a_person_says_who_is_off(estate: Estate) -> None:
    """Primary and witness are gone: the replica that is left takes over, and setup makes the others voters again."""
    primary = estate.wait_settled()
    left = other(primary)
    estate.sql(primary, ROW.format("majority"))
    estate.lab.power_off(primary)
    estate.lab.power_off("witness")
    wait_for(lambda: not estate.told(left)["etcd"]["reachable"], 30.0)
    estate.run("failover", "--yes", exit_code=3)
    estate.run("failover", "--yes", "--confirm-fenced", primary, exit_code=3)
    assert [refusal["code"] for refusal in estate.last_run()["refusals"]] == ["not_fenced"]
    estate.run("failover", "--yes", "--confirm-fenced", primary, "--confirm-fenced", "witness")
    assert estate.role(left) == "primary"
    assert estate.sql(left, "SELECT COUNT(*) FROM failover_probe.writes WHERE run_id='majority'") == "1"
    estate.lab.power_on(primary)
    estate.lab.power_on("witness")
    wait_for(lambda: estate.role(primary) == "replica", 60.0)
    estate.run("setup", "--yes", timeout=900.0)
    assert estate.told(left)["etcd"]["healthy"] == 3
    assert estate.wait_settled() == left
