"""What the commands that run a runbook share: looking first, asking, running, and the last words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from failoverctl.commands.app import App, out, talk, tell
from failoverctl.errors import ExitCode, FailoverctlError

if TYPE_CHECKING:
    from failoverctl.conduct import Order, Outcome
    from failoverctl.config import Settings
    from failoverctl.estate import Estate
    from failoverctl.health import Health
    from failoverctl.journal import RunState
    from failoverctl.runs import RunFolder

F = TypeVar("F", bound=Callable[..., Any])


def runbook_options(function: F) -> F:
    """Add the options of every runbook that changes something."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print result.json at the end."),
        click.option(
            "-y",
            "--yes",
            is_flag=True,
            envvar="FAILOVERCTL_YES",
            show_envvar=True,
            help="Do not ask.",
        ),
        click.option("--plan", is_flag=True, help="Print what would be done; contact no host."),
        click.option("--diff", is_flag=True, help="Show changed files before and after."),
        click.option("--check", is_flag=True, help="Go through the runbook, change nothing."),
    ):
        function = option(function)
    return function


def show_plan(app: App, settings: Settings, name: str, parameters: Mapping[str, Any], as_json: bool) -> None:
    """Print the plan of a runbook. No host is contacted."""
    from failoverctl import estate, runbooks, runs
    from failoverctl.paths import runs_directory

    past = runs.history(
        runs_directory(settings.state_directory.value),
        name,
        estate.load(settings, cached=True).name,
    )
    found = runbooks.plan(runbooks.CATALOGUE[name], parameters, past)
    if as_json:
        from failoverctl.render.json import document

        out(document(found.as_dict()))
    else:
        from failoverctl.render.table import plan

        out(plan(found, **app.look(sys.stdout)))


def look(settings: Settings, estate: Estate) -> Health:
    """Ask every data host how it is."""
    from failoverctl.estate_query import ask
    from failoverctl.health import judge

    return judge(estate, ask(settings, estate))


def show_state(app: App, estate: Estate, health: Health, following: Sequence[str] = ()) -> None:
    """Show the state of the estate on stderr, as part of a conversation."""
    from failoverctl.render import table

    talk(table.estate(estate, health, datetime.now(UTC), following, **app.look(sys.stderr)))


def require_answer(yes: bool, what: str) -> None:
    """Refuse to begin what would ask when nobody can answer.

    :raises FailoverctlError: without a terminal on standard input and without --yes.
    """
    if not yes and not sys.stdin.isatty():
        raise FailoverctlError(
            f"{what} asks before it acts, and standard input is no terminal.",
            fix="add --yes (or set FAILOVERCTL_YES=1) to answer yes.",
            exit_code=ExitCode.USAGE,
        )


def ask(question: str, yes: bool) -> None:
    """Ask; anything but yes ends the command.

    :raises click.Abort: when the answer is no.
    """
    if not yes:
        click.confirm(question, abort=True, err=True)


def require_name(given: str, what: str, flag: str) -> None:
    """Refuse a destructive act without a person that does not say what it destroys.

    :raises FailoverctlError: when nothing was given.
    """
    if not given:
        raise FailoverctlError(
            f"{what} asks for the name of the estate, which --yes does not give.",
            fix=f"add {flag} NAME.",
            exit_code=ExitCode.USAGE,
        )


def ask_name(question: str, name: str, given: str) -> None:
    """Ask for the name of the estate, or judge the one that was given; any other name ends the command.

    :raises FailoverctlError: when another name was given.
    """
    typed = given or click.prompt(
        f"{question}. Type the name of the estate to go on", err=True, default="", show_default=False
    )
    if str(typed).strip() != name:
        raise FailoverctlError(
            f"this estate is called {name!r}, not {str(typed).strip()!r}; nothing was done.",
            fix="look at failover_estate in the inventory.",
            exit_code=ExitCode.USAGE,
        )


