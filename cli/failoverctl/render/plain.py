"""One line a phase, for logs, pipes and terminals that cannot be drawn on."""

from __future__ import annotations

from collections.abc import Callable

from failoverctl.journal import (
    Act,
    Note,
    PhaseFinished,
    ProbeEvent,
    Record,
    RunFinished,
    RunStarted,
    RunState,
    Step,
    Task,
)
from failoverctl.render.live import duration, failure_lines


def lines(record: Record, state: RunState, verbosity: int = 0) -> list[str]:
    """Return what one record adds to the log.

    :param state: the state after the record.
    :param verbosity: 1 adds a line for each task on each host.
    """
    clock = record.at[11:19] + "Z" if record.at else "--:--:--Z"
    match record:
        case RunStarted():
            mode = " --check" if state.request.get("check") else ""
            return [f"{clock} {state.name or record.runbook}{mode} {record.run_id}"]
        case PhaseFinished():
            hosts = state.phases[-1].hosts if state.phases else {}
            cells = ", ".join(f"{host} {cell.outcome}" for host, cell in hosts.items())
            text = f"{clock} {record.phase:<9} {record.title}: {record.outcome}"
            return [f"{text}, {duration(record.seconds)}" + (f" ({cells})" if cells else "")]
        case Step():
            return [f"{clock}           {record.title}: {record.outcome}, {record.ms:.1f} ms"]
        case Task():
            return [f"{clock}   {line}" for line in task_lines(record, verbosity)]
        case ProbeEvent():
            return [f"{clock} measurement {record.event}"]
        case Act():
            return [f"{clock}   {act_line(record)}"]
        case Note():
            return [f"{clock} {record.text}"]
        case RunFinished():
            ended = f"{clock} {state.name}: {record.verdict}, {duration(record.t)}"
            return [*(f"{clock}   {line}" for line in failure_lines(state)), ended]
        case _:
            return []


def act_line(record: Act) -> str:
    """Return what a drill did, as a line."""
    return f"{record.title}: {record.event}" + (f": {record.detail}" if record.detail else "")


def task_lines(record: Record, verbosity: int) -> list[str]:
    """Return the lines of a task that ended on a host; none for another record.

    Without verbosity only what was asked for with --diff is shown.
    """
    if not isinstance(record, Task) or not (verbosity or record.diff):
        return []
    text = f"{record.outcome:<11} {record.host}: {record.title} ({duration(record.seconds)})"
    details = [*record.message.splitlines(), *record.diff.splitlines()]
    return [text, *(f"    {line}" for line in details)]


class PlainView:
    """Prints :func:`lines` as they come."""

    def __init__(self, write: Callable[[str], None], verbosity: int = 0) -> None:
        """Keep where to write.

        :param write: takes one line without its end.
        """
        self._write = write
        self._verbosity = verbosity

    def show(self, before: RunState, record: Record, after: RunState) -> None:
        """Print what the record adds."""
        del before
        for line in lines(record, after, self._verbosity):
            self._write(line)

    def tick(self, state: RunState, seconds: float) -> None:
        """Print nothing; a log does not count seconds."""

    def raw(self, text: str) -> None:
        """Print what ansible-playbook printed."""
        for line in text.splitlines():
            self._write(line)

    def close(self, state: RunState) -> None:
        """Print nothing more; the last record said it."""
