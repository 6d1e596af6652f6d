#!/usr/bin/python
# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module ``etcd_member``: the host's member of the estate's etcd cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: etcd_member
short_description: Starts, joins or restarts a host's etcd member
version_added: 0.1.0
author:
  - The failoverctl founders (@failoverctl)
description:
  - Carries out what the role C(etcd) decided for this host. Each state has its own gate, so that no state can cost
    quorum.
options:
  state:
    description:
      - V(bootstrapped) starts the member of a new cluster. It does not wait, because no member is healthy before most
        are up.
      - V(joined) announces the member to a healthy cluster, after the removal of an entry whose data is gone, starts it
        and waits.
      - V(rejoined) is V(joined) for a member whose data is of a cluster that went on without it. The data is put aside.
      - V(started) enables and starts a member that has data.
      - V(restarted) restarts the member if all others are healthy, and waits.
      - V(healthy) waits until this member is healthy and the cluster consists of exactly the wanted hosts.
      - V(alone) makes this member a cluster of its own, with the data it has, when it has no quorum and a person says
        that all others are off (O(without)). One of them that answers all the same is a reason to refuse.
    type: str
    choices: [bootstrapped, joined, rejoined, started, restarted, healthy, alone]
    required: true
  name:
    description: Name of the member, the host's name in the inventory.
    type: str
    required: true
  addresses:
    description: Addresses of all hosts that should be members, by name.
    type: dict
    required: true
  without:
    description: Hosts that are certainly off. Only with O(state=alone).
    type: list
    elements: str
    default: []
  token:
    description: Token of a new cluster, the name of the estate.
    type: str
    required: true
  data_directory:
    description: Data directory of the member.
    type: str
    required: true
  pki_directory:
    description: Directory with C(ca.crt), C(etcd.crt) and C(etcd.key).
    type: str
    default: /etc/etcd/pki
  bootstrap_file:
    description: Environment file of the member's first start.
    type: str
    default: /etc/etcd/bootstrap.env
  request_timeout_seconds:
    description: Seconds to wait for an answer of etcd.
    type: float
    default: 5.0
  timeout_seconds:
    description: Seconds to wait for health.
    type: int
    default: 60
attributes:
  check_mode:
    description: Reports whether something would be done. The gates of V(alone) are asked.
    support: full
  diff_mode:
    description: Has nothing to show.
    support: none
  idempotent:
    description: V(restarted) always restarts, the others do nothing where nothing is to be done.
    support: partial
"""

EXAMPLES = r"""
- name: Join the cluster
  hosting.failover.etcd_member:
    state: joined
    name: "{{ inventory_hostname }}"
    addresses: {www1: 198.51.100.11, www2: 198.51.100.12, witness: 198.51.100.13}
    token: lab
    data_directory: /var/lib/etcd/failover
  throttle: 1
"""

RETURN = r"""
done:
  description: What was done, in order.
  returned: always
  type: list
  elements: str
  sample: [announced to the cluster, started]
failover_refused:
  description: Whether a gate refused, with the reasons in C(refusals).
  returned: on refusal
  type: bool
  sample: true
