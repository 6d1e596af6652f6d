"""What the published collection holds, and that it works without `failoverctl`."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from .conftest import COLLECTION, TOP, Place, files_below, playbooks

pytestmark = pytest.mark.packaging


def test_the_collection_holds_what_it_should_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
    wanted = {f"{part}/{name}" for part in COLLECTION for name in files_below(TOP / part)}
    assert {name for name in names if name.partition("/")[0] in COLLECTION} == wanted
    others = {name.partition("/")[0] for name in names - wanted}
    assert others <= {"CHANGELOG.md", "COPYING", "FILES.json", "MANIFEST.json", "README.md", "changelogs", "tests"}
    # The settings of ansible-test are all that is published of the tests.
    assert {name for name in names if name.startswith("tests/")} == {"tests/config.yml"}


@pytest.mark.parametrize("playbook", playbooks())
def test_playbooks_need_no_failoverctl(with_collection: Place, estate: Path, playbook: str) -> None:
    with_collection.check("ansible-playbook", playbook, "--syntax-check", "-i", str(estate / "inventory"))


@pytest.mark.parametrize("kind", ["module", "filter", "role"])
def test_everything_is_documented(with_collection: Place, kind: str) -> None:
    listed = with_collection.check("ansible-doc", "-t", kind, "--list", "hosting.failover")
    names = [word for word in listed.split() if word.startswith("hosting.failover.")]
    assert names
    with_collection.check("ansible-doc", "-t", kind, *dict.fromkeys(names))


def test_the_filters_work_without_failoverctl(with_collection: Place, estate: Path) -> None:
    shown = with_collection.check(
        "ansible", "localhost", "-i", str(estate / "inventory"), "-m", "ansible.builtin.debug",
        "-a", "msg={{ groups['failover_database'] | hosting.failover.estate_addresses(hostvars) }}",
    )  # fmt: skip
    assert "www1" in shown
