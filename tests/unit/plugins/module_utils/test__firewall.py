# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether rules have to be loaded, written, or both."""

from __future__ import annotations

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _firewall as fw


@pytest.mark.parametrize(
    ("file", "kernel", "load", "write"),
    [
        ("f", "k", False, False),
        ("f", "k\n", False, False),
        ("f", "other", True, False),
        ("other", "k", False, True),
        ("other", "other", True, True),
    ],
)
def test_decisions(file: str, kernel: str, load: bool, write: bool) -> None:
    decision = fw.decide(fw.Rules("f", "k"), fw.Rules(file, kernel))
    assert (decision.load, decision.write) == (load, write)
    assert bool(decision.reasons) == (load or write)


def test_a_host_without_the_table_is_named() -> None:
    assert fw.decide(fw.Rules("f", "k"), fw.Rules("", "")).reasons == (
        "the kernel has no such table",
        "the file differs",
    )


def test_going_back_is_one_transaction_that_cannot_fail_on_a_missing_table() -> None:
    assert fw.make_rollback("inet failover", "table inet failover { }\n") == (
        "table inet failover\ndelete table inet failover\ntable inet failover { }\n"
    )
