# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Server ids."""

from __future__ import annotations

import ipaddress

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.hosting.failover.plugins.filter.server_id import FilterModule, server_id
from hypothesis import given
from hypothesis import strategies as st


def test_an_address_is_a_number() -> None:
    assert server_id("198.51.100.11") == 3325256715
    assert FilterModule().filters()["server_id"] is server_id


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_two_addresses_are_two_numbers_that_mariadb_takes(
    one: ipaddress.IPv4Address, other: ipaddress.IPv4Address
) -> None:
    assert 0 <= server_id(str(one)) < 2**32
    assert (server_id(str(one)) == server_id(str(other))) is (one == other)


@pytest.mark.parametrize("text", ["", "www1", "198.51.100", "198.51.100.256", "2001:db8::1", "198.51.100.11/26"])
def test_what_is_no_address_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="wants an IPv4 address"):
        server_id(text)