def unfinished_run(settings: Settings, estate: Estate) -> RunFolder | None:
    """Return the last run of this estate if it was cut short and nobody has seen to it since."""
    from failoverctl import runs
    from failoverctl.paths import runs_directory

    return runs.unfinished(runs_directory(settings.state_directory.value), estate.name)


def mention_unfinished(settings: Settings, estate: Estate) -> None:
    """Say that the last run of this estate was cut short, where, and what that means."""
    run = unfinished_run(settings, estate)
    if run is None:
        return
    phases = run.state().phases
    where = f" in phase {phases[-1].phase} ({phases[-1].title})" if phases else " before its first phase"
    if run.verdict() == "died":
        tell(
            f"Note: the last run, {run.run_id}, died{where}: its process was killed. "
            "What a host had begun for it may have gone on there."
        )
    else:
        tell(f"Note: the last run, {run.run_id}, was interrupted{where}.")
    if run.runbook == "drill":
        tell(
            "What it broke is put right by the hosts themselves when its time is over; failoverctl drill mend does it "
            f"now. How it went: failoverctl runs show {run.run_id}"
        )
        return
    tell(
        "failoverctl resume looks at the hosts and goes on; failoverctl rollback undoes what can be undone. "
        f"How it went: failoverctl runs show {run.run_id}"
    )


def carry_out(app: App, order: Order, **measurement: Any) -> Outcome:
    """Run a runbook, showing it on stderr."""
    from failoverctl.conduct import conduct

    def following(verdict: str, state: RunState) -> list[str]:
        return next_commands(app, order.runbook.name, verdict, state)

    return conduct(order, app.view(), following, **measurement)


def next_commands(app: App, runbook: str, verdict: str, state: RunState) -> list[str]:
    """Return the commands worth typing after a run, the most useful first."""
    checked = bool(state.request.get("check"))
    command = runbook.replace("_", "-")
    words = {
        "refused": ["status"],
        "locked": ["lock status"],
        "invalid": ["check"],
        "unreachable": ["check" if runbook == "check" else "doctor"],
    }.get(verdict)
    if words is None and verdict in ("ok", "pass"):
        words = ["status"]
        if runbook == "check":
            words = ["setup", "status"]
        elif checked:
            words = [_again(command, state)]
        elif runbook == "switchover" and state.switchover and state.switchover.get("from"):
            words = ["status", f"switchover --to {state.switchover['from']}"]
        elif runbook == "setup":
            words = ["status", "switchover --plan"]
        elif runbook == "pause":
            words = ["resume-automation", "status"]
    if words is None and verdict == "interrupted" and runbook != "check":
        words = ["resume", "rollback", f"runs show {state.run_id}"]
    if words is None:
        again = runbook if runbook in ("setup", "check") else "status"
        words = [again, f"runs show {state.run_id}"]
    return [app.command(text) for text in words]


def _again(command: str, state: RunState) -> str:
    """Return the command of a run that only checked, with what it needs to be run for real."""
    parameters = state.request.get("parameters")
    host = parameters.get("rejoin_host") if isinstance(parameters, dict) else None
    return f"{command} {host}" if host else command


def last_words(outcome: Outcome, as_json: bool) -> None:
    """Print what came of a run, then its folder and the next command to type.

    The summary is data and goes to stdout; with --json that is result.json instead.
    """
    from failoverctl.report import summary_lines, write_report

    result = outcome.result
    report = write_report(outcome.folder.path)
    if as_json:
        from failoverctl.render.json import document

        out(document(result))
    else:
        explain(result, outcome.folder.path.parent)
        for line in summary_lines(result):
            out(line)
    if result["probe"] is not None:
        talk(f"Report: {report}")
    talk(f"Run:  {outcome.folder.path}")
    for command in result["next"][:1]:
        talk(f"Next: {command}")


