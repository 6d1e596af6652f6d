# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a site of ``web_sites`` needs on a web host: account, folders, PHP pool and its settings.

PRIVATE to the collection. Runs on the controller.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DOMAIN = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]\Z")
ACCOUNT_MAX = 31
STATE_ROOT = "/var/lib/failover-web"
DEMO_FILES = ("index.php", "style.css")
"""The guest book below ``files/guestbook`` of the role ``web``."""
FORBIDDEN_ROOTS = ("/etc", "/usr", "/bin", "/sbin", "/lib", "/boot", "/dev", "/proc", "/run", "/sys")


class SitesError(ValueError):
    """The list of sites is wrong; the text names everything that is."""


@dataclass(frozen=True)
class Site:
    """One site. ``environment`` is what PHP gets, quoted for the file of pools.

    ``directories`` and ``files`` are items for ``hosting.failover.config_files``.
    """

    domain: str
    docroot: str
    php: bool
    content: str
    user: str
    state_directory: str
    socket: str
    environment: Mapping[str, str]
    directories: tuple[Mapping[str, str], ...]
    files: tuple[Mapping[str, str], ...]


def decide_account(domain: str) -> str:
    """Return the name of the system account of a site, the same on every host.

    At most 31 characters (useradd(8)); a long domain is cut and told apart by its SHA-256.
    """
    name = f"web-{re.sub(r'[^a-z0-9]+', '-', domain)}"
    if len(name) <= ACCOUNT_MAX:
        return name
    digest = hashlib.sha256(domain.encode()).hexdigest()[:6]
    return f"{name[: ACCOUNT_MAX - 7].rstrip('-')}-{digest}"


def quote_setting(value: str) -> str:
    """Return a value for a PHP pool file, in single quotes: nothing in them is interpreted.

    Raises ``SitesError`` for what cannot be written that way: a single quote, a line break, and
    ``$pool``, which php-fpm replaces everywhere.
    """
    if "'" in value or "\n" in value or "\r" in value or "\0" in value or "$pool" in value:
        raise SitesError("contains a single quote, a line break or $pool, which php-fpm cannot take")
    return f"'{value}'"


def find_problems(sites: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return everything that is wrong with the list of sites, in sentences."""
    problems = []
    for site in sites:
        label = f"web_sites: {site['domain']}"
        docroot = site["docroot"]
        if DOMAIN.match(site["domain"]) is None:
            problems.append(f"{label}: not a domain name in lower case")
        if docroot != posixpath.normpath(docroot) or docroot.count("/") < 2 or docroot[0] != "/":
            problems.append(f"{label}: docroot {docroot!r} is not an absolute path of two levels")
        elif docroot.startswith(tuple(f"{root}/" for root in FORBIDDEN_ROOTS)):
            problems.append(f"{label}: docroot {docroot!r} lies in a folder of the system")
        elif re.search(r"[^A-Za-z0-9._/-]", docroot):
            problems.append(f"{label}: docroot {docroot!r} has characters besides A-Z a-z 0-9 . _ -")
        if site.get("content", "none") == "demo" and not (site.get("php") and site.get("database")):
            problems.append(f"{label}: content demo needs php: true and a database")
    for key in ("domain", "docroot"):
        counts = Counter(site[key] for site in sites)
        problems += [
            f"web_sites: {key} {value} is used by {count} sites" for value, count in counts.items() if count > 1
        ]
    return tuple(problems)


def decide_directories(docroot: str, state_directory: str, user: str) -> list[dict[str, str]]:
    """Return the folders of a site.

    The web server reads the site by its group, which new files in the document root inherit.
    """
    return [
        {"path": docroot, "owner": user, "group": "www-data", "mode": "2750"},
        {"path": state_directory, "owner": user, "group": user, "mode": "0700"},
    ]


def decide_files(content: str, docroot: str) -> list[dict[str, str]]:
    """Return the files that the role lands in a document root: those of the demonstration, or none."""
    if content != "demo":
        return []
    return [{"file": f"guestbook/{name}", "dest": f"{docroot}/{name}"} for name in DEMO_FILES]


def decide_sites(
    sites: Sequence[Mapping[str, Any]], host: str, database_host: str, database_port: int
) -> tuple[Site, ...]:
    """Return the sites with all that follows from the list.

    ``host`` is the name that the sites show as theirs. Raises ``SitesError`` with all problems.
    """
    problems = list(find_problems(sites))
    decided = []
    for site in sites:
        user = decide_account(site["domain"])
        state_directory = f"{STATE_ROOT}/{site['domain']}"
        content = site.get("content", "none")
        settings = {"SITE_HOST": host, "SITE_DOMAIN": site["domain"]}
        database = site.get("database")
        if database:
            settings |= {
                "DB_HOST": database_host,
                "DB_PORT": str(database_port),
                "DB_NAME": database["name"],
                "DB_USER": database["user"],
                "DB_PASSWORD": database["password"],
            }
        environment = {}
        for name, value in settings.items():
            try:
                environment[name] = quote_setting(value)
            except SitesError as error:
                problems.append(f"web_sites: {site['domain']}: {name} {error}")
        decided.append(
            Site(
                domain=site["domain"],
                docroot=site["docroot"],
                php=bool(site.get("php", False)),
                content=content,
                user=user,
                state_directory=state_directory,
                socket=f"/run/php/failover-{user}.sock",
                environment=environment,
                directories=tuple(decide_directories(site["docroot"], state_directory, user)),
                files=tuple(decide_files(content, site["docroot"])),
            )
        )
    if problems:
        raise SitesError("; ".join(problems))
    return tuple(decided)
