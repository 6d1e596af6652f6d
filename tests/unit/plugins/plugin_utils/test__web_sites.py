# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a site needs on a web host."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.plugin_utils import _web_sites
from hypothesis import given
from hypothesis import strategies as st

PLAIN: dict[str, Any] = {"domain": "example.org", "docroot": "/srv/www/example.org"}
BOOK: dict[str, Any] = {
    "domain": "guestbook.example.org",
    "docroot": "/srv/www/guestbook.example.org",
    "php": True,
    "content": "demo",
    "database": {"name": "book", "user": "reader", "password": 'p"w;$x\\'},
}
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
domains = st.builds(lambda parts: ".".join([*parts, "org"]), st.lists(labels, min_size=1, max_size=5))


def decide(*sites: dict[str, Any]) -> tuple[_web_sites.Site, ...]:
    """Return the sites as host www1 would have them."""
    return _web_sites.decide_sites(sites, "www1", "198.51.100.10", 3306)


def test_a_demo_site() -> None:
    (site,) = decide(BOOK)
    assert site.user == "web-guestbook-example-org"
    assert site.socket == "/run/php/failover-web-guestbook-example-org.sock"
    assert site.environment == {
        "SITE_HOST": "'www1'",
        "SITE_DOMAIN": "'guestbook.example.org'",
        "DB_HOST": "'198.51.100.10'",
        "DB_PORT": "'3306'",
        "DB_NAME": "'book'",
        "DB_USER": "'reader'",
        "DB_PASSWORD": "'p\"w;$x\\'",
    }
    assert [item["path"] for item in site.directories] == [
        "/srv/www/guestbook.example.org",
        "/var/lib/failover-web/guestbook.example.org",
    ]
    assert [item["dest"] for item in site.files] == [
        "/srv/www/guestbook.example.org/index.php",
        "/srv/www/guestbook.example.org/style.css",
    ]


def test_a_plain_site_gets_no_files_and_no_database() -> None:
    (site,) = decide(PLAIN)
    assert (site.php, site.content, site.files) == (False, "none", ())
    assert set(site.environment) == {"SITE_HOST", "SITE_DOMAIN"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"domain": "Example.org"}, "not a domain name"),
        ({"domain": "example"}, "not a domain name"),
        ({"domain": "exa_mple.org"}, "not a domain name"),
        ({"domain": "-a.example.org"}, "not a domain name"),
        ({"domain": "example.org\n"}, "not a domain name"),
        ({"docroot": "/srv"}, "two levels"),
        ({"docroot": "srv/www/x"}, "two levels"),
        ({"docroot": "/srv/www/../x"}, "two levels"),
        ({"docroot": "/srv/www/"}, "two levels"),
        ({"docroot": "/etc/www"}, "folder of the system"),
        ({"docroot": "/srv/www/a b"}, "characters besides"),
        ({"docroot": "/srv/www/x;"}, "characters besides"),
        ({"content": "demo"}, "needs php"),
    ],
)
def test_a_wrong_site_is_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(_web_sites.SitesError, match=text):
        decide({**PLAIN, **change})


@pytest.mark.parametrize("password", ["it's", "a\nb", "x$pooly", "a\0b"])
def test_a_password_that_php_fpm_cannot_take_is_refused(password: str) -> None:
    database = {**BOOK["database"], "password": password}
    with pytest.raises(_web_sites.SitesError, match="DB_PASSWORD contains"):
        decide({**BOOK, "database": database})


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(_web_sites.SitesError) as raised:
        decide(PLAIN, PLAIN, {**BOOK, "docroot": "/usr/www", "php": False})
    text = str(raised.value)
    assert "domain example.org is used by 2 sites" in text
    assert "docroot /srv/www/example.org is used by 2 sites" in text
    assert "lies in a folder of the system" in text
    assert "needs php" in text


@given(domains)
def test_an_account_name_is_valid(domain: str) -> None:
    """useradd(8) takes 32 characters at most, and no leading digit or dash."""
    assert re.fullmatch(r"web-[a-z0-9-]{1,27}", _web_sites.decide_account(domain))


@given(st.lists(domains, unique=True, min_size=2, max_size=2))
def test_long_domains_have_different_accounts(pair: list[str]) -> None:
    long = [f"{domain.replace('.', 'x')}.a-very-long-parent-domain.example.org" for domain in pair]
    if long[0] != long[1]:
        assert _web_sites.decide_account(long[0]) != _web_sites.decide_account(long[1])
