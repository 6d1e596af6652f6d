"""Drills: break an estate on purpose, measure what clients saw, and say whether it kept its promises.

A drill is a scenario (``scenario``), played by the engine (``engine``), measured by the prober of
:mod:`failoverctl.probe` and judged by pure functions of what was recorded (``phases``, ``verdict``).
"""
