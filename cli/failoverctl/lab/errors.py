"""The error of the lab."""

from __future__ import annotations

from failoverctl.errors import ExitCode, FailoverctlError


class LabError(FailoverctlError):
    """A lab command could not do what was asked; the message names the remedy."""

    def __init__(self, what: str, why: str = "", fix: str = "", *, exit_code: ExitCode = ExitCode.USAGE) -> None:
        """Keep what is wrong, why it matters and what to do next.

        :param what: what is wrong, with the observed value and the limit.
        :param why: the reason, or what the failing program said.
        :param fix: what to do next, preferably a command to type.
        :param exit_code: the exit status of the process.
        """
        super().__init__(what, why=why, fix=fix, exit_code=exit_code)
