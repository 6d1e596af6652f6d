"""Reads what a probe left in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from failoverctl.probe.checker import History, Objectives, ProbeResult, check
from failoverctl.probe.model import parse_meta, parse_node_read, parse_op, parse_sample

_Item = TypeVar("_Item")


class ProbeFilesError(Exception):
    """A probe's folder cannot be read; the text names the file, the line and the reason."""


def load(folder: Path) -> History:
    """Return what the probe in ``folder`` recorded.

    A last line without its end (the prober was killed) is left out. A missing final.json gives
    ``final=None``. ``inside.jsonl`` is what writers on the hosts did, where there were any. Raises
    ProbeFilesError for a missing meta.json and for anything malformed.
    """
    meta_path = folder / "meta.json"
    try:
        meta = parse_meta(_document(meta_path))
    except (KeyError, TypeError, ValueError) as error:
        raise ProbeFilesError(f"{meta_path}: {_reason(error)}") from error
    final_path = folder / "final.json"
    final = None
    if final_path.exists():
        try:
            final = tuple(parse_node_read(node) for node in _document(final_path)["nodes"])
        except (KeyError, TypeError, ValueError) as error:
            raise ProbeFilesError(f"{final_path}: {_reason(error)}") from error
    return History(
        meta=meta,
        ops=(*_lines(folder / "ops.jsonl", parse_op), *_lines(folder / "inside.jsonl", parse_op)),
        samples=_lines(folder / "samples.jsonl", parse_sample),
        final=final,
    )


def analyse(folder: Path, objectives: Objectives | None = None, *, broken_at: float | None = None) -> ProbeResult:
    """Return the verdict on the probe in ``folder``, as ``check`` does. Raises ProbeFilesError."""
    return check(load(folder), objectives, broken_at=broken_at)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProbeFilesError(f"{path}: {_reason(error)}") from error
    if not isinstance(data, dict):
        raise ProbeFilesError(f"{path}: expected an object, found {type(data).__name__}")
    return data


def _lines(path: Path, parse: Callable[[Mapping[str, Any]], _Item]) -> tuple[_Item, ...]:
    if not path.exists():
        return ()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ProbeFilesError(f"{path}: {_reason(error)}") from error
    whole = text[: text.rfind("\n") + 1]
    items = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            items.append(parse(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise ProbeFilesError(f"{path}, line {number}: {_reason(error)}") from error
    return tuple(items)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return str(error)
