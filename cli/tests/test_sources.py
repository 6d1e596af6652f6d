"""The YAML of an inventory as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from failoverctl import sources
from failoverctl.problems import Problem
from failoverctl.sources import Scope, split_variable


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def told(problems: list[Problem]) -> list[tuple[str, str, int]]:
    return [
        (item.code, item.location.path.name if item.location else "", item.location.line if item.location else 0)
        for item in problems
    ]


HOSTS = """\
all:
  vars:
    failover_vips:
      - {name: site, address: 198.51.100.10, vrid: 51}
      - name: web
        vrid: 51
  children:
    failover_web:
      hosts:
        www1: {ansible_host: 198.51.100.11}
        www2:
    failover_database:
      hosts: {www1: {}}
"""


def test_where_everything_stands(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "hosts.yml": HOSTS,
            "group_vars/all/web.yml": "# c\nweb_sites:\n  - domain: a\n",
            "group_vars/failover_web.yml": "failover_site: x\n",
            "host_vars/www1.example.org.yml": "failover_site: y\n",
            "host_vars/www1/net.yml": "\nfailover_address: 198.51.100.11\n",
        },
    )
    found = sources.index([tmp_path / "hosts.yml"])
    assert found.problems == []

    def line(variable: str, host: str = "", groups: tuple[str, ...] = ("all", "failover_web")) -> str | None:
        place = found.locate(variable, host, groups)
        return place.relative_to(tmp_path) if place else None

    assert line("failover_vips[1].vrid") == "hosts.yml:6"
    assert line("failover_vips[0].address") == "hosts.yml:4"
    assert line("failover_vips[1].address") == "hosts.yml:5"
    assert line("failover_vips") == "hosts.yml:3"
    assert line("web_sites[0].domain") == "group_vars/all/web.yml:3"
    assert line("failover_site", "www2") == "group_vars/failover_web.yml:1"
    assert line("failover_site", "") == "group_vars/failover_web.yml:1"
    assert line("failover_address", "www1") == "host_vars/www1/net.yml:2"
    assert line("ansible_host", "www1") == "hosts.yml:10"
    assert line("failover_database") == "hosts.yml:12"
    assert line("", "www2") == "hosts.yml:11"
    assert line("nowhere", "www2") == "hosts.yml:11"
    assert line("nowhere") is None
    assert found.locate("failover_site", "www1.example.org", ()) is not None


def test_the_stronger_place_wins(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "hosts.yml": "all:\n  vars: {failover_site: a}\n  hosts: {h: {failover_site: c}}\n",
            "group_vars/g.yml": "failover_site: b\n",
        },
    )
    found = sources.index([tmp_path])
    assert str(found.locate("failover_site", "h", ("all", "g"))).count("hosts.yml")
    place = found.locate("failover_site", "other", ("all", "g"))
    assert place is not None
    assert place.path.name == "g.yml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all:\n  hosts: [\n", [("not_yaml", "hosts.yml", 3)]),
        ("all:\n\thosts:\n", [("not_yaml", "hosts.yml", 2)]),
        ("a: 1\n---\nb: 2\n", [("not_yaml", "hosts.yml", 2)]),
        ("all:\n  host: {a: {}}\n", [("unknown_key", "hosts.yml", 2)]),
        ("all:\n  hosts: [a, b]\n", [("not_a_mapping", "hosts.yml", 2)]),
        ("all:\n  hosts: a\n", [("not_a_mapping", "hosts.yml", 2)]),
        ("all: [a]\n", [("not_a_mapping", "hosts.yml", 1)]),
        ("all:\n  vars:\n    a: 1\n    b: 2\n    a: 3\n", [("duplicate_key", "hosts.yml", 5)]),
        ("all:\n  hosts:\n  vars:\n", []),
        ("plugin: some.where.hosts\nstrict: true\n", []),
        ("", []),
    ],
)
def test_what_ansible_would_pass_over(tmp_path: Path, text: str, expected: list[tuple[str, str, int]]) -> None:
    write(tmp_path, {"hosts.yml": text})
    assert told(sources.index([tmp_path / "hosts.yml"]).problems) == expected


def test_every_file_is_told_at_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "hosts.yml": "all:\n  childs: {}\n  hosts: [x]\n",
            "group_vars/all/one.yml": "a: {\n",
            "group_vars/all/two.yml": "- x\n",
            "group_vars/all/ignored.yml~": "a: {\n",
        },
    )
    found = sources.index([tmp_path / "hosts.yml"])
    assert told(found.problems) == [
        ("unknown_key", "hosts.yml", 2),
        ("not_a_mapping", "hosts.yml", 3),
        ("not_yaml", "one.yml", 2),
        ("not_a_mapping", "two.yml", 1),
    ]
    assert found.problems[0].fix == "did you mean 'children'?"


def test_not_utf8_and_not_readable(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_bytes(b"all:\n  \xff\xfe\n")
    assert told(sources.index([tmp_path / "hosts.yml"]).problems) == [("unreadable_file", "hosts.yml", 0)]


def test_encrypted_files_and_variables(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "hosts.yml": "all:\n  vars:\n    x: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n      00\n",
            "group_vars/all/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n00\n",
        },
    )
    found = sources.index([tmp_path / "hosts.yml"])
    assert found.vaults == [tmp_path / "group_vars/all/vault.yml"]
    assert found.encrypted == [("x",)]
    assert found.variables[(Scope("group", "all"), ("x",))].line == 3


def test_a_folder_as_inventory(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.yml": "all: {hosts: {x: {}}}", "b.ini": "[x]\n", "sub/c.yml": "all: {hsots: {}}", ".git/d.yml": "["},
    )
    assert told(sources.index([tmp_path]).problems) == [("unknown_key", "c.yml", 1)]


def test_what_is_watched_for_changes(tmp_path: Path) -> None:
    write(tmp_path, {"hosts.yml": "", "group_vars/all/a.yml": "", "other.yml": ""})
    names = {path.name for path in sources.watched([tmp_path / "hosts.yml"])}
    assert names == {"hosts.yml", "group_vars", "all", "a.yml"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.b[1].c", ("a", "b", "1", "c")),
        ("a['b c'].d", ("a", "b c", "d")),
        ("a", ("a",)),
        ("", ()),
    ],
)
def test_variable_paths(text: str, path: tuple[str, ...]) -> None:
    assert split_variable(text) == path
