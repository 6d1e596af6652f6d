"""Measures from outside what clients of an estate see, and what became of their writes.

The prober (``python -m failoverctl.probe``) sends at a constant rate, whatever the estate does, and
records every operation. ``Probe`` runs it, ``analyse`` gives the verdict on what it recorded.
"""

from __future__ import annotations

from failoverctl.probe.checker import BROKEN_BEFORE, History, Objectives, ProbeResult
from failoverctl.probe.files import ProbeFilesError, analyse, load
from failoverctl.probe.model import Target, TargetError, parse_target
from failoverctl.probe.process import Probe, ProbeError, Progress

__all__ = [
    "BROKEN_BEFORE",
    "History",
    "Objectives",
    "Probe",
    "ProbeError",
    "ProbeFilesError",
    "ProbeResult",
    "Progress",
    "Target",
    "TargetError",
    "analyse",
    "load",
    "parse_target",
]
