"""From bare hosts to a measured switchover, and what must be refused. Run in the order of the file."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pymysql
import pytest
from pymysql.constants import CR

from tests.e2e.conftest import DATA_HOSTS, NETWORK, Estate, kill_at, lock_of_another, one_primary, other, wait_for

pytestmark = pytest.mark.e2e

VIP = str(NETWORK.network_address + 10)


def packages(estate: Estate) -> dict[str, str]:
    return {
        host: estate.lab.exec(host, ["dpkg-query", "-W"], check=True).stdout for host in ("www1", "www2", "witness")
    }


# ---------------------------------------------------------------------------------------------- setup


def test_check_mode_on_bare_hosts_changes_nothing(bare: Estate) -> None:
    before = packages(bare)
    bare.run("setup", "--check", "--diff", "--yes")
    assert packages(bare) == before
    assert bare.lab.exec("www1", ["test", "-e", "/etc/failover-agent"]).returncode == 1
    assert bare.last_run()["changed"] > 0


def test_setup_makes_a_whole_estate(served: Estate) -> None:
    assert served.wait_settled() == "www1"


def test_second_setup_that_was_killed_is_finished_and_changes_nothing(estate: Estate) -> None:
    primary = estate.wait_settled()
    kill_at(estate, "seed | Give the replica its first copy", "setup", "--yes")
    assert one_primary(estate) == primary
    assert "setup moves nothing" in estate.run("rollback", "--check").stderr
    estate.run("resume", "--yes")
    assert estate.last_run()["changed"] == 0
    assert estate.wait_settled() == primary
    assert estate.told(primary)["lock"] is None


def test_check_mode_on_a_whole_estate_predicts_nothing(estate: Estate) -> None:
    estate.run("setup", "--check", "--diff", "--yes")
    assert estate.last_run()["changed"] == 0


def test_status(estate: Estate) -> None:
    status = json.loads(estate.run("status", "--json").stdout)
    assert status["schema"] == 1
    assert "www1" in estate.run("status").stdout


# ---------------------------------------------------------------------------------------------- switchover


def test_switchover_there_and_back_under_load(estate: Estate) -> None:
    for _ in range(2):
        before = estate.wait_settled()
        estate.run("switchover", "--to", other(before), "--yes", "--measure")
        run = estate.last_run()
        assert run["verdict"] == "pass", run["reason"]
        probe = run["probe"]
        assert probe["writes"]["acknowledged"] > 100
        assert (probe["writes"]["lost"], probe["writes"]["unexpected"], probe["writes"]["hung"]) == (0, 0, 0)
        # The pause may be shorter than what counts as one, but who looks has written on both.
        served = [each["server"] for each in probe["writes"]["servers"]]
        assert served == [before, other(before)]
        assert probe["http"]["acknowledged"] > 100
        assert estate.wait_settled() == other(before)


def test_switchover_by_plain_ansible(estate: Estate) -> None:
    before = estate.wait_settled()
    done = subprocess.run(
        ["ansible-playbook", "-i", "hosts.yml", "hosting.failover.switchover"],
        cwd=estate.folder,
        env=estate.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert estate.wait_settled() == other(before)


def test_check_asks_every_gate_and_changes_nothing(estate: Estate) -> None:
    before = estate.wait_settled()
    term = estate.told(before)["term"]
    estate.run("switchover", "--check", "--yes")
    answer = estate.told(before)
    assert (answer["role"], answer["term"], answer["lock"]) == ("primary", term, None)


@contextlib.contextmanager
def background_sql(estate: Estate, host: str, statement: str) -> Iterator[None]:
    """Run a statement that takes long, and end it with the block."""
    process = estate.lab.command(host, ["mariadb", "guestbook", "-e", statement])
    running = subprocess.Popen(process, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.kill()
        running.wait()
        for identifier in estate.sql(
            host,
            "SELECT id FROM information_schema.processlist WHERE info LIKE '%SLEEP(90)%' AND id != CONNECTION_ID()",
        ).split():
            estate.lab.exec(host, ["mariadb", "-e", f"KILL {identifier}"])


def refused(estate: Estate, code: str) -> None:
    """A switchover is refused for this reason, and nothing happens."""
    before = next(host for host in DATA_HOSTS if estate.role(host) == "primary")
    done = estate.run("switchover", "--to", other(before), "--yes", "--no-measure", exit_code=3)
    assert code in [refusal["code"] for refusal in estate.last_run()["refusals"]], done.stderr
    assert estate.role(before) == "primary"
    estate.sql(
        before, "INSERT INTO failover_probe.writes(run_id, stream, seq, server) VALUES (UUID(), 0, 0, 'refused')"
    )


@contextlib.contextmanager
def waiting_client(estate: Estate, primary: str) -> Iterator[Callable[[], tuple[float, object]]]:
    """A client waits over the address for an answer; yields what says when (monotonic) and how it was told."""
    estate.sql(primary, "CREATE USER e2e_waits@'%' IDENTIFIED BY 'for an answer'")
    told: list[tuple[float, object]] = []

    def wait() -> None:
        with pymysql.connect(host=VIP, user="e2e_waits", password="for an answer", read_timeout=60) as connection:
            try:
                connection.cursor().execute("SELECT SLEEP(55)")
            except pymysql.MySQLError as error:
                told.append((time.monotonic(), error.args[0]))

    def how() -> tuple[float, object]:
        waiting.join()
        (answer,) = told
        return answer

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        wait_for(lambda: "SLEEP(55)" in estate.sql(primary, "SHOW PROCESSLIST"), 10.0)
        yield how
    finally:
        waiting.join()
        estate.sql(estate.wait_settled(), "DROP USER e2e_waits@'%'")


def test_whoever_waits_for_an_answer_is_told_that_the_address_moved(estate: Estate) -> None:
    """Nothing can be sent from an address that is gone: a client would wait until it gives up by itself."""
    primary = estate.wait_settled()
    with waiting_client(estate, primary) as told:
        estate.run("switchover", "--yes", "--no-measure")
        ended = time.monotonic()
        at, code = told()
        assert code == CR.CR_SERVER_LOST
        assert at < ended


def test_refused_long_transaction(estate: Estate) -> None:
    primary = estate.wait_settled()
    row = "INSERT INTO failover_probe.writes(run_id, stream, seq, server) VALUES (UUID(), 1, 1, 'open')"
    statement = f"BEGIN; {row}; SELECT SLEEP(90)"
    with background_sql(estate, primary, statement):
        time.sleep(6.0)
        refused(estate, "long_transaction")


def test_refused_schema_change(estate: Estate) -> None:
    primary = estate.wait_settled()
    estate.sql(primary, "CREATE TABLE IF NOT EXISTS guestbook.slow(n INT)")
    with background_sql(estate, primary, "CREATE TABLE slow_copy AS SELECT SLEEP(90) AS n"):
        time.sleep(1.0)
        refused(estate, "ddl_running")


def test_refused_lagging_replica(estate: Estate) -> None:
    primary = estate.wait_settled()
    with background_sql(estate, other(primary), "FLUSH TABLES WITH READ LOCK; SELECT SLEEP(90)"):
        time.sleep(1.0)
        estate.sql(
            primary, "INSERT INTO failover_probe.writes(run_id, stream, seq, server) VALUES (UUID(), 2, 2, 'behind')"
        )
        refused(estate, "replica_lagging")


def test_refused_broken_replication(estate: Estate) -> None:
    primary = estate.wait_settled()
    replica = other(primary)
    # A row that only the replica has, written past the binary log, breaks the same write on the primary.
    row = "INSERT INTO failover_probe.writes(run_id, stream, seq, server) VALUES ('broken', 3, 3, 'here')"
    estate.sql(replica, f"SET sql_log_bin=0; {row}")
    estate.sql(primary, row)
    wait_for(
        lambda: not (estate.agent(replica) or {"database": {"sql_running": True}})["database"]["sql_running"], 10.0
    )
    refused(estate, "replication_broken")
    estate.sql(replica, "SET sql_log_bin=0; DELETE FROM failover_probe.writes WHERE run_id='broken'; START SLAVE")


def test_refused_unknown_host_and_already_primary(estate: Estate) -> None:
    primary = estate.wait_settled()
    assert "www2" in estate.run("switchover", "--to", "www9", "--yes", "--no-measure", exit_code=2).stderr
    estate.run("switchover", "--to", primary, "--yes", "--no-measure", exit_code=3)
    assert [refusal["code"] for refusal in estate.last_run()["refusals"]] == ["already_primary"]


def test_refused_replica_outside_the_sync_set(estate: Estate) -> None:
    primary = estate.wait_settled()
    estate.lab.power_off(other(primary))
    wait_for(lambda: (estate.told(primary)["sync"] or {"mode": ""})["mode"] == "degraded", 20.0)
    estate.run("status", exit_code=5)
    done = estate.run("switchover", "--yes", "--no-measure", exit_code=None)
    assert done.returncode in {3, 4}, done.stderr


def test_locked(estate: Estate) -> None:
    primary = estate.wait_settled()
    lock_of_another(estate)
    for command in (["switchover", "--no-measure"], ["failover"], ["rejoin", other(primary)], ["setup"]):
        done = estate.run(*command, "--yes", exit_code=6)
        assert "anna@elsewhere" in done.stderr
    assert "other-run" in estate.run("lock", "status").stdout
    estate.run("lock", "release", "--yes", "--reason", "test")
    assert estate.told(primary)["lock"] is None


def test_without_quorum_the_primary_goes_on_only_while_every_host_waits(estate: Estate) -> None:
    """Without a majority of etcd no primary is recorded; who cannot hear that the others wait fences itself in time."""
    primary = estate.wait_settled()
    with waiting_client(estate, primary) as told, stopped(estate, "etcd", other(primary), "witness"):
        time.sleep(10.0)
        assert estate.role(primary) == "primary"
        estate.run("switchover", "--yes", "--no-measure", exit_code=3)
        assert "quorum_lost" in [refusal["code"] for refusal in estate.last_run()["refusals"]]
        with stopped(estate, "failover-agent", other(primary)):
            wait_for(lambda: estate.role(primary) == "fenced", 15.0)
            fenced = time.monotonic()
            at, code = told()
            assert code == CR.CR_SERVER_LOST
            assert at < fenced + 1.0, "a fence lets nothing out but that"
    estate.wait_settled()


@contextlib.contextmanager
def stopped(estate: Estate, unit: str, *hosts: str) -> Iterator[None]:
    """A unit is stopped on some hosts for the length of the block."""
    for host in hosts:
        estate.lab.exec(host, ["systemctl", "stop", unit], check=True)
    try:
        yield
    finally:
        for host in hosts:
            estate.lab.exec(host, ["systemctl", "start", "--no-block", unit], check=True)


# ---------------------------------------------------------------------------------------------- killed half-way


def test_whoever_knows_that_the_controller_is_dead_can_start_anew(estate: Estate) -> None:
    """A switchover that was killed is neither resumed nor undone, and is in nobody's way."""
    before = estate.wait_settled()
    kill_at(estate, "Ask every gate", "switchover", "--to", other(before), "--yes", "--no-measure")
    assert estate.wait_settled(30.0) == before
    assert "died" in estate.run("runs", "list").stdout
    estate.run("lock", "release", "--yes", "--reason", "the controller was killed")
    estate.run("switchover", "--yes", "--no-measure")
    assert estate.wait_settled() == other(before)


