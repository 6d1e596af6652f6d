"""What a stream can show: colour, width, and whether anybody watches it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Text that is piped has no width of its own: wide enough that no table is cut.
PLAIN_WIDTH = 160


def colour_wanted(stream: TextIO, environ: Mapping[str, str], *, refused: bool = False) -> bool:
    """Return whether to colour a stream.

    The order is: ``--no-color``, NO_COLOR (https://no-color.org: set and not empty),
    CLICOLOR_FORCE, TERM=dumb, and last whether the stream is a terminal.

    :param refused: the operator said ``--no-color``.
    """
    if refused or environ.get("NO_COLOR"):
        return False
    if environ.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return environ.get("TERM") != "dumb" and environ.get("CLICOLOR") != "0" and stream.isatty()


def width_of(stream: TextIO) -> int:
    """Return how many columns a stream has: the terminal's, or :data:`PLAIN_WIDTH`."""
    return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns if stream.isatty() else PLAIN_WIDTH


def is_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether a block on the stream can be drawn again and again."""
    return stream.isatty() and environ.get("TERM", "") not in ("dumb", "")


def console(stream: TextIO, *, colour: bool, width: int, terminal: bool = False) -> Console:
    """Return a rich console that neither guesses nor reads the environment.

    :param terminal: cursor movements may be used, with or without colour.
    """
    from rich.console import Console

    return Console(
        file=stream,
        width=width,
        force_terminal=colour or terminal,
        no_color=not colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=False,
        _environ={},
    )


def to_text(renderable: RenderableType, *, colour: bool, width: int) -> str:
    """Return what a renderable looks like, without spaces at the ends of lines."""
    from io import StringIO

    out = StringIO()
    console(out, colour=colour, width=width).print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
