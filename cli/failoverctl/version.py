"""The version of this `failoverctl`, which is the version of the collection it belongs to."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from failoverctl.paths import collection_directory


def version() -> str:
    """Return the version from galaxy.yml of a checkout, else of the installed distribution.

    Returns ``unknown`` when there is neither.
    """
    collection = collection_directory()
    galaxy = collection / "galaxy.yml" if collection else None
    if galaxy is not None and galaxy.is_file():
        text = galaxy.read_text(encoding="utf-8")
        matched = re.search(r'(?m)^version:\s*"?([^"\s]+)', text)
        if matched:
            return matched[1]
    try:
        return installed_version("failoverctl")
    except PackageNotFoundError:
        return "unknown"
