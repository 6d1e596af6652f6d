"""`failoverctl resume` and `failoverctl rollback`: finish or undo a run that was cut short."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from failoverctl.commands.app import App, app_of, common_options, out, talk, tell
from failoverctl.commands.conducting import (
    ask,
    carry_out,
    last_words,
    look,
    require_answer,
    runbook_options,
    show_plan,
    show_state,
)
from failoverctl.errors import ExitCode, FailoverctlError

if TYPE_CHECKING:
    from failoverctl.conduct import Outcome
    from failoverctl.config import Settings
    from failoverctl.estate import Estate
    from failoverctl.health import Health
    from failoverctl.journal import RunState
    from failoverctl.resumption import Choice
    from failoverctl.runs import RunFolder
    from failoverctl.world import Difference

PAGE = "docs/howto/trouble.md#a-run-was-interrupted"

#: How a run ended of which something may be left to do.
OPEN = ("died", "interrupted", "failed", "unreachable")

#: How long what a run has begun may go on in an agent after the run died: to be judged it has to have ended.
LINGER_SECONDS = {"failover": 20.0, "switchover": 8.0}

#: How long to wait for a primary, and for a host that is being copied anew.
SETTLE_SECONDS = 20.0


def _run_ids(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from failoverctl import runs

    try:
        found = runs.list_runs(_directory(app_of(ctx).settings()))
    except FailoverctlError:
        return []
    names = [run.run_id for run in found if run.verdict() in OPEN]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("run", required=False, shell_complete=_run_ids)
@runbook_options
@common_options
@click.pass_context
def resume(ctx: click.Context, run: str | None, check: bool, diff: bool, plan: bool, yes: bool, as_json: bool) -> None:
    """Finish a run that was cut short: the last one, or RUN.

    Asks the hosts how they are now, shows what differs from the last entry of the journal, and goes
    on, or says that nothing is left to do. A lock that the dead run left behind is given back.
    """
    _work(ctx, "resume", run, check, diff, plan, yes, as_json)


@click.command()
@click.argument("run", required=False, shell_complete=_run_ids)
@runbook_options
@common_options
@click.pass_context
def rollback(
    ctx: click.Context, run: str | None, check: bool, diff: bool, plan: bool, yes: bool, as_json: bool
) -> None:
    """Undo what can be undone of a run that was cut short: the last one, or RUN.

    Before its commit nothing was moved, and it says so. After it a switchover back is offered. A
    lock that the dead run left behind is given back.
    """
    _work(ctx, "rollback", run, check, diff, plan, yes, as_json)


def _work(
    ctx: click.Context,
    verb: str,
    run: str | None,
    check: bool,
    diff: bool,
    plan: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from failoverctl import estate as estates
    from failoverctl import resumption, world

    app = app_of(ctx)
    settings = app.settings()
    estate = estates.load(settings, cached=True)
    folder = _find(settings, estate, run)
    if folder is None:
        _tell_nothing(as_json, verb, f"no run of estate {estate.name or '?'} was cut short")
        return
    if folder.runbook == "drill":
        raise FailoverctlError(
            f"run {folder.run_id} is a drill: there is nothing to go on with, only something to put right.",
            fix=app.command(f"drill mend {folder.run_id}"),
            docs="docs/howto/drills.md",
            exit_code=ExitCode.USAGE,
        )
    state = folder.state()
    parameters = dict(folder.request().get("parameters") or {})
    if plan:
        talk(f"Run {folder.run_id}: {folder.verdict()}; {resumption.last_entry(state)}.")
        show_plan(app, settings, folder.runbook, parameters, as_json)
        return
    ended = _ended(folder)
    if ended:
        _tell_nothing(as_json, verb, ended, folder.run_id)
        return
    if not check:
        require_answer(yes, verb)
    tell(f"Run {folder.run_id} of {folder.request().get('owner') or '?'}: {folder.verdict()}.")
    tell(f"Last entry: {resumption.last_entry(state)}.")
    _let_end(folder.runbook, state)
    decide: Callable[..., Choice] = getattr(resumption, verb)
    health, choice = _settled(settings, estate, lambda now: decide(folder.runbook, parameters, state.facts_before, now))
    show_state(app, estate, health)
    differences = world.diff(state.facts, world.facts_of(health.reports))
    _tell_differences(state.facts, differences)
    tell(f"{verb}: {choice.why}.")
    work = _Work(ctx, app, settings, estate, folder, verb, health, choice, differences)
    work.carry_out(check=check, diff=diff, yes=yes, as_json=as_json)


class _Work:
    """What was found out, and what follows from it."""

    def __init__(
        self,
        ctx: click.Context,
        app: App,
        settings: Settings,
        estate: Estate,
        folder: RunFolder,
        verb: str,
        health: Health,
        choice: Choice,
        differences: Sequence[Difference],
    ) -> None:
        self.ctx = ctx
        self.app = app
        self.settings = settings
        self.estate = estate
        self.folder = folder
        self.verb = verb
        self.health = health
        self.choice = choice
        self.differences = differences

    def carry_out(self, *, check: bool, diff: bool, yes: bool, as_json: bool) -> None:
        """Do what was chosen, unless it is only a check; the command ends here."""
        choice = self.choice
        if check:
            if choice.kind == "run":
                tell(f"It would run: {self._command()}")
            self._end(ExitCode.OK if choice.kind in ("run", "nothing") else ExitCode.FAILED, None, False, as_json)
        if choice.kind in ("wait", "by_hand"):
            fix = f"failoverctl {choice.command}" if choice.command else "failoverctl status"
            freed = self._free_lock()
            if as_json:
                self._end(ExitCode.FAILED, None, freed, as_json)
            raise FailoverctlError(
                f"{self.folder.run_id} is left as it is: {choice.why}.", fix=fix, docs=PAGE, exit_code=ExitCode.FAILED
            )
        if choice.kind == "run":
            ask(f"Run it: {self._command()}?", yes)
        freed = self._free_lock()
        if choice.kind == "nothing":
            self.folder.close(_how(self.verb), None)
            self._end(ExitCode.OK, None, freed, as_json)
        outcome = self._run(diff)
        if outcome.exit_code is ExitCode.OK:
            self.folder.close(_how(self.verb), outcome.folder.run_id)
        show_state(self.app, self.estate, look(self.settings, self.estate))
        if not as_json:
            last_words(outcome, as_json)
        self._end(outcome.exit_code, outcome, freed, as_json)

    def _command(self) -> str:
        from failoverctl.runbooks import CATALOGUE

        given = [f"{key}={value}" for key, value in self.choice.parameters.items() if value]
        return " ".join([CATALOGUE[self.choice.runbook].command, *given])

    def _run(self, diff: bool) -> Outcome:
        from failoverctl.conduct import Order
        from failoverctl.runbooks import CATALOGUE

        order = Order(
            runbook=CATALOGUE[self.choice.runbook],
            settings=self.settings,
            estate=self.estate,
            parameters=self.choice.parameters,
            diff=diff,
            verbosity=self.app.verbosity,
            seen=self.health.reports,
            resumes=self.folder.run_id,
        )
        return carry_out(self.app, order)

    def _free_lock(self) -> bool:
        """Give back the lock of the run that is dead; that of any other run stays."""
        from failoverctl.estate_query import release_lock
        from failoverctl.health import unreached

        lock = self.health.lock
        if lock is None or lock.get("run_id") != self.folder.run_id:
            return False
        freed = release_lock(self.settings, self.estate, self.folder.run_id, unreached(self.health.reports))
        tell("The estate lock of that run was given back." if freed else "The estate lock could not be given back.")
        return freed

    def _end(self, code: ExitCode, outcome: Outcome | None, freed: bool, as_json: bool) -> None:
        if as_json:
            from failoverctl.render.json import document

            out(
                document(
                    resume_document(
                        self.verb,
                        self.folder.run_id,
                        self.folder.runbook,
                        self.choice.kind,
                        self.choice.why,
                        code,
                        [item.as_dict() for item in self.differences],
                        freed,
                        dict(outcome.result) if outcome else None,
                    )
                )
            )
        elif outcome is None:
            out("Nothing is left to do." if self.choice.kind == "nothing" else "Nothing was done.")
        self.ctx.exit(code)


def resume_document(
    verb: str,
    run_id: str | None,
    runbook: str | None,
    kind: str,
    why: str,
    code: ExitCode,
    differences: Sequence[Any],
    freed: bool,
    result: Any,
) -> dict[str, Any]:
    """Return what `resume --json` and `rollback --json` print; the keys do not depend on what happened."""
    return {
        "schema": 1,
        "verb": verb,
        "run_id": run_id,
        "runbook": runbook,
        "choice": kind,
        "why": why,
        "exit_code": int(code),
        "differences": list(differences),
        "lock_released": freed,
        "result": result,
    }


def _find(settings: Settings, estate: Estate, run: str | None) -> RunFolder | None:
    from failoverctl import runs

    directory = _directory(settings)
    if run is None:
        return runs.unfinished(directory, estate.name, OPEN)
    found = runs.find(directory, run)
    told = str(found.request().get("estate") or "")
    if told != estate.name:
        raise FailoverctlError(
            f"run {found.run_id} is of estate {told or '?'}, and this inventory is {estate.name or '?'}.",
            fix="give the inventory of that estate with -i.",
            exit_code=ExitCode.USAGE,
        )
    return found


def _directory(settings: Settings) -> Any:
    from failoverctl.paths import runs_directory

    return runs_directory(settings.state_directory.value)


def _ended(folder: RunFolder) -> str:
    """Return why nothing can be left of a run, empty if something can.

    :raises FailoverctlError: when it is still at work.
    """
    verdict, closed = folder.verdict(), folder.closed()
    if verdict == "running":
        process = folder.request().get("process")
        pid = process.get("pid") if isinstance(process, dict) else "?"
        raise FailoverctlError(
            f"run {folder.run_id} is at work on this machine (process {pid}).",
            fix="wait for it, or interrupt it with Ctrl-C where it runs.",
            exit_code=ExitCode.LOCKED,
        )
    if closed:
        by = f" by {closed['by']}" if closed.get("by") else ""
        return f"it was {closed.get('how')}{by} at {closed.get('at')}"
    if folder.request().get("check"):
        return "it only checked"
    if verdict not in OPEN:
        return f"it ended with the verdict {verdict}"
    return ""


def _let_end(runbook: str, state: RunState) -> None:
    """Wait until what the run has begun in an agent has ended there, one way or the other."""
    if state.begun is None or not state.begun.play.startswith("Act"):
        return
    age = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(state.begun.at)).total_seconds())
    left = LINGER_SECONDS.get(runbook, 0.0) - age
    if left > 0:
        tell(f"It was begun {age:.0f} s ago: waiting {left:.0f} s, until the agents have certainly ended it.")
        time.sleep(left)


def _settled(settings: Settings, estate: Estate, decide: Callable[[Health], Choice]) -> tuple[Health, Choice]:
    """Ask the hosts until it can be told what is left to do, or the limit is reached."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        health = look(settings, estate)
        if not any(report.status is not None for report in health.reports):
            said = "; ".join(f"{report.host}: {report.error}" for report in health.reports)
            raise FailoverctlError(
                f"no agent answers: {said}.",
                why="what is left to do depends on how the hosts are now, not on how far the run had come.",
                fix="failoverctl doctor",
                docs=PAGE,
                exit_code=ExitCode.UNREACHABLE if health.verdict == "unreachable" else ExitCode.DEGRADED,
            )
        choice = decide(health)
        if choice.kind != "wait" or time.monotonic() > deadline:
            return health, choice
        time.sleep(1.0)


def _tell_differences(entry: object, differences: Sequence[Difference]) -> None:
    if not entry:
        tell("The journal holds nothing that the agents told, so there is nothing to compare with.")
    elif not differences:
        tell("Nothing differs from the last entries of the journal.")
    else:
        tell("What differs from the last entries of the journal:")
        for item in differences:
            talk(f"  {item.sentence()}")


def _tell_nothing(as_json: bool, verb: str, why: str, run_id: str | None = None) -> None:
    if as_json:
        from failoverctl.render.json import document

        out(document(resume_document(verb, run_id, None, "nothing", why, ExitCode.OK, (), False, None)))
    else:
        out(f"Nothing to {verb}: {why}.")


def _how(verb: str) -> str:
    return {"resume": "resumed", "rollback": "rolled back"}[verb]
