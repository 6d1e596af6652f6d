"""The block on a terminal that shows how far a run has come; also what a replay prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from failoverctl.journal import PhaseState, Record, RunState
from failoverctl.render.terminal import console

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

#: Symbol, word and style of each outcome; the symbol is never alone, and neither is the colour.
OUTCOMES: dict[str, tuple[str, str, str]] = {
    "ok": ("✓", "ok", "green"),
    "changed": ("✓", "changed", "yellow"),
    "failed": ("✗", "failed", "red"),
    "unreachable": ("✗", "unreachable", "red"),
    "skipped": ("-", "skipped", "bright_black"),
    "running": ("▸", "running", "cyan"),
    "pending": ("·", "", "bright_black"),
}

_VERDICT_STYLES = {"ok": "green", "pass": "green", "running": "cyan"}


def duration(seconds: float) -> str:
    """Return a duration as people read it: ``0.8 s``, ``12 s``, ``3 min 05 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def frame(state: RunState, seconds: float) -> RenderableType:
    """Return the whole block for a state.

    :param seconds: the age of the run; it only counts while a phase runs.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for phase in state.phases:
        symbol, word, style = OUTCOMES.get(phase.outcome, OUTCOMES["running"])
        if phase.outcome == "running" and state.finished:
            symbol, word, style = "✗", "not finished", "red"
        age = phase.seconds if phase.seconds is not None else max(0.0, seconds - phase.started)
        shown = word if phase.outcome == "skipped" or not phase.hosts else _cells(phase)
        grid.add_row(
            Text(symbol, style=style),
            Text(phase.phase, style="bold"),
            Text(phase.title),
            Text(duration(age), style="" if phase.outcome == "running" else "bright_black"),
            shown if not isinstance(shown, str) else Text(shown, style=style),
        )
        if phase.outcome == "running" and phase.task and not state.finished:
            grid.add_row("", "", Text(phase.task, style="bright_black"), "", "")
    for name, title in pending(state):
        symbol, word, style = OUTCOMES["pending"]
        grid.add_row(*(Text(text, style=style) for text in (symbol, name, title, "", word)))
    parts: list[RenderableType] = [_header(state, seconds), grid]
    if state.steps:
        parts.append(_indented(steps_line(state), "bright_black"))
    parts += [_indented(line, "red") for line in failure_lines(state)]
    parts += [_indented(note, "yellow") for note in state.notes]
    return Group(*parts)


def _indented(text: str, style: str) -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(text, style=style), (0, 0, 0, 2))


def pending(state: RunState) -> list[tuple[str, str]]:
    """Return the phases that are still to come, by the list the run began with."""
    if state.finished:
        return []
    planned = [(str(item["phase"]), str(item["title"])) for item in state.request.get("phases", ())]
    return planned[len(state.phases) :]


def steps_line(state: RunState) -> str:
    """Return the steps of the switchover with their milliseconds, on one line."""
    return " · ".join(
        f"{step.name} {step.ms:.0f} ms" + ("" if step.outcome == "ok" else f" {step.outcome}") for step in state.steps
    )


def failure_lines(state: RunState) -> list[str]:
    """Return one line for each host and task that failed and was not said otherwise."""
    if state.refusals or state.problems or state.lock or state.verdict in ("ok", "pass"):
        return []
    return [
        f"{task.host}: {task.title}: {task.message.splitlines()[0] if task.message else ''}" for task in state.failures
    ]


def _header(state: RunState, seconds: float) -> Text:
    from rich.text import Text

    mode = " --check" if state.request.get("check") else ""
    age = state.seconds if state.finished else seconds
    text = Text(f"{state.name}{mode} ", style="bold")
    text.append(f"{state.run_id} · estate {state.request.get('estate') or '?'} · ", style="")
    text.append(duration(age))
    if state.probe:
        measured = "measuring" if state.probe == "started" else "measured"
        text.append(f" · {measured}")
    if state.finished:
        text.append(" · ")
        text.append(state.verdict, style=_VERDICT_STYLES.get(state.verdict, "red"))
    return text


def _cells(phase: PhaseState) -> Text:
    """Host by host while the phase runs; after it, those that failed, or how much was changed."""
    from rich.text import Text

    text = Text()
    shown = phase.hosts
    if phase.outcome != "running":
        lost = {host: cell for host, cell in shown.items() if cell.outcome in ("failed", "unreachable")}
        if not lost:
            changed = sum(cell.changed for cell in shown.values())
            worked = sum(cell.outcome != "skipped" for cell in shown.values())
            hosts = "1 host" if worked == 1 else f"{worked} hosts"
            word = f"{changed} changed" if changed else "ok"
            return text.append(word, style=OUTCOMES["changed" if changed else "ok"][2]).append(f" on {hosts}")
        shown = lost
    for host, cell in shown.items():
        _, word, style = OUTCOMES.get(cell.outcome, OUTCOMES["pending"])
        text.append(f"{host} ").append(word, style=style).append("  ")
    return text


class LiveView:
    """Draws :func:`frame` again and again on a terminal."""

    def __init__(self, stream: TextIO, *, colour: bool, width: int, verbosity: int = 0) -> None:
        """Take the terminal; nothing is drawn before the first record."""
        from rich.live import Live

        self._live = Live(
            console=console(stream, colour=colour, width=width, terminal=True),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._verbosity = verbosity
        self._started = False

    def show(self, before: RunState, record: Record, after: RunState) -> None:
        """Draw the new state; with -v each task stays as a line above the block."""
        if not self._started:
            self._live.start()
            self._started = True
        from failoverctl.render.plain import task_lines

        for line in task_lines(record, self._verbosity):
            self._live.console.print(line)
        del before
        self.tick(after, record.t)

    def tick(self, state: RunState, seconds: float) -> None:
        """Draw the state as it is `seconds` after the start.

        The cursor waits on an empty line, where the terminal's echo of Ctrl-C does no harm.
        """
        if self._started:
            from rich.console import Group

            self._live.update(Group(frame(state, seconds), ""), refresh=True)

    def raw(self, text: str) -> None:
        """Print what ansible-playbook printed above the block."""
        if self._started:
            self._live.console.print(text)

    def close(self, state: RunState) -> None:
        """Draw the end and give the terminal back."""
        if self._started:
            self._live.update(frame(state, state.seconds), refresh=True)
            self._live.stop()
            self._started = False