@pytest.mark.parametrize("seed", range(4))
def test_agent_killed_in_a_switchover(estate: Estate, seed: int) -> None:
    """Whichever agent dies at whichever moment: one primary, the other its replica, without a person."""
    chance = random.Random(seed)
    before = estate.wait_settled()
    command = ["failover-agent", "ctl", "switchover", f"run_id=killed-{seed}", f"to={other(before)}"]
    thread = threading.Thread(target=estate.lab.exec, args=(before, command))
    thread.start()
    time.sleep(chance.uniform(0.12, 0.32))
    victim = chance.choice([before, before, other(before)])
    estate.lab.exec(victim, ["systemctl", "kill", "--signal=KILL", "failover-agent"])
    thread.join()
    estate.wait_settled(30.0)


# ---------------------------------------------------------------------------------------------- the world breaks


def test_primary_killed_comes_back_with_everything(estate: Estate) -> None:
    primary = estate.wait_settled()
    rows = "SELECT COUNT(*) FROM failover_probe.writes"
    before = estate.sql(primary, rows)
    killed = estate.main_pid(primary, "mariadb")
    estate.lab.exec(primary, ["kill", "-9", killed], check=True)
    wait_for(lambda: estate.main_pid(primary, "mariadb") not in ("0", killed), 20.0)
    # The agent may still tell what it saw before the kill: only a database that answers counts.
    wait_for(lambda: estate.lab.exec(primary, ["mariadb", "-e", rows]).returncode == 0, 20.0)
    assert estate.wait_settled(20.0) == primary
    assert estate.sql(primary, rows) == before


