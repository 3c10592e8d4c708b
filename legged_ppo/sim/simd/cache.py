"""The compiled program of a robot, kept on disk."""

from __future__ import annotations

from pathlib import Path

from legged_ppo.runtime.lanes.object_code import cached_object
from legged_ppo.runtime.lanes.target import Target
from legged_ppo.sim.simd.program import Program, emit
from legged_ppo.sim.simd.readings import Wanted
from legged_ppo.sim.simd.robot import Robot
from legged_ppo.sim.simd.substep import Collide


def load_program(
    robot: Robot, wanted: Wanted, collide: Collide, lanes: int, target: Target
) -> Program:
    """The program of a robot: from the cache, or compiled and put there."""
    code = cached_object(
        (robot, wanted, collide.__name__, lanes),
        Path(__file__).parent.glob("*.py"),
        lambda: emit(robot, wanted, collide, lanes, target.triple),
        target,
    )
    return Program(code, target)