"""

import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.module_utils import _config_files as cf
from ansible_collections.hosting.failover.plugins.module_utils import _etcd

POLL_SECONDS = 0.3


class Worker:
    """One run of the module: its parameters, access to the members, and what was done."""

    def __init__(self, module: AnsibleModule) -> None:
        """Read the parameters."""
        self.module = module
        self.params = module.params
        self.addresses: dict[str, str] = self.params["addresses"]
        self.own_url = _etcd.peer_url(self.addresses[self.params["name"]])
        self.done: list[str] = []

    def client(self, address: str) -> _etcd.Client:
        """Return access to a member."""
        pki = Path(self.params["pki_directory"])
        return _etcd.Client(
            address,
            str(pki / "ca.crt"),
            str(pki / "etcd.crt"),
            str(pki / "etcd.key"),
            self.params["request_timeout_seconds"],
        )

    def systemctl(self, *arguments: str) -> None:
        """Run systemctl; ends the module with the unit's last messages when it fails."""
        code, _out, err = self.module.run_command(["systemctl", *arguments])
        if code != 0:
            self.module.fail_json(msg=f"systemctl {' '.join(arguments)} failed: {err.strip()}\n{self.read_journal()}")

    def read_journal(self) -> str:
        """Return the last messages of etcd."""
        command = ["journalctl", "--no-pager", "--lines=15", "--output=cat", f"--unit={_etcd.UNIT}"]
        return str(self.module.run_command(command)[1]).strip()

    def require_others(self, members: tuple[_etcd.Member, ...], act: str) -> None:
        """Refuse to go on unless every other member that ever started is healthy."""
        sick = [
            member.name
            for member in members
            if self.own_url not in member.peer_urls
            and member.name != self.params["name"]
            and member.has_started
            and not self.client(member.client_urls[0].partition("://")[2].rpartition(":")[0]).is_healthy()
        ]
        if sick:
            raise _etcd.EtcdRefusedError(
                f"{self.params['name']} was not {act}, because {', '.join(sick)} is not healthy and etcd could lose "
                "its quorum. Bring that member back first (systemctl status etcd), then run setup again."
            )

    def read_cluster(self) -> tuple[_etcd.Client, tuple[_etcd.Member, ...]]:
        """Return access to a healthy other member, and the members it lists."""
        for name, address in sorted(self.addresses.items()):
            client = self.client(address)
            if name != self.params["name"] and client.is_healthy():
                return client, client.list_members()
        raise _etcd.EtcdRefusedError(
            f"{self.params['name']} finds no healthy member to join; see systemctl status etcd there"
        )

    def start(self, initial_cluster: str, *, is_new: bool) -> None:
        """Write the file of the first start and start the member without waiting for it."""
        text = _etcd.make_bootstrap_file(initial_cluster, "new" if is_new else "existing", self.params["token"])
        cf.write_file(self.params["bootstrap_file"], text.encode(), 0o644, 0, 0)
        self.systemctl("enable", "--quiet", _etcd.UNIT)
        self.systemctl("restart", "--no-block", _etcd.UNIT)
        self.done.append("started")

    def join(self) -> None:
        """Announce this member and start it."""
        client, members = self.read_cluster()
        self.require_others(members, "joined")
        entry = _etcd.find_member(members, self.params["name"], self.own_url)
        if entry is not None and (entry.has_started or self.own_url not in entry.peer_urls):
            client.remove_member(entry)
            self.done.append("removed the entry whose data is gone")
            entry = None
        if entry is None:
            members = self.announce(client)
            self.done.append("announced to the cluster")
        self.start(_etcd.make_joined_cluster(members, self.params["name"], self.own_url), is_new=False)
        self.wait_healthy()

    def announce(self, client: _etcd.Client) -> tuple[_etcd.Member, ...]:
        """Add this member. etcd takes none within 5 s of another one's start (server/etcdserver, HealthInterval)."""
        end = time.monotonic() + self.params["timeout_seconds"]
        while True:
            try:
                return client.add_member(self.own_url)
            except _etcd.EtcdError as error:
                if "unhealthy cluster" not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(POLL_SECONDS)

    def rejoin(self) -> None:
        """Put the data of another life aside, and join."""
        self.read_cluster()
        self.systemctl("stop", _etcd.UNIT)
        data = Path(self.params["data_directory"])
        aside = data.with_name(f"{data.name}.before-rejoin-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        data.rename(aside)
        self.done.append(f"put the old data aside as {aside}")
        self.join()

    def judge_alone(self) -> bool:
        """Whether this member has to become a cluster of its own; refuses where it must not."""
        if self.client("127.0.0.1").is_healthy():
            return False
        without = self.params["without"]
        answering = [name for name in without if name in self.addresses and listens(self.addresses[name])]
        reasons = _etcd.decide_alone(self.addresses, self.params["name"], without, answering)
        if reasons:
            raise _etcd.EtcdRefusedError(
                f"etcd has no quorum, and {self.params['name']} may not go on alone: {'; '.join(reasons)}."
            )
        return True

    def go_alone(self) -> None:
        """Become a cluster of its own (etcd op-guide/recovery, "Restoring a cluster", --force-new-cluster)."""
        if not self.judge_alone():
            return
        force = Path(self.params["bootstrap_file"])
        before = self.read_process()
        cf.write_file(str(force), b"ETCD_FORCE_NEW_CLUSTER=true\n", 0o644, 0, 0)
        try:
            self.systemctl("restart", "--no-block", _etcd.UNIT)
            end = time.monotonic() + self.params["timeout_seconds"]
            while self.read_process() in (before, "0") and time.monotonic() < end:
                time.sleep(POLL_SECONDS / 3)
        finally:
            # Read once, at the start; a later start with it would remove members that have joined meanwhile.
            force.unlink()
        self.done.append(f"goes on without {', '.join(self.params['without'])}")
        self.wait_healthy()

    def read_process(self) -> str:
        """Return the id of etcd's process, 0 without one."""
        command = ["systemctl", "show", "--property=MainPID", "--value", _etcd.UNIT]
        return str(self.module.run_command(command)[1]).strip() or "0"

    def restart(self) -> None:
        """Restart this member, if the others hold the quorum meanwhile."""
        local = self.client("127.0.0.1")
        if local.is_healthy():
            self.require_others(local.list_members(), "restarted")
        self.systemctl("restart", _etcd.UNIT)
        self.done.append("restarted")
        self.wait_healthy()

    def wait_healthy(self) -> tuple[_etcd.Member, ...]:
        """Wait for this member's health and return the members; ends the module when it does not come."""
        end = time.monotonic() + self.params["timeout_seconds"]
        client = self.client("127.0.0.1")
        while time.monotonic() < end:
            if client.is_healthy():
                return client.list_members()
            time.sleep(POLL_SECONDS)
        seconds = self.params["timeout_seconds"]
        self.module.fail_json(
            msg=f"etcd on {self.params['name']} is not healthy after {seconds} s.\n{self.read_journal()}",
            done=self.done,
        )
        return ()

    def confirm(self) -> None:
        """Wait for health, check the members, and forget the file of the first start."""
        end = time.monotonic() + self.params["timeout_seconds"]
        while problems := self.read_problems():
            if time.monotonic() > end:
                self.module.fail_json(msg=f"etcd is not as it should be: {'; '.join(problems)}")
            time.sleep(POLL_SECONDS)
        if Path(self.params["bootstrap_file"]).exists():
            Path(self.params["bootstrap_file"]).unlink()
            self.done.append("confirmed the first start")

    def read_problems(self) -> tuple[str, ...]:
        """Return what is wrong with the cluster now."""
        members = self.wait_healthy()
        healthy = {name: self.client(address).is_healthy() for name, address in self.addresses.items()}
        return _etcd.decide_problems(self.addresses, members, healthy)

    def run(self) -> None:
        """Bring the member to the wanted state."""
        state = self.params["state"]
        if state == "bootstrapped":
            self.start(_etcd.make_initial_cluster(self.addresses), is_new=True)
        elif state == "joined":
            self.join()
        elif state == "rejoined":
            self.rejoin()
        elif state == "alone":
            self.go_alone()
        elif state == "started":
            self.systemctl("enable", "--quiet", _etcd.UNIT)
            self.systemctl("start", "--no-block", _etcd.UNIT)
            self.done.append("started")
        elif state == "restarted":
            self.restart()
        else:
            self.confirm()


def listens(address: str, timeout: float = 2.0) -> bool:
    """Whether a host takes connections of other members."""
    try:
        socket.create_connection((address, _etcd.PEER_PORT), timeout).close()
    except OSError:
        return False
    return True


def main() -> None:
    """Entry point of the module."""
    module = AnsibleModule(argument_spec=_etcd.MEMBER_SPEC, supports_check_mode=True)
    if module.check_mode and module.params["state"] != "alone":
        module.exit_json(changed=module.params["state"] != "healthy", done=[])
    worker = Worker(module)
    try:
        if module.check_mode:
            module.exit_json(changed=worker.judge_alone(), done=[])
        worker.run()
    except _etcd.EtcdRefusedError as error:
        code = "not_fenced" if module.params["state"] == "alone" else "etcd_at_risk"
        fix = (
            "Bring a majority back; or see that they are off, and name each: --confirm-fenced."
            if code == "not_fenced"
            else ""
        )
        refusal = {"code": code, "message": str(error), "observed": "", "limit": "", "fix": fix}
        module.fail_json(msg=str(error), done=worker.done, failover_refused=True, refusals=[refusal])
    except (_etcd.EtcdError, OSError) as error:
        module.fail_json(msg=str(error), done=worker.done)
    module.exit_json(changed=bool(worker.done), done=worker.done)


if __name__ == "__main__":
    main()
