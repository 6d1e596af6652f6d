"""What pages say of commands, codes, variables and names is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import yaml
from ansible_collections.hosting.failover.plugins.module_utils import _estate
from failoverctl.commands.app import App
from failoverctl.commands.root import cli
from failoverctl.errors import ExitCode
from failoverctl.health import REMEDIES
from failoverctl.runbooks import CATALOGUE

from scripts.docs.agent import METRICS, refusal_codes
from scripts.docs.playbooks import playbook_paths
from scripts.docs.plugins import plugin_paths
from scripts.docs.roles import option_rows, role_paths, specification
from scripts.docs.source import calls

from .conftest import DOCS, PAGES, TOP, WRITTEN, blocks, inline_code, name, prose

_ENDS = {"&&", "||", "|", ";", "&", ">", ">>", "<", "(", ")"}
JUDGE = TOP / "plugins" / "module_utils" / "_estate.py"
_OURS = re.compile(rf"(?:failover|{'|'.join(path.name for path in role_paths())})_[a-z][a-z_]*")


def commands(line: str) -> Iterator[list[str]]:
    """The command lines of failoverctl in a line of a shell, each as its arguments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += "[]{}%@:,+"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in _ENDS:
            while words and re.match(r"\w+=|\$$", words[0]):
                words.pop(0)
            if words and words[0].rpartition("/")[2] == "failoverctl":
                yield words[1:]
            words = []
        else:
            words.append(word)


def parse(arguments: list[str], *, complete: bool) -> None:
    """Parse a command line by the commands' own parsers and run nothing.

    :param complete: arguments that a command needs must be there.
    :raises click.ClickException: when it is wrong.
    """
    command: click.Command = cli
    ctx: click.Context | None = None
    while True:
        try:
            ctx = command.make_context(command.name, list(arguments), parent=ctx, obj=App())
        except click.exceptions.Exit:
            return
        except (click.exceptions.NoArgsIsHelpError, click.MissingParameter):
            if complete and not isinstance(command, click.Group):
                raise
            return
        if not isinstance(command, click.Group):
            return
        _, found, arguments = command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert found is not None
        command = found


def wrong(line: str, *, complete: bool) -> Iterator[str]:
    """What the parsers say against the command lines in a line."""
    for arguments in commands(line):
        try:
            parse(arguments, complete=complete)
        except click.ClickException as error:
            yield f"{line.strip()}: {error.format_message()}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_command_lines_of_a_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = [
        problem
        for language, body in blocks(text)
        if language in ("", "sh", "console")
        for line in body.replace("\\\n", " ").splitlines()
        if re.match(r" *(\$ )?(\w+=\S+ )*(failoverctl|sleep)\b", line)
        for problem in wrong(line, complete=True)
    ]
    found += [problem for code in inline_code(text) for problem in wrong(code, complete=False)]
    assert found == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("failoverctl status && failoverctl setup --yes", ""),
        ("failoverctl switchover --to www2  # the other one's turn", ""),
        ("sleep 6; failoverctl switchover --to www1 --yes; echo $?", ""),
        ('failoverctl lab exec www2 -- mariadb -e "SELECT 1" &', ""),
        ("failoverctl lock release", "Missing option"),
        ("failoverctl swichover", "no command 'swichover'"),
        ("failoverctl switchover --two www2", "No such option"),
        ("failoverctl runs shew", "No such command"),
        ("failoverctl lab power-off", "Missing argument"),
    ],
)
def test_the_check_of_command_lines_finds_mistakes(line: str, problem: str) -> None:
    found = list(wrong(line, complete=True))
    assert [problem in text for text in found] == ([True] if problem else [])


def test_command_lines_that_messages_name() -> None:
    found = []
    for pattern in (
        "cli/failoverctl/**/*.py",
        "plugins/**/*.py",
        "roles/**/*.py",
        "playbooks/**/*.yml",
        "scripts/demo",
    ):
        for path in sorted(TOP.glob(pattern)):
            for code in re.findall(r"`(failoverctl [^`\n{]+)`", path.read_text(encoding="utf-8")):
                found += [f"{name(path)}: {problem}" for problem in wrong(code, complete=False)]
    assert found == []


def test_the_page_of_switchover_names_every_gate() -> None:
    text = (DOCS / "howto" / "switchover.md").read_text(encoding="utf-8")
    section = text.partition("## Gates")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {code for cell in cells for code in re.findall(r"`(\w+)`", cell)} == refusal_codes()


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_exit_statuses_are_those_of_the_command(page: Path) -> None:
    said = re.findall(r"\bexit(?:s with|s| status| code)? (\d+)\b", page.read_text(encoding="utf-8"))
    assert {int(number) for number in said} <= {int(code) for code in ExitCode}


@cache
def names() -> set[str]:
    """Every name with one of our prefixes that means something."""
    known = {*_estate.ESTATE_SPEC, *_estate.MADE_NAMES, *METRICS}
    known |= {f"failover_{kind}" for kind in _estate.GROUP_KINDS}
    known |= {"failover_agent", "failover_fence", "failover_probe", "failover_repl", "failover_shut_out"}
    known |= {"keepalived_script"}
    known |= refusal_codes()
    known |= {name for runbook in CATALOGUE.values() for name in runbook.parameters}
    known |= {*REMEDIES, *(told.one("code") for told in calls(JUDGE, "Problem", ("code",)))}
    known |= {path.stem for kind in ("modules", "filter") for path in plugin_paths(kind)}
    for role in role_paths():
        for entry in specification(role).values():
            known |= {row[0].strip("`") for row in option_rows(entry.get("options") or {})}
    return known


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_variables_of_a_page_are_taken(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    written = [*inline_code(text), *(body for language, body in blocks(text) if language == "yaml")]
    said = {word for code in written for word in re.findall(rf"(?<![\w.-]){_OURS.pattern}\b", code)}
    assert said - names() == set()


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_names_of_the_collection_exist(page: Path) -> None:
    known = {path.stem for path in playbook_paths()} | {path.name for path in role_paths()}
    known |= {path.stem for kind in ("modules", "filter") for path in plugin_paths(kind)}
    said = set(re.findall(r"\bhosting\.failover\.(\w+)", page.read_text(encoding="utf-8")))
    assert said - known == set()


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_make_knows_the_targets(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    code = [*inline_code(text), *(line.strip() for _, body in blocks(text) for line in body.splitlines())]
    said = {found[1] for line in code if (found := re.match(r"(?:\$ )?make ([a-z-]+)", line))}
    assert said - known == set()


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_examples_are_yaml(page: Path) -> None:
    for language, body in blocks(page.read_text(encoding="utf-8")):
        if language == "yaml":
            yaml.safe_load(body)


def test_figures_of_the_front_page_are_measured() -> None:
    text = prose((TOP / "README.md").read_text(encoding="utf-8"))
    assert re.findall(r"\b\d+(?:\.\d+)? ?(?:ms|milliseconds|s|seconds)\b", text) == []
