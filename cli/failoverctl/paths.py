"""Where `failoverctl` keeps its files, by the XDG base directory specification 0.8.

Nothing here creates a folder; whoever writes a file creates its parent.
"""

from __future__ import annotations

import os
from pathlib import Path


def state_directory() -> Path:
    """Return the default state directory: ``$XDG_STATE_HOME/failoverctl``.

    A relative ``XDG_STATE_HOME`` is ignored, as the specification demands.
    """
    return _xdg("XDG_STATE_HOME", ".local/state") / "failoverctl"


def cache_directory() -> Path:
    """Return ``$XDG_CACHE_HOME/failoverctl``: what may be deleted at any time without loss."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "failoverctl"


def runs_directory(state: Path | None = None) -> Path:
    """Return the folder that holds one folder for each run.

    :param state: the state directory in force; by default :func:`state_directory`.
    """
    return (state or state_directory()) / "runs"


def collection_directory() -> Path | None:
    """Return the folder of the collection `hosting.failover` that belongs to this `failoverctl`.

    It is found as an implicit namespace package, which is true of the wheel, of an editable
    installation and of a checkout. None means that it is not on the import path.
    """
    from importlib.util import find_spec

    try:
        spec = find_spec("ansible_collections.hosting.failover")
    except ModuleNotFoundError:
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _xdg(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / default
