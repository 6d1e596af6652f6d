"""The entry point of the command `failoverctl`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line of this process and exit with its status."""
    from failoverctl.commands.root import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
