# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Accounts of sites."""

from __future__ import annotations

from ansible_collections.hosting.failover.plugins.filter.site_accounts import FilterModule, site_accounts

SHOP = {"name": "shop", "user": "shop_user", "password": "secret"}
BLOG = {"name": "blog", "user": "blog_user", "password": "other"}


def test_each_account_has_its_own_database_and_nothing_else() -> None:
    assert site_accounts([SHOP, BLOG], ["198.51.100.11", "198.51.100.12"]) == [
        {
            "name": "shop_user",
            "hosts": ["198.51.100.11", "198.51.100.12"],
            "password": "secret",
            "grants": {"shop.*": ["ALL PRIVILEGES"]},
        },
        {
            "name": "blog_user",
            "hosts": ["198.51.100.11", "198.51.100.12"],
            "password": "other",
            "grants": {"blog.*": ["ALL PRIVILEGES"]},
        },
    ]


def test_without_databases_there_are_none() -> None:
    assert site_accounts([], ["198.51.100.11"]) == []
    assert FilterModule().filters()["site_accounts"] is site_accounts
