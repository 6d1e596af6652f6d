# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ``etcd_member`` against a cluster that a test makes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _config_files, _etcd
from ansible_collections.hosting.failover.plugins.modules import etcd_member

Run = Callable[..., dict[str, Any]]
ADDRESSES = {"www1": "198.51.100.11", "www2": "198.51.100.12", "witness": "198.51.100.13"}


@dataclass
class Cluster:
    """What the members would answer. ``sick`` are hosts that do not."""

    members: list[_etcd.Member]
    sick: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)

    def client(self, address: str, *_args: Any, **_options: Any) -> Client:
        """Stand for the class Client; 127.0.0.1 is the witness."""
        names = {item: name for name, item in ADDRESSES.items()}
        return Client(self, names.get(address, "witness"))


@dataclass
class Client:
    """Access to one member of a made up cluster."""

    cluster: Cluster
    name: str

    def is_healthy(self) -> bool:
        return self.name not in self.cluster.sick

    def list_members(self) -> tuple[_etcd.Member, ...]:
        return tuple(self.cluster.members)

    def add_member(self, url: str) -> tuple[_etcd.Member, ...]:
        if self.cluster.busy:
            raise _etcd.EtcdError(self.cluster.busy.pop())
        self.cluster.log.append(f"add {url}")
        self.cluster.members.append(_etcd.Member("9", "", (url,), ()))
        return tuple(self.cluster.members)

    def remove_member(self, member: _etcd.Member) -> None:
        self.cluster.log.append(f"remove {member.name}")
        self.cluster.members.remove(member)


def member(name: str, *, started: bool = True) -> _etcd.Member:
    client = (f"https://{ADDRESSES[name]}:2379",) if started else ()
    return _etcd.Member(str(len(name)), name, (_etcd.peer_url(ADDRESSES[name]),), client)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, programs: Callable[[str, str], None], tmp_path: Path) -> Cluster:
    made = Cluster([member(name) for name in ADDRESSES])
    monkeypatch.setattr(_etcd, "Client", made.client)
    monkeypatch.setattr(_config_files, "write_file", lambda path, content, *_: Path(path).write_bytes(content))
    programs("systemctl", f'echo "$*" >> {tmp_path}/calls')
    programs("journalctl", "echo 'etcd says no'")
    return made


def args(tmp_path: Path, state: str, **more: Any) -> dict[str, Any]:
    return {
        "state": state,
        "name": "witness",
        "addresses": ADDRESSES,
        "token": "lab",
        "data_directory": str(tmp_path / "data"),
        "bootstrap_file": str(tmp_path / "bootstrap.env"),
        "timeout_seconds": 1,
        **more,
    }


