# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which packages are missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _packages as pk

# What dpkg-query printed on a host on which libfoo had been removed and not purged.
OUTPUT = (
    "adduser installed\nlibc6:amd64 installed\nlibfoo config-files\nnginx half-configured\nzlib1g:amd64 installed\n"
)


def test_only_installed_packages_count() -> None:
    assert pk.parse_installed(OUTPUT) == {"adduser", "libc6", "zlib1g"}


def test_missing_ones_are_named_once_and_in_order() -> None:
    assert pk.decide_missing(["nginx", "adduser", "etcd", "nginx"], pk.parse_installed(OUTPUT)) == ("nginx", "etcd")


@pytest.mark.parametrize(
    ("age", "believed"), [(0, True), (pk.FACT_VALID_SECONDS, True), (pk.FACT_VALID_SECONDS + 1, False), (-1, False)]
)
def test_a_fact_is_believed_for_one_run(age: float, believed: bool) -> None:
    facts = {pk.FACT: pk.make_fact(["b", "a"], now=1000.0)}
    assert pk.read_fact(facts, 1000.0 + age) == (frozenset({"a", "b"}) if believed else None)


def test_no_fact_is_no_answer() -> None:
    assert pk.read_fact({}, 0.0) is None


def test_the_policy_forbids_only_while_its_process_lives(tmp_path: Path) -> None:
    script = tmp_path / "policy-rc.d"
    with subprocess.Popen(["sleep", "60"]) as process:
        script.write_text(pk.POLICY_SCRIPT % process.pid)
        assert subprocess.run(["sh", str(script)], check=False).returncode == 101
        process.kill()
    assert subprocess.run(["sh", str(script)], check=False).returncode == 0
