"""What is generated is up to date, and complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.docs import markdown
from scripts.docs.markdown import DocsError
from scripts.docs.playbooks import playbook_paths
from scripts.docs.plugins import plugin_paths
from scripts.docs.roles import role_paths

from .conftest import REFERENCE, TOP


def generate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.docs", *arguments],
        cwd=TOP,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_up_to_date_on_any_terminal() -> None:
    found = generate(
        "--check", COLUMNS="41", TERM="dumb", LANG="C", FAILOVERCTL_INVENTORY="elsewhere,", TZ="Asia/Tokyo"
    )
    assert found.stdout + found.stderr == ""
    assert found.returncode == 0


@pytest.mark.parametrize("role", role_paths(), ids=lambda path: path.name)
def test_every_role_has_a_page_and_a_readme(role: Path) -> None:
    assert (REFERENCE / "roles" / f"{role.name}.md").exists()
    assert (role / "README.md").exists()
    assert f"roles/{role.name}.md" in (REFERENCE / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("modules.md", [path.stem for path in plugin_paths("modules")]),
        ("filters.md", [path.stem for path in plugin_paths("filter")]),
        ("playbooks.md", [path.stem for path in playbook_paths()]),
    ],
)
def test_everything_has_its_section(page: str, names: list[str]) -> None:
    lines = (REFERENCE / page).read_text(encoding="utf-8").splitlines()
    assert names
    assert [name for name in names if f"## {name}" not in lines] == []


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ failover_estate }}", "`failover_estate`"),
        ("{{ failover_profile | default('lan') }}", "`failover_profile`, else `lan`"),
        ("{{ a | default(b | default(c)) }}", "`a`, else `b`, else `c`"),
        ("{{ web_sites | default([]) }}", "`web_sites`, else empty"),
        ("{{ groups[group] | first }}", "`groups[group] | first`"),
        ("{{ a }}/{{ b }}", "`{{ a }}/{{ b }}`"),
    ],
)
def test_a_default_that_is_looked_up_is_said_in_words(template: str, words: str) -> None:
    assert markdown.in_words(template) == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("O(state=absent) or V(none)", "`state: absent` or `none`"),
        ("see RV(hosting.failover.host_info#module:host)", "see `host`"),
        (
            "M(hosting.failover.config_files) and C(inet failover)",
            "`hosting.failover.config_files` and `inet failover`",
        ),
        (["One.", "B(Two)."], "One. **Two**."),
    ],
)
def test_markup_of_ansible_becomes_markdown(text: str | list[str], shown: str) -> None:
    assert markdown.ansible(text) == shown


def test_tables_escape_bars_and_leave_empty_columns_out() -> None:
    shown = markdown.table(("a", "b", "c"), [("`x | y`", "", "<host>"), ("1", "", "2\n3")])
    assert shown.splitlines() == ["| a | c |", "| --- | --- |", "| `x \\| y` | \\<host> |", "| 1 | 2 3 |"]


def test_a_key_without_a_description_is_an_error() -> None:
    words = {"a": "one", "b": "list", "b[].c": "inner"}
    assert "| `b[].c` | integer | inner |" in markdown.described({"a": "x", "b": [{"c": 1}]}, words, "it")
    with pytest.raises(DocsError, match="without a description: b; descriptions without a key: none"):
        markdown.described({"a": "x", "b": 1}, {"a": "one"}, "it")