def explain(result: Mapping[str, Any], directory: Path) -> None:
    """Say on stderr why a run was refused, locked out or invalid, in the style of every error.

    :param directory: the runs directory.
    """
    verdict = result["verdict"]
    code = ExitCode(result["exit_code"])
    runbook = result["runbook"]
    command = runbook.replace("_", "-")
    if verdict == "refused":
        refusals = result["refusals"]
        lines = [refusal_line(item) for item in refusals]
        head = lines[0] if len(lines) == 1 else f"{len(lines)} reasons.\n" + "\n".join(lines)
        fixes = [str(item["fix"]) for item in refusals if item.get("fix")]
        error = FailoverctlError(
            f"{command} refused: {head}",
            why=_why_refused(result),
            fix="\n".join(dict.fromkeys(fixes)),
            docs=GATES.get(runbook, "docs/howto/setup.md"),
            exit_code=code,
        )
    elif verdict == "locked":
        error = _locked(result["lock"] or {}, directory, code)
    elif verdict == "invalid" and result["problems"]:
        from failoverctl.inspection import problem_of
        from failoverctl.problems import ConfigurationError

        error = ConfigurationError([problem_of(item) for item in result["problems"]], Path.cwd())
    elif verdict in ("failed", "unreachable", "invalid") and result["reason"]:
        error = FailoverctlError(
            f"{command} {'failed' if verdict == 'failed' else verdict}: {result['reason']}",
            docs="docs/howto/trouble.md",
            exit_code=code,
        )
    else:
        return
    talk(error.render())


#: The page on which the gates of a runbook are.
GATES = {
    "switchover": "docs/howto/switchover.md#gates",
    "failover": "docs/howto/failover.md#gates",
    "rejoin": "docs/howto/failover.md#rejoin",
    "drill": "docs/howto/drills.md",
}


def _why_refused(result: Mapping[str, Any]) -> str:
    """Return why a gate is there; for a failover, what may be lost."""
    from failoverctl.report.text import loss_sentence

    if result["runbook"] == "drill":
        return "nothing was broken: a drill proves something only where all is well and it is wanted."
    answer = result.get("failover") or {}
    if answer.get("possible_loss"):
        return f"nothing was changed. {loss_sentence(answer['possible_loss'])}"
    if result["runbook"] in ("switchover", "setup"):
        return "nothing was changed: a planned runbook must not lose a write or leave no primary."
    return "nothing was changed: no acknowledged write may be lost, and never may two hosts take writes."


def _locked(lock: Mapping[str, Any], directory: Path, code: ExitCode) -> FailoverctlError:
    """The error for an estate that is locked; it knows what became of a run of this machine."""
    from failoverctl.render.table import lock_line
    from failoverctl.runs import RunFolder

    release = 'failoverctl lock release --reason "..."'
    why = "two runbooks at once could undo each other's work."
    fix = f"wait for that run; if it is certainly dead: {release}"
    folder = directory / str(lock.get("run_id") or "?")
    verdict = RunFolder(folder).verdict() if folder.is_dir() else ""
    if verdict == "running":
        fix = "wait for that run: it is at work on this machine."
    elif verdict:
        why = f"that run was started on this machine and has ended ({verdict}) without giving its lock back."
        fix = f"failoverctl resume {folder.name}: it looks where that run left the estate, and gives its lock back."
        if RunFolder(folder).runbook == "drill":
            fix = f"failoverctl drill mend {folder.name}: it puts right what that drill broke, and gives its lock back."
    what = f"the estate is locked by {lock_line(lock, datetime.now(UTC))}."
    return FailoverctlError(what, why=why, fix=fix, docs="docs/howto/trouble.md#a-run-was-interrupted", exit_code=code)


def refusal_line(refusal: Mapping[str, Any]) -> str:
    """Return one refusal with what was observed and what the limit is, if they are not in it."""
    message = str(refusal.get("message", "")).rstrip(".")
    known = [
        f"{label} {refusal[key]}"
        for key, label in (("observed", "found"), ("limit", "limit"))
        if refusal.get(key) not in (None, "") and str(refusal[key]) not in message
    ]
    return message + (f" ({', '.join(known)})" if known else "") + "."
