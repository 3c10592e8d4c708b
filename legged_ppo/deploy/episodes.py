"""Episodes of an exported policy in plain MuJoCo, with the figures as evaluate.py defines them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from legged_ppo.deploy.walker import Walker
from legged_ppo.errors import UsageError
from legged_ppo.runtime.intervals import wilson_interval

_SOLVED_SHARE, _STANDING_PATH = 0.7, 0.5
"""Share of the commanded path [m] to be covered; commanded path [m] below which none need be."""
_STAY, _TURN_SLACK, _TURN_SHARE = 0.5, 0.6, 0.3
"""m from the start within which a robot that was to stand or to turn on the spot must end; rad, and share of the
commanded turn, by which its turn may be wrong."""


@dataclass(frozen=True)
class Episode:
    """The measurements of one episode."""

    terrain_type: str
    success: bool
    fell: bool
    seconds: float
    steps: int
    """Control steps before a fall, over which the sums run"""
    lin_vel_error: float
    """m/s, sum over the steps of |v_xy - command|"""
    yaw_rate_error: float
    """rad/s, sum over the steps of |w_z - command|"""


def run_episodes(
    walker: Walker, count: int, seed: int, command: np.ndarray | None = None
) -> list[Episode]:
    """Episodes shared out evenly over the tiles of the scene; the same seed gives the same ones.

    The robot is that of the scene file: masses, gains and friction are not drawn as in training.

    Args:
        command: [3] forward, lateral velocity [m/s], yaw rate [rad/s]; None draws commands as in training.

    Raises:
        UsageError: the recipe draws commands by an extension's sampler.
    """
    sampler = walker.policy.metadata.commands.get("sampler")
    if sampler and command is None:
        raise UsageError(
            f"the recipe draws commands by the extension's sampler {sampler!r}",
            "give --command VX,VY,YAW",
        )
    tiles = walker.simulation.tiles
    seeds = np.random.SeedSequence(seed).spawn(count)
    found = []
    for i, each in enumerate(seeds):
        tile = tiles[i % len(tiles)]
        walker.restart(tile, np.random.default_rng(each), command, drawn=True)
        found.append(_run(walker))
    return found


def _run(walker: Walker) -> Episode:
    task = walker.policy.metadata.config["task"]
    length = round(task["episode_length_s"] / walker.dt)
    sums = np.zeros(6)
    """As `_measure`."""
    start = walker.simulation.walked.copy()
    steps, begun = 0, 0
    while begun < length and not walker.fell:
        walker.act()
        begun += 1
        if walker.fell:
            break
        sums += _measure(walker)
        steps += 1
        walker.commands.step(walker.yaw)
    lin_vel_error, yaw_rate_error, *path_and_turn = sums.tolist()
    moved = float(np.linalg.norm(walker.simulation.walked - start))
    return Episode(
        walker.simulation.tile.terrain_type,
        not walker.fell and _obeyed(moved, *path_and_turn),
        walker.fell,
        begun * walker.dt,
        steps,
        lin_vel_error,
        yaw_rate_error,
    )


def _obeyed(moved: float, covered: float, commanded: float, turned: float, asked: float) -> bool:
    """Whether the commanded path [m] was covered; where it is none, whether the robot stayed and turned as asked.

    Args:
        moved: m, from start to end.
        turned: rad, beyond the commanded turn.
        asked: rad, sum of the sizes of the commanded turns.
    """
    if commanded >= _STANDING_PATH:
        return covered >= _SOLVED_SHARE * commanded
    return moved <= _STAY and abs(turned) <= _TURN_SLACK + _TURN_SHARE * asked


def _measure(walker: Walker) -> np.ndarray:
    """Of the step just made: tracking errors, covered and commanded path [m], turn beyond the commanded one and
    size of the commanded one [rad]."""
    commands, velocity = walker.commands, walker.simulation.velocity
    wanted = commands.command
    speed = float(np.linalg.norm(wanted[:2]))
    along = float(velocity[:2] @ wanted[:2]) / max(speed, 1e-6)
    covered = along * math.cos(walker.yaw - commands.course) * walker.dt
    turning = walker.sensors.angular_velocity[2] - wanted[2]
    errors = np.linalg.norm(velocity[:2] - wanted[:2]), abs(turning)
    turns = turning * walker.dt, abs(wanted[2]) * walker.dt
    return np.array([*errors, covered, speed * walker.dt, *turns])


def table(episodes: list[Episode]) -> list[str]:
    """Lines with the figures of all episodes and of each terrain type."""
    names = dict.fromkeys(episode.terrain_type for episode in episodes)
    rows = [("all", episodes)]
    if len(names) > 1:
        rows += [(name, [e for e in episodes if e.terrain_type == name]) for name in names]
    lines = [
        f"{'terrain':16} {'episodes':>8} {'success [95 %]':>20} {'velocity error':>15} "
        f"{'yaw rate error':>15} {'time to fall':>13}"
    ]
    for name, group in rows:
        low, high = wilson_interval(sum(e.success for e in group), len(group))
        steps = max(sum(e.steps for e in group), 1)
        rate = sum(e.success for e in group) / len(group)
        success = f"{rate:.3f} [{low:.2f}, {high:.2f}]"
        lines.append(
            f"{name:16} {len(group):8} {success:>20} "
            f"{sum(e.lin_vel_error for e in group) / steps:11.3f} m/s "
            f"{sum(e.yaw_rate_error for e in group) / steps:9.3f} rad/s "
            f"{sum(e.seconds for e in group) / len(group):11.1f} s"
        )
    return lines
