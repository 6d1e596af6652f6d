from __future__ import annotations

import os
from pathlib import Path

import pytest
from failoverctl.lab import base
from failoverctl.lab.base import (
    ARCHIVES,
    Mirror,
    harvest,
    link_archives,
    parse_apt_settings,
    parse_nameservers,
    parse_sources,
    read_mirror,
    read_packages,
    read_resolver,
    remove_unused_trees,
    sources_text,
    tree_files,
    wanted_tree,
)
from failoverctl.lab.errors import LabError

FIXTURES = Path(__file__).parent / "fixtures"


def test_sources_of_a_debian_machine() -> None:
    text = (FIXTURES / "debian.sources").read_text(encoding="utf-8")
    found = parse_sources(text, "bookworm")
    assert found == ("http://deb.debian.org/debian", "http://deb.debian.org/debian-security")
    assert parse_sources(text, "trixie") == (None, None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("deb http://a.example/debian trixie main\n", ("http://a.example/debian", None)),
        (
            "# deb http://x.example trixie main\n"
            "deb [arch=amd64 signed-by=/k] https://a.example/d trixie main\n"
            "deb-src http://src.example/d trixie main\n"
            "deb http://s.example/s trixie-security main\n",
            ("https://a.example/d", "http://s.example/s"),
        ),
        ("deb cdrom:[Debian]/ trixie main\ndeb file:/srv/d trixie main\n", (None, None)),
        ("Types: deb-src\nURIs: http://a.example\nSuites: trixie\n", (None, None)),
        ("Enabled: no\nTypes: deb\nURIs: http://a.example\nSuites: trixie\n", (None, None)),
        (
            "Types: deb deb-src\nURIs:\n http://a.example\n http://b.example\nSuites: sid trixie\n",
            ("http://a.example", None),
        ),
        ("", (None, None)),
    ],
)
def test_sources_in_both_styles(text: str, found: tuple[str | None, str | None]) -> None:
    assert parse_sources(text, "trixie") == found


def test_the_machines_own_mirror_is_used(tmp_path: Path) -> None:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME=trixie\nPRETTY_NAME="x %"\n')
    source = "deb http://a.example/debian trixie main\n"
    (tmp_path / "apt/sources.list.d/a.list").write_text(source)
    mirror = read_mirror(tmp_path)
    assert mirror.main == "http://a.example/debian"
    assert mirror.security == "http://deb.debian.org/debian-security"


def test_a_machine_that_is_not_debian_uses_the_public_mirror(tmp_path: Path) -> None:
    (tmp_path / "apt").mkdir()
    (tmp_path / "os-release").write_text("ID=other\n")
    assert read_mirror(tmp_path).main == "http://deb.debian.org/debian"


def test_the_way_to_the_mirror_is_taken_over_and_nothing_else() -> None:
    dump = (FIXTURES / "apt-config-dump.txt").read_text(encoding="utf-8")
    dump += 'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::http::Proxy::a.example "DIRECT";\n'
    assert parse_apt_settings(dump) == (
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Check-Date "false";',
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::http::Proxy::a.example "DIRECT";',
    )


def test_sources_of_a_host_have_security_and_updates() -> None:
    text = sources_text("trixie", Mirror("http://a.example/debian", "http://s.example/security"))
    assert parse_sources(text, "trixie") == ("http://a.example/debian", "http://s.example/security")
    assert "Suites: trixie trixie-updates\n" in text


def test_resolvers_on_the_loopback_are_of_no_use_to_a_host() -> None:
    text = "nameserver 127.0.0.53\n# nameserver 192.0.2.1\n nameserver 192.0.2.53\nnameserver ::1\nsearch x\n"
    assert parse_nameservers(text) == ["192.0.2.53"]


def test_no_usable_resolver_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "parse_nameservers", lambda _: [])
    with pytest.raises(LabError) as caught:
        read_resolver()
    assert "/etc/resolv.conf" in caught.value.fix


def test_hosts_are_bare() -> None:
    packages = read_packages()
    assert not set(packages.installed) & set(packages.cached)
    for ours in ("mariadb-server", "etcd-server", "keepalived", "nginx", "chrony"):
        assert ours in packages.cached


def test_a_tree_is_named_after_everything_it_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = Mirror("http://a.example", "http://s.example")
    monkeypatch.setattr(base, "read_mirror", lambda: mirror)
    first = wanted_tree("trixie")
    assert first == wanted_tree("trixie")
    assert first != wanted_tree("bookworm")
    monkeypatch.setattr(base, "read_mirror", lambda: Mirror("http://b.example", "http://s.example"))
    assert first != wanted_tree("trixie")


def test_no_host_sets_the_machines_clock() -> None:
    files = tree_files("trixie", Mirror("http://a.example", "http://s.example"))
    assert "chronyd -x" in files["etc/systemd/system/chrony.service.d/lab.conf"]


def test_packages_go_from_a_host_to_the_cache_and_from_there_to_the_next_lab(tmp_path: Path) -> None:
    release, upper, archives = tmp_path / "trixie", tmp_path / "upper", tmp_path / "archives"
    (upper / ARCHIVES / "partial").mkdir(parents=True)
    (upper / ARCHIVES / "lock").touch()
    (upper / ARCHIVES / "a_1_all.deb").write_text("a")
    assert harvest(release, upper) == 1
    assert harvest(release, upper) == 0
    link_archives(release, archives)
    link_archives(release, archives)
    assert [path.name for path in (archives / ARCHIVES).iterdir()] == ["a_1_all.deb"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a whiteout")
def test_a_package_that_a_host_deleted_is_not_harvested(tmp_path: Path) -> None:
    (tmp_path / "upper" / ARCHIVES).mkdir(parents=True)
    os.mknod(tmp_path / "upper" / ARCHIVES / "a_1_all.deb", 0o20000, os.makedev(0, 0))
    assert harvest(tmp_path / "trixie", tmp_path / "upper") == 0


def test_trees_that_a_lab_uses_stay(tmp_path: Path) -> None:
    for name in ("old", "used"):
        (tmp_path / "trees" / name / "usr").mkdir(parents=True)
    remove_unused_trees(tmp_path, {"used", "wanted"})
    assert [path.name for path in (tmp_path / "trees").iterdir()] == ["used"]
    assert [path.name for path in tmp_path.iterdir()] == ["trees"]