def test_a_new_cluster(tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
    assert run_module(etcd_member, args(tmp_path, "bootstrapped"))["done"] == ["started"]
    assert "ETCD_INITIAL_CLUSTER_STATE=new\nETCD_INITIAL_CLUSTER_TOKEN=lab" in (tmp_path / "bootstrap.env").read_text()
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "restart --no-block etcd.service"
    assert cluster.log == []


def test_a_member_without_its_data_takes_its_own_place(tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
    result = run_module(etcd_member, args(tmp_path, "joined"))
    assert result["done"] == ["removed the entry whose data is gone", "announced to the cluster", "started"]
    assert cluster.log == ["remove witness", "add https://198.51.100.13:2380"]
    text = (tmp_path / "bootstrap.env").read_text()
    assert "ETCD_INITIAL_CLUSTER_STATE=existing" in text
    assert "witness=https://198.51.100.13:2380,www1=" in text


@pytest.mark.parametrize(("said", "joins"), [("etcdserver: unhealthy cluster", True), ("too many members", False)])
def test_a_member_that_has_just_started_is_waited_for(
    tmp_path: Path, cluster: Cluster, run_module: Run, said: str, joins: bool
) -> None:
    cluster.busy.append(said)
    result = run_module(etcd_member, args(tmp_path, "joined"))
    assert ("started" in result["done"]) is joins
    assert bool(result.get("failed")) is not joins


def test_an_entry_that_never_started_is_used(tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
    cluster.members[2] = member("witness", started=False)
    assert run_module(etcd_member, args(tmp_path, "joined"))["done"] == ["started"]
    assert cluster.log == []


@pytest.mark.parametrize("state", ["joined", "restarted"])
def test_nothing_is_touched_while_another_member_is_sick(
    tmp_path: Path, cluster: Cluster, run_module: Run, state: str
) -> None:
    cluster.sick.add("www2")
    result = run_module(etcd_member, args(tmp_path, state))
    assert (result["failed"], result["failover_refused"], result["done"]) == (True, True, [])
    assert "because www2 is not healthy" in result["refusals"][0]["message"]
    assert (cluster.log, (tmp_path / "calls").exists()) == ([], False)


def test_no_healthy_member_to_join(tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
    cluster.sick.update(["www1", "www2"])
    assert "finds no healthy member" in run_module(etcd_member, args(tmp_path, "joined"))["msg"]


def test_a_member_that_does_not_become_healthy(tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
    cluster.sick.add("witness")
    result = run_module(etcd_member, args(tmp_path, "restarted"))
    assert result["msg"] == "etcd on witness is not healthy after 1 s.\netcd says no"


def test_the_first_start_is_confirmed_when_all_are_healthy(tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
    (tmp_path / "bootstrap.env").touch()
    cluster.sick.add("www1")
    assert "www1 is not healthy" in run_module(etcd_member, args(tmp_path, "healthy"))["msg"]
    assert (tmp_path / "bootstrap.env").exists()
    cluster.sick.clear()
    assert run_module(etcd_member, args(tmp_path, "healthy"))["done"] == ["confirmed the first start"]
    assert not run_module(etcd_member, args(tmp_path, "healthy"))["changed"]


@pytest.mark.parametrize(("state", "changes"), [("joined", True), ("healthy", False)])
def test_check_mode_does_nothing(tmp_path: Path, cluster: Cluster, run_module: Run, state: str, changes: bool) -> None:
    assert run_module(etcd_member, args(tmp_path, state), check=True)["changed"] is changes
    assert (cluster.log, (tmp_path / "calls").exists()) == ([], False)


class TestAlone:
    """The witness goes on without www1 and www2."""

    WITHOUT: ClassVar[dict[str, Any]] = {"without": ["www1", "www2"]}

    @pytest.fixture(autouse=True)
    def _nobody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(etcd_member, "listens", lambda _address: False)

    def test_with_a_quorum_nothing_is_done(self, tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
        assert cluster.members
        assert not run_module(etcd_member, args(tmp_path, "alone", **self.WITHOUT))["changed"]
        assert not (tmp_path / "calls").exists()

    def test_it_is_forced_once(
        self, tmp_path: Path, cluster: Cluster, run_module: Run, programs: Callable[[str, str], None]
    ) -> None:
        cluster.sick.add("witness")
        kept = f"cp {tmp_path}/bootstrap.env {tmp_path}/seen; echo 77 > {tmp_path}/pid"
        programs("systemctl", f'case "$1" in show) cat {tmp_path}/pid;; restart) {kept};; esac')
        (tmp_path / "pid").write_text("12")
        result = run_module(etcd_member, args(tmp_path, "alone", **self.WITHOUT))
        assert result["done"] == ["goes on without www1, www2"]
        assert (tmp_path / "seen").read_text() == "ETCD_FORCE_NEW_CLUSTER=true\n"
        assert not (tmp_path / "bootstrap.env").exists()
        assert "etcd on witness is not healthy after 1 s" in result["msg"]

    @pytest.mark.parametrize("check", [False, True])
    @pytest.mark.parametrize(
        ("without", "listening", "words"),
        [(["www1"], "", "www2 votes too"), (["www1", "www2"], "198.51.100.12", "www2 is said to be off, but")],
    )
    def test_it_is_refused(
        self,
        tmp_path: Path,
        cluster: Cluster,
        run_module: Run,
        monkeypatch: pytest.MonkeyPatch,
        without: list[str],
        listening: str,
        words: str,
        check: bool,
    ) -> None:
        cluster.sick.add("witness")
        monkeypatch.setattr(etcd_member, "listens", lambda address: address == listening)
        result = run_module(etcd_member, args(tmp_path, "alone", without=without), check=check)
        assert (result["failover_refused"], result["refusals"][0]["code"]) == (True, "not_fenced")
        assert words in result["msg"]
        assert not (tmp_path / "calls").exists()

    def test_check_mode_asks_the_gates_only(self, tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
        cluster.sick.add("witness")
        assert run_module(etcd_member, args(tmp_path, "alone", **self.WITHOUT), check=True)["changed"]
        assert not (tmp_path / "calls").exists()


def test_data_of_another_life_is_put_aside(tmp_path: Path, cluster: Cluster, run_module: Run) -> None:
    (tmp_path / "data").mkdir()
    result = run_module(etcd_member, args(tmp_path, "rejoined"))
    assert cluster.log == ["remove witness", "add https://198.51.100.13:2380"]
    assert result["done"][0].startswith(f"put the old data aside as {tmp_path}/data.before-rejoin-")
    assert not (tmp_path / "data").exists()
