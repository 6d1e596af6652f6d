"""Documents for programs: one JSON object, indented, UTF-8, with `schema` in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def document(content: Mapping[str, Any]) -> str:
    """Return the text of a document; `schema` comes first if it is there."""
    return json.dumps(dict(content), indent=2, ensure_ascii=False, default=str)
