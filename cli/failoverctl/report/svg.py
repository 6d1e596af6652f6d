"""Writes SVG: numbers as short as they can be, text always escaped."""

from __future__ import annotations

from markupsafe import Markup, escape


def number(value: float) -> str:
    """Return a coordinate with at most one decimal, without a needless zero."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


class Drawing:
    """Collects elements of one picture. Units are pixels at its natural size."""

    def __init__(self, width: float, title: str, description: str) -> None:
        self.width = width
        self.height = 0.0
        self._title = title
        self._description = description
        self._parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> None:
        """Add a rectangle of class ``kind``; ``tip`` is shown when the pointer rests on it."""
        box = f'x="{number(x)}" y="{number(y)}" width="{number(max(width, 0.6))}" height="{number(height)}"'
        if tip:
            self._parts.append(f'<rect class="{escape(kind)}" {box}><title>{escape(tip)}</title></rect>')
        else:
            self._parts.append(f'<rect class="{escape(kind)}" {box}/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Add a straight line of class ``kind``."""
        self.path(f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}", kind)

    def path(self, data: str, kind: str) -> None:
        """Add a path of class ``kind``; ``data`` has numbers and commands only."""
        if data:
            self._parts.append(f'<path class="{escape(kind)}" d="{escape(data)}"/>')

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "") -> None:
        """Add text whose base line is at ``y``; ``anchor`` is start, middle or end."""
        where = f' text-anchor="{anchor}"' if anchor else ""
        named = f' class="{escape(kind)}"' if kind else ""
        self._parts.append(f'<text x="{number(x)}" y="{number(y)}"{named}{where}>{escape(text)}</text>')

    def markup(self) -> Markup:
        """Return the whole picture."""
        body = "".join(self._parts)
        return Markup(
            f'<svg viewBox="0 0 {number(self.width)} {number(self.height)}" role="img" '
            f'aria-label="{escape(self._title)}"><title>{escape(self._title)}</title>'
            f"<desc>{escape(self._description)}</desc>{body}</svg>"
        )
