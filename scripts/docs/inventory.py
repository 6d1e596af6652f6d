"""docs/reference/inventory.md, from what preflight knows and judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.hosting.failover.plugins.module_utils import _estate
from failoverctl import scaffold

from scripts.docs.markdown import REFERENCE, TOP, DocsError, block, code, page, table
from scripts.docs.roles import option_rows, role_paths
from scripts.docs.source import calls

PARTS = {
    "web": "serve the sites; may hold virtual IPs that follow `web`",
    "database": "keep the data, one of them as primary; may hold virtual IPs that follow `primary`; vote",
    "witness": "vote and hold no data",
    "balancer": "part of the estate for names, time and packet filter; nothing else is installed yet",
    "backup": "as `failover_balancer`; may not be a database host",
    "monitor": "as `failover_balancer`",
    "dns": "as `failover_balancer`",
}

#: Where the collection, and where the command line, finds what is wrong.
JUDGES = {
    "plugins/module_utils/_estate.py": ("code", "message"),
    "cli/failoverctl/config.py": (),
    "cli/failoverctl/sources.py": (),
    "cli/failoverctl/estate.py": (),
    "cli/failoverctl/inspection.py": (),
}


def pages() -> Mapping[Path, str]:
    """Return the page.

    :raises DocsError: when there is a kind of group that is not described here.
    """
    if set(PARTS) != set(_estate.GROUP_KINDS):
        raise DocsError(f"inventory.md: groups {', '.join(_estate.GROUP_KINDS)}, described {', '.join(PARTS)}")
    variables = {name: spec for name, spec in _estate.ESTATE_SPEC.items() if not name.startswith("failover_group_")}
    groups = (name for name in _estate.ESTATE_SPEC if name.startswith("failover_group_"))
    own = ", ".join(f"[{role.name}](roles/{role.name}.md)" for role in role_paths())
    return {
        REFERENCE / "inventory.md": page(
            "Inventory",
            "plugins/module_utils/_estate.py, the roles' vars, and what `failoverctl init` writes",
            "The inventory is the only configuration of an estate. It is an ordinary inventory of Ansible: groups, "
            "`group_vars`, `host_vars` and vault files work as everywhere.",
            "## Groups",
            table(("group", "its hosts", "roles"), _groups()),
            "The names are defaults. " + ", ".join(map(code, groups)) + " give a group another name; set them as extra "
            "variables (`-e`), since they say which hosts a play is for.",
            "## Variables of the estate",
            table(("variable", "type", "default", "meaning"), option_rows(variables)),
            f"Everything else belongs to a role and has its name in front: {own}.",
            "## Profiles",
            "`failover_profile` sets how fast a failure is noticed, and how much jitter is forgiven.",
            table(
                ("profile", "lease in etcd", "fence begins before its end", "VRRP advert", "web check", "etcd"),
                _profiles(),
            ),
            "## Ports",
            "The packet filter of the role `base` opens them for the hosts of the estate. Clients listed in "
            "`base_client_networks` reach 3306 and 8010 too, those of `base_web_networks` 80 and 443. "
            "`failover_replication_port` puts another one in the place of 3307.",
            table(("port", "service", "on hosts of"), _ports()),
            "## Example",
            "`failoverctl init` writes it, with a comment on everything:",
            *_example(),
            "## What `check` judges",
            "Every problem has a code, and as far as they are known host, variable, file and line, what was found and "
            "what is allowed. `setup` begins with the same judgement.",
            table(("code", "message"), sorted(set(_problems()))),
        )
    }


def _groups() -> Iterator[tuple[str, str, str]]:
    for kind, text in PARTS.items():
        roles = [name for name, kinds in _estate.ROLE_KINDS.items() if kind in kinds]
        yield code(f"failover_{kind}"), text, ", ".join(f"[{name}](roles/{name}.md)" for name in roles)


def _vars(role: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((TOP / "roles" / role / "vars" / "main.yml").read_text(encoding="utf-8"))
    return found


def _profiles() -> Iterator[tuple[str, ...]]:
    lease = _vars("agent")["__agent_timing"]
    vrrp = _vars("keepalived")["__keepalived_profiles"]
    etcd = _vars("etcd")["__etcd_timing"]
    for name in _estate.ESTATE_SPEC["failover_profile"]["choices"]:
        yield (
            code(name),
            f"{lease[name]['lease_ttl']:g} s, renewed every {lease[name]['renew_interval']:g} s",
            f"{lease[name]['fence_margin']:g} s",
            f"every {vrrp[name]['advert_interval_seconds']:g} s, for the primary's address every "
            f"{vrrp[name]['primary_advert_interval_seconds']:g} s",
            f"every {vrrp[name]['check_interval_seconds']:g} s",
            f"heartbeat {etcd[name]['heartbeat']} ms, election after {etcd[name]['election']} ms",
        )


def _ports() -> Iterator[tuple[str, str, str]]:
    for port, (kinds, unit) in _estate.PORTS.items():
        yield code(port), code(unit), ", ".join(code(f"failover_{kind}") for kind in kinds)


def _example() -> Iterator[str]:
    wish = scaffold.Wish(
        estate="shop",
        hosts=scaffold.PLACEHOLDER_HOSTS,
        witness=scaffold.PLACEHOLDER_WITNESS,
        backup=scaffold.PLACEHOLDER_BACKUP,
        vip=scaffold.PLACEHOLDER_VIP,
        domain="shop.example.org",
        user="root",
    )
    for path, text in scaffold.files(wish, password="a-random-password").items():
        if path.endswith(".yml"):
            yield f"{code(path)}:"
            yield block(text, "yaml")


def _problems() -> Iterator[tuple[str, str]]:
    for path, parameters in JUDGES.items():
        for told in calls(TOP / path, "Problem", parameters):
            messages = told.arguments.get("message") or ("",)
            for name in told.arguments.get("code", ()):
                for message in messages:
                    yield code(name), message