def test_a_primary_alone_in_the_dark_fences_itself_and_another_takes_over(estate: Estate) -> None:
    estate.run("resume-automation", "--yes")
    primary = estate.wait_settled()
    estate.lab.cut(primary)
    wait_for(lambda: estate.role(other(primary)) == "primary", 20.0)
    assert estate.role(primary) == "fenced"
    estate.lab.heal()
    assert estate.wait_settled(60.0) == other(primary)


def test_a_power_loss_promotes_another_but_not_twice_in_a_row(estate: Estate) -> None:
    estate.run("resume-automation", "--yes")
    primary = estate.wait_settled()
    heir = other(primary)
    estate.lab.power_off(primary)
    wait_for(lambda: estate.role(heir) == "primary", 20.0)
    estate.lab.power_on(primary)
    assert estate.wait_settled(60.0) == heir
    estate.lab.power_off(heir)
    time.sleep(12.0)
    answer = estate.told(primary)
    assert (answer["role"], answer["leader"]) == ("replica", None), "somebody has to look first"
    estate.lab.power_on(heir)
    assert estate.wait_settled(60.0) == heir


def test_a_hand_start_of_the_database_is_refused(estate: Estate) -> None:
    replica = other(estate.wait_settled())
    estate.lab.exec(replica, ["systemctl", "stop", "failover-agent", "mariadb"], check=True)
    estate.lab.exec(replica, ["rm", "-f", "/run/failover-agent/mariadb.env"])
    assert estate.lab.exec(replica, ["systemctl", "start", "mariadb"]).returncode != 0
    estate.lab.exec(replica, ["systemctl", "start", "failover-agent"], check=True)
