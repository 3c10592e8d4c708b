"""Gait metrics: how a policy walks straight ahead and how quietly it stands, on flat ground.

Success rates and tracking errors do not distinguish a trot from a shuffle. These metrics do: stride
frequency, phases of the feet, swing height, slip, posture, smoothness, bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from legged_ppo.config.schema import Config
from legged_ppo.evaluation.gait_trace import GaitTrace, record_gaits
from legged_ppo.evaluation.motion import motion_record
from legged_ppo.models.actor_critic import ActorCritic

SPEEDS = (0.5, 1.0)
"""Forward commands [m/s] of the walking test."""
MOST_ROBOTS = 32
"""Robots per command, unless there are fewer episodes."""
_SMOOTH_HZ = 8.0
"""Frequency [Hz] above which the power of actions counts as jitter."""
_SATURATED = 0.99
"""Share of its limit from which a torque counts as saturated."""
_GAITS = {
    "trot": (0.0, 0.5, 0.5, 0.0),
    "pace": (0.0, 0.5, 0.0, 0.5),
    "bound": (0.0, 0.0, 0.5, 0.5),
    "pronk": (0.0, 0.0, 0.0, 0.0),
}
"""Phases of the feet FL, FR, RL, RR as shares of the stride, relative to the first."""


def gait_report(
    policy: ActorCritic,
    config: Config,
    seed: int,
    *,
    robots: int = MOST_ROBOTS,
    speeds: Sequence[float] = SPEEDS,
) -> dict[str, Any]:
    """Walk straight ahead at each of `speeds` [m/s] and stand, with `robots` robots each, on flat ground
    without pushes.

    Each test lasts 10 s, of which the last 8 s are measured, with sensor noise and randomized bodies.

    Returns:
        {"gait": {"0.5": `walking_metrics`, ...}, "standing": `standing_metrics`, "motion": `motion_record`}
    """
    commands = [(speed, 0.0, 0.0) for speed in (*speeds, 0.0)]
    *walking, standing = record_gaits(policy, config, commands, robots, seed)
    traces = dict(zip(map(str, map(float, speeds)), walking, strict=True))
    return {
        "gait": {speed: walking_metrics(trace) for speed, trace in traces.items()},
        "standing": standing_metrics(standing),
        "motion": motion_record(traces),
    }


def walking_metrics(trace: GaitTrace) -> dict[str, float | None]:
    """Metrics of the robots that did not fall; None where they cannot be measured.

    - `fall_rate`: share of the robots that fell;
    - `stride_hz`: landings per second and foot;
    - `trot_index`, `pace_index`, `bound_index`, `pronk_index`: mean over the feet but the first of
      R cos(2 pi (phase - phase of that gait)), 1 for the exact gait; `phase_coherence` is the mean R
      (four-legged robots only);
    - `duty`: share of time in contact; `swing_height_m`: mean over swings of the highest point above the
      foot's median height in stance; `slip_m_s`: mean horizontal speed of feet in contact;
    - `velocity_m_s`, `lateral_bias_m_s`, `yaw_bias_rad_s`: mean velocities, base frame;
    - `base_height_m`, `pitch_rad`: means;
    - `power_above_8hz`: share of the variance of the actions at frequencies above 8 Hz;
    - `peak_torque`, `saturated_torque`: highest share of the torque limit, and share of time at it, of the
      joints that have a limit.
    """
    walked = trace.select(~trace.fell)
    fall_rate = float(trace.fell.mean())
    if not len(walked.fell):
        return {"fall_rate": fall_rate}
    contact = without_flicker(walked.contact)
    share = np.abs(walked.torque) / walked.torque_limit
    share = share[..., np.isfinite(walked.torque_limit)]
    forward, lateral, yaw_rate = walked.velocity.mean((0, 1)).tolist()
    return {
        "fall_rate": fall_rate,
        "stride_hz": landings(contact) / walked.duration,
        **_phase_metrics(contact),
        "duty": float(contact.mean()),
        "swing_height_m": swing_height(contact, walked.foot_height),
        "slip_m_s": float(walked.foot_speed[contact].mean()) if contact.any() else None,
        "velocity_m_s": forward,
        "lateral_bias_m_s": lateral,
        "yaw_bias_rad_s": yaw_rate,
        "base_height_m": float(walked.base_height.mean()),
        "pitch_rad": float(walked.pitch.mean()),
        "power_above_8hz": power_above(walked.action, walked.dt, _SMOOTH_HZ),
        "peak_torque": float(share.max()) if share.size else None,
        "saturated_torque": float((share >= _SATURATED).mean()) if share.size else None,
    }


def standing_metrics(trace: GaitTrace) -> dict[str, float | None]:
    """Metrics of the robots that did not fall under a command of zero.

    - `landings_per_s`: landings per second and foot;
    - `drift_m_s`, `drift_rad_s`: mean over robots of the net displacement and of the net turn over time;
    - `base_height_m`, `pitch_rad`: means; `fall_rate` as for walking.
    """
    stood = trace.select(~trace.fell)
    fall_rate = float(trace.fell.mean())
    if not len(stood.fell):
        return {"fall_rate": fall_rate}
    moved = np.linalg.norm(stood.position[-1] - stood.position[0], axis=1)
    turned = np.abs(stood.velocity[..., 2].mean(0))
    return {
        "fall_rate": fall_rate,
        "landings_per_s": landings(without_flicker(stood.contact)) / stood.duration,
        "drift_m_s": float(moved.mean() / stood.duration),
        "drift_rad_s": float(turned.mean()),
        "base_height_m": float(stood.base_height.mean()),
        "pitch_rad": float(stood.pitch.mean()),
    }


def without_flicker(contact: np.ndarray) -> np.ndarray:
    """Contacts [T, ...] bool without interruptions of a single control step."""
    closed = contact.copy()
    closed[1:-1] |= contact[:-2] & contact[2:]
    return closed


def landings(contact: np.ndarray) -> float:
    """Mean number of landings per foot and robot of [T, N, F] bool."""
    return float((contact[1:] & ~contact[:-1]).sum(0).mean())


def foot_phases(contact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Phase of each foot's landings within the strides of the first foot, which begin with its landings.

    Args:
        contact: [T, F] bool of one robot.

    Returns:
        circular mean [F] in [0, 1) and its resultant length R [F] (coherence, 0 to 1; 0 without strides).
    """
    times = [np.flatnonzero(foot[1:] & ~foot[:-1]) for foot in contact.T]
    mean = np.zeros(len(times), dtype=complex)
    for foot, landed in enumerate(times):
        stride = np.searchsorted(times[0], landed, side="right") - 1
        inside = (stride >= 0) & (stride < len(times[0]) - 1)
        if inside.any():
            begin, stop = times[0][stride[inside]], times[0][stride[inside] + 1]
            mean[foot] = np.exp(2j * np.pi * (landed[inside] - begin) / (stop - begin)).mean()
    return np.angle(mean) / (2 * np.pi) % 1.0, np.abs(mean)


