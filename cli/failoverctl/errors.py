"""The exit codes of `failoverctl` and the one error that every part of it raises."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit status of every `failoverctl` command means.

    The same numbers are used by every command; `failoverctl --help` prints them.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    DEGRADED = 5
    LOCKED = 6
    TIMED_OUT = 7
    BUG = 70
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """The meaning of the code in a few words, as `--help` and the reference print it."""
        return _MEANINGS[self]


_MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done, or healthy",
    ExitCode.FAILED: "the runbook failed, or its measurement did",
    ExitCode.USAGE: "wrong usage or configuration",
    ExitCode.REFUSED: "refused by a safety gate; nothing was changed",
    ExitCode.UNREACHABLE: "a host could not be reached",
    ExitCode.DEGRADED: "the estate serves, but is degraded; or a drill proved nothing",
    ExitCode.LOCKED: "another runbook holds the estate lock",
    ExitCode.TIMED_OUT: "a bounded wait ran out",
    ExitCode.BUG: "a bug in failoverctl; --debug shows the traceback",
    ExitCode.INTERRUPTED: "interrupted by the operator",
}


class FailoverctlError(Exception):
    """An error made for the person who reads it.

    It is raised by every part of `failoverctl` and rendered in one place, so that it always says
    what is wrong and where, why that matters, what to do next and where to read more.
    """

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        fix: str = "",
        docs: str = "",
        exit_code: ExitCode = ExitCode.FAILED,
    ) -> None:
        """Keep the parts of the message.

        :param what: what is wrong and where, with the observed value and the limit; it may have
            several lines.
        :param why: the reason behind the rule that was broken.
        :param fix: what to do next, preferably a command to type.
        :param docs: the page that explains it, relative to the repository (``docs/howto/x.md``).
        :param exit_code: the exit status of the process.
        """
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.docs = docs
        self.exit_code = exit_code

    def render(self) -> str:
        """Return the message as printed on stderr, without colour and without a final newline."""
        lines = _labelled("Error: ", self.what, indent="  ")
        for label, text in (("Why", self.why), ("Fix", self.fix), ("Docs", self.docs)):
            if text:
                lines += _labelled(f"  {label}: ", text, indent="       ")
        lines[-1] = f"{lines[-1]}  (exit {int(self.exit_code)})"
        return "\n".join(lines)


def _labelled(label: str, text: str, *, indent: str) -> list[str]:
    first, *rest = text.strip().splitlines() or [""]
    return [f"{label}{first}", *(f"{indent}{line}" for line in rest)]
