"""An image of one robot in its default pose on flat ground."""

from __future__ import annotations

from pathlib import Path

import mujoco
from PIL import Image

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.terrain.grid import build_terrain
from legged_ppo.viewer.gl_backend import use_working_backend
from legged_ppo.viewer.scene import build_render_model

_WIDTH, _HEIGHT = 640, 480


def render_portrait(robot: RobotSpec, path: Path, height: float) -> None:
    """Draw the robot with its base `height` m above the ground to a PNG.

    Raises:
        RenderingUnavailable: no OpenGL back end works on this machine.
    """
    use_working_backend()
    terrain = build_terrain(TerrainConfig(proportions={"flat": 1.0}, num_levels=1))
    model = build_render_model(robot, terrain, (0, 0), _WIDTH, _HEIGHT)
    data = mujoco.MjData(model)
    x, y, _ = terrain.origins[0, 0]
    start = model.jnt_qposadr[model.body(robot.config.base_body).jntadr[0]]
    data.qpos[start : start + 7] = float(x), float(y), height, 1.0, 0.0, 0.0, 0.0
    joints = [model.joint(name).id for name in robot.config.joints]
    data.qpos[model.jnt_qposadr[joints]] = robot.default_joint_pos
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.lookat[:] = float(x), float(y), 0.6 * height
    camera.distance, camera.azimuth, camera.elevation = 4.0 * height + 0.2, 130.0, -15.0
    with mujoco.Renderer(model, _HEIGHT, _WIDTH) as renderer:
        renderer.update_scene(data, camera)
        Image.fromarray(renderer.render()).save(path)
