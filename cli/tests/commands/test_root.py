"""Help, suggestions, exit codes, and how errors are told."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import click
import failoverctl
import pytest
from failoverctl.commands import root
from failoverctl.errors import ExitCode, FailoverctlError

from .conftest import Operator

PACKAGE = Path(failoverctl.__file__).parent


def test_help_names_every_command_and_every_exit_code(operator: Operator) -> None:
    for flag in ("-h", "--help"):
        answer = operator.types(flag)
        assert answer.code == 0
        for name, (_, _, text) in root.COMMANDS.items():
            assert f"  {name} " in answer.out
            assert text in answer.out
        for code in ExitCode:
            assert code.meaning in answer.out


def test_help_costs_little(tmp_path: Path) -> None:
    """The best of five, since the machine may be busy: less than 150 ms of CPU."""
    best = 1.0
    environment = {"PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "failoverctl", "--help"], env=environment, check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert best < 0.150


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from failoverctl.commands.root import run; run(['--help'])\n"
        "print([name for name in ('rich', 'yaml', 'ansible', 'ansible_runner', 'jinja2', 'pymysql', 'asyncio',"
        " 'subprocess') if name in sys.modules], file=sys.stderr)"
    )
    environment = {"PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    finished = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert finished.stderr.strip() == "[]"


@pytest.mark.parametrize("name", list(root.COMMANDS))
def test_each_command_is_there_and_explains_itself(operator: Operator, name: str) -> None:
    context = click.Context(root.cli)
    command = root.cli.get_command(context, name)
    assert command is not None
    answer = operator.types(name, "-h")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: failoverctl {name}")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["stauts"], "no command 'stauts': did you mean 'status'?"),
        (["xyzzy"], "no command 'xyzzy': valid keys:"),
        (["status", "--jsno"], "No such option"),
        (["completion", "tcsh"], "tcsh"),
        (["switchover", "--baseline", "soon"], "is no duration"),
        ([], "Usage:"),
    ],
)
def test_wrong_usage_is_exit_2(operator: Operator, arguments: list[str], what: str) -> None:
    answer = operator.types(*arguments)
    assert answer.code == ExitCode.USAGE
    assert what in answer.err
    assert answer.out == ""


def test_the_version(operator: Operator) -> None:
    answer = operator.types("--version")
    assert answer.code == 0
    assert answer.out.startswith("failoverctl ")


class Boom(click.Command):
    def __init__(self, error: BaseException) -> None:
        super().__init__("boom", callback=self._raise)
        self._error = error

    def _raise(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (FailoverctlError("no", fix="do", exit_code=ExitCode.REFUSED), 3, "Error: no\n  Fix: do  (exit 3)\n"),
        (click.Abort(), 130, "Interrupted; nothing more is done.\n"),
        (KeyboardInterrupt(), 130, "Interrupted; nothing more is done.\n"),
        (click.ClickException("odd"), 1, "Error: odd  (exit 1)\n"),
        (ZeroDivisionError("oops"), 70, "a bug in failoverctl: ZeroDivisionError: oops"),
    ],
)
def test_how_commands_end(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
) -> None:
    monkeypatch.setattr(root.LazyGroup, "get_command", lambda *_: Boom(error))
    answer = operator.types("status")
    assert answer.code == code
    assert text in answer.err
    assert "Traceback" not in answer.err


def test_a_traceback_only_with_debug(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root.LazyGroup, "get_command", lambda *_: Boom(ZeroDivisionError("oops")))
    assert "Traceback" in operator.types("--debug", "status").err


def test_errors_are_coloured_only_where_colour_is_wanted(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert operator.types("stauts").err.startswith("\x1b[31m\x1b[1mError:")
    assert operator.types("--no-color", "stauts").err.startswith("Error:")
    monkeypatch.setenv("NO_COLOR", "1")
    assert operator.types("stauts").err.startswith("Error:")


def test_only_the_runner_knows_ansible_runner_and_only_render_knows_rich() -> None:
    allowed = {
        "ansible_runner": {"runner.py"},
        "rich": {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("render/*.py")},
        "click": {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.glob("commands/*.py")},
    }
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["import"], ["from"]):
                module = words[1].partition(".")[0]
                assert name in allowed.get(module, {name}), f"{name} imports {module}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(operator: Operator, shell: str) -> None:
    answer = operator.types("completion", shell)
    assert answer.code == 0
    assert "_FAILOVERCTL_COMPLETE" in answer.out


def complete(operator: Operator, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    monkeypatch.setenv("_FAILOVERCTL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["failoverctl", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    answer = operator.types()
    monkeypatch.delenv("_FAILOVERCTL_COMPLETE")
    return [line.rpartition(",")[2] for line in answer.out.splitlines() if line]


def test_completing(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(operator, monkeypatch, "swi") == ["switchover"]
    assert complete(operator, monkeypatch, "switchover", "--to", "www") == ["www1", "www2"]
    assert complete(operator, monkeypatch, "runs", "show", "") == []
