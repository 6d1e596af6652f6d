"""What `init` writes can be used as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from failoverctl import inspection, scaffold
from failoverctl.config import Flags, load
from failoverctl.errors import FailoverctlError
from failoverctl.scaffold import Wish, parse_host

WISH = Wish(
    estate="shop",
    hosts={"www1": "192.0.2.11", "www2": ""},
    witness=("vote", "192.0.2.13"),
    backup=None,
    vip="192.0.2.10",
    domain="www.example.org",
    user="admin",
    client="192.0.2.1",
)


def test_ansible_reads_it_and_nothing_is_odd(tmp_path: Path) -> None:
    scaffold.write(tmp_path, scaffold.files(WISH))
    found = inspection.inspect(load(Flags(), cwd=tmp_path, environ={}))
    assert found.problems == ()
    estate = found.estate
    assert estate.name == "shop"
    assert [host.name for host in estate.in_role("database")] == ["www1", "www2"]
    assert [host.address for host in estate.hosts] == ["192.0.2.11", "www2", "192.0.2.13"]
    assert estate.groups["witness"] == ("vote",)
    assert estate.groups["backup"] == ()
    assert estate.vips[0].address == "192.0.2.10"
    assert estate.hosts[0].connection["ansible_user"] == "admin"


def test_secrets_are_random_and_private(tmp_path: Path) -> None:
    one, two = scaffold.files(WISH), scaffold.files(WISH)
    name = "inventory/group_vars/all/vault.yml"
    secrets = yaml.safe_load(one[name])
    assert secrets.keys() == {"vault_mariadb_probe_password", "vault_www_password"}
    assert len(set(secrets.values())) == 2
    assert one[name] != two[name]
    assert {key: text for key, text in one.items() if key != name} == {
        key: text for key, text in two.items() if key != name
    }
    scaffold.write(tmp_path, one)
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_without_a_database_nothing_is_said_of_one(tmp_path: Path) -> None:
    static = replace(WISH, engine="none")
    files = scaffold.files(static)
    assert not any(word in text.lower() for text in files.values() for word in ("mariadb", "password:", "php"))
    scaffold.write(tmp_path, files)
    found = inspection.inspect(load(Flags(), cwd=tmp_path, environ={}))
    assert found.problems == ()
    assert (found.estate.engine, found.estate.php) == ("none", False)
    assert found.estate.domains == ("www.example.org",)


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text("mine")
    with pytest.raises(FailoverctlError, match=r"inventory/hosts\.yml"):
        scaffold.write(tmp_path, scaffold.files(WISH))
    assert (tmp_path / "inventory/hosts.yml").read_text() == "mine"
    assert not (tmp_path / "failover.yml").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FailoverctlError, match="cannot be written"):
        scaffold.write(tmp_path / "file", scaffold.files(WISH))


def test_lines_fit_yamllint() -> None:
    for name, text in [*scaffold.files(WISH).items(), *scaffold.files(replace(WISH, engine="none")).items()]:
        assert text.startswith(("---\n", "#")), name
        assert all(len(line) <= 80 for line in text.splitlines()), name


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("www1", ("www1", "")),
        ("www1=192.0.2.1", ("www1", "192.0.2.1")),
        ("a-b.example.org=2001:db8::1", ("a-b.example.org", "2001:db8::1")),
    ],
)
def test_hosts_of_the_command_line(text: str, parts: tuple[str, str]) -> None:
    assert parse_host(text) == parts


@pytest.mark.parametrize("text", ["", "=192.0.2.1", "a b", "www1=nope", "-x"])
def test_no_hosts(text: str) -> None:
    with pytest.raises(ValueError, match=r"host name|address"):
        parse_host(text)


def test_domains_become_names() -> None:
    files = scaffold.files(Wish(**{**WISH.__dict__, "domain": "2nd-shop.example.org"}))
    assert "name: site_2nd_shop" in files["inventory/group_vars/all/web.yml"]