def gait_index(phase: np.ndarray, coherence: np.ndarray, pattern: Sequence[float]) -> float:
    """Agreement of phases [F] with a gait's, from -1 to 1: mean of R cos(2 pi difference) over all feet but
    the first."""
    difference = 2 * np.pi * (phase - np.asarray(pattern))
    return float((coherence * np.cos(difference))[1:].mean())


def _phase_metrics(contact: np.ndarray) -> dict[str, float | None]:
    if contact.shape[2] != len(_GAITS["trot"]):
        return {}
    robots = [foot_phases(contact[:, robot]) for robot in range(contact.shape[1])]
    indices: dict[str, float | None] = {
        f"{name}_index": float(np.mean([gait_index(*robot, pattern) for robot in robots]))
        for name, pattern in _GAITS.items()
    }
    coherence = float(np.mean([r[1:] for _, r in robots]))
    return {**indices, "phase_coherence": coherence}


def swing_height(contact: np.ndarray, height: np.ndarray) -> float | None:
    """Mean over complete swings of the highest point [m] above the foot's median height in stance; None
    without a swing. Both [T, N, F]."""
    peaks: list[float] = []
    for robot, foot in np.ndindex(contact.shape[1:]):
        down, z = contact[:, robot, foot], height[:, robot, foot]
        lift = np.flatnonzero(down[:-1] & ~down[1:]) + 1
        land = np.flatnonzero(~down[:-1] & down[1:]) + 1
        for begin in lift:
            after = land[land > begin]
            if len(after):
                peaks.append(float(z[begin : after[0]].max() - np.median(z[down])))
    return float(np.mean(peaks)) if peaks else None


def power_above(signal: np.ndarray, dt: float, hz: float) -> float | None:
    """Share of the variance of [T, ...] at frequencies above `hz`; None for a constant signal."""
    power = np.abs(np.fft.rfft(signal - signal.mean(0), axis=0)) ** 2
    total = float(power.sum())
    above = np.fft.rfftfreq(len(signal), dt) > hz
    return float(power[above].sum()) / total if total > 0.0 else None
