"""The physics on float64 arrays against MuJoCo C: equal to rounding, when both solve to the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import mujoco
import numpy as np
import pytest
from motions import MOTIONS, contacts, moment
from odd_robot import odd_robot
from reference_physics import constants, differences

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import RobotSpec, load_robot
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simd.parameters import Parameters
from legged_ppo.terrain.grid import build_terrain

ROBOTS = 12
STANDING = np.tile([0.0, 0.0, 0.33], (ROBOTS, 1))


def exact_model(spec: RobotSpec, integrator: str) -> mujoco.MjModel:
    """The model on the plane; its solver goes on until rounding ends it."""
    plane = build_terrain(TerrainConfig())
    config = SimConfig(integrator=integrator, iterations=100, ls_iterations=50, tolerance=0.0)
    return build_model(spec, partial(plane.add_to, column=0), config)


@pytest.fixture(scope="module")
def go2(robot_config: Callable[[str], RobotConfig]) -> RobotSpec:
    return load_robot(robot_config("go2"))


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
@pytest.mark.parametrize("motion", MOTIONS)
def test_velocities_equal_mujocos(go2: RobotSpec, motion: str, integrator: str) -> None:
    model = exact_model(go2, integrator)
    start = moment(model, go2.default_joint_pos, motion, STANDING)
    if motion == "walk":
        assert (contacts(model, start) > 0).any()
    for substeps in (1, 5, 20):
        assert differences(model, go2, start, substeps).max() < 1e-9


def test_inverse_weights_equal_mujocos(go2: RobotSpec) -> None:
    model = exact_model(go2, "euler")
    robot = constants(model, go2)
    nominal = Parameters(model, robot, go2).nominal(1)
    bodies = [model.body_invweight0[c.body, 0] for c in robot.colliders]
    np.testing.assert_allclose(nominal["collider_invweight"][0], bodies, rtol=1e-10)
    np.testing.assert_allclose(nominal["joint_invweight"][0], model.dof_invweight0[6:], rtol=1e-10)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
@pytest.mark.parametrize("motion", ["stand", "fall"])
def test_a_robot_of_unequal_legs_and_odd_frames_equals_mujocos(
    robot_config: Callable[[str], RobotConfig], tmp_path: Path, motion: str, integrator: str
) -> None:
    odd = odd_robot(robot_config("go2"), tmp_path)
    model = exact_model(odd, integrator)
    pose = np.array([0.1, 0.3, 0.1, 0.0])  # in the model's order
    start = moment(model, pose, motion, STANDING + np.array([0.0, 0.0, 0.1]))
    assert (contacts(model, start) > 0).any()
    for substeps in (1, 20):
        assert differences(model, odd, start, substeps).max() < 1e-9
