"""`python -m failoverctl.lab`: the lab without the rest of the command line."""

from __future__ import annotations

import sys

from failoverctl.commands.lab import lab
from failoverctl.errors import FailoverctlError

if __name__ == "__main__":
    try:
        lab(prog_name="failoverctl lab")
    except FailoverctlError as error:
        print(error.render(), file=sys.stderr)
        sys.exit(int(error.exit_code))
