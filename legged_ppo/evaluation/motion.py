"""What a gait looks like, small enough for a JSON file: footfalls over time, histograms of the joints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from legged_ppo.evaluation.gait_trace import GaitTrace

_SHOWN_S = 2.0
"""Time [s] of the footfalls."""
BINS = 60
"""Of a histogram."""


def motion_record(traces: Mapping[str, GaitTrace]) -> dict[str, Any]:
    """Footfalls of one robot at each speed, and histograms over all robots and speeds; robots that fell are
    left out.

    Args:
        traces: by speed, as in `gait_report`.

    Returns:
        {"footfalls": {"dt": s, "feet": names, "contact": {"0.5": ["1100...", a string a foot], ...}},
        "joints": names, "torque": `joint_histograms` [N m], "velocity": `joint_histograms` [rad/s]};
        empty where every robot fell
    """
    walked = {speed: trace.select(~trace.fell) for speed, trace in traces.items()}
    walked = {speed: trace for speed, trace in walked.items() if len(trace.fell)}
    if not walked:
        return {}
    first = next(iter(walked.values()))
    torque, velocity = (
        np.concatenate(
            [getattr(trace, name).reshape(-1, len(first.joints)) for trace in walked.values()]
        )
        for name in ("torque", "joint_velocity")
    )
    contacts = {speed: _strings(trace) for speed, trace in walked.items()}
    return {
        "footfalls": {"dt": first.dt, "feet": first.feet, "contact": contacts},
        "joints": first.joints,
        "torque": joint_histograms(torque, first.torque_limit),
        "velocity": joint_histograms(velocity, first.velocity_limit),
    }


def joint_histograms(values: np.ndarray, limits: np.ndarray) -> dict[str, Any]:
    """Histograms of each joint over equal bins from -range to range, which holds all values and the limit.

    Args:
        values: [samples, J].
        limits: [J]; inf where there is none.

    Returns:
        {"limit": [J] or None each, "range": [J], "counts": [J][BINS], "beyond": [J] shares of the samples at or
        above 99 % of the limit, None without one}
    """
    known = np.isfinite(limits)
    ranges = np.maximum(np.abs(values).max(0), np.where(known, limits, 0.0)) * 1.02 + 1e-6
    counts = [
        np.histogram(column, BINS, (-half, half))[0].tolist()
        for column, half in zip(values.T, ranges, strict=True)
    ]
    beyond = (np.abs(values) >= 0.99 * limits).mean(0)
    return {
        "limit": [float(x) if k else None for x, k in zip(limits, known, strict=True)],
        "range": [round(float(x), 4) for x in ranges],
        "counts": counts,
        "beyond": [round(float(x), 5) if k else None for x, k in zip(beyond, known, strict=True)],
    }


def _strings(trace: GaitTrace) -> list[str]:
    """The contacts of the first robot, a string of 1 and 0 a foot."""
    steps = round(_SHOWN_S / trace.dt)
    return ["".join("01"[int(each)] for each in foot) for foot in trace.contact[:steps, 0].T]
