"""MuJoCo's interactive viewer: the policy walks in real time until the window is closed."""

from __future__ import annotations

import math
import time

import mujoco
import mujoco.viewer
import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.evaluation.evaluator import evaluation_config
from legged_ppo.evaluation.rollout import on_device, rollout
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.recurrent_policy import RecurrentPolicy
from legged_ppo.viewer.cameras import CAMERAS
from legged_ppo.viewer.scene import build_render_model, pose_robot

_DISTANCE, _ELEVATION = 2.0, -20.0
"""m, deg of the camera, which tracks the robot"""


def view(
    policy: ActorCritic,
    config: Config,
    *,
    episodes: int | None,
    seconds: float | None = None,
    camera: str | None = None,
    command: tuple[float, float, float] | None,
    place: tuple[str, int] | None,
    seed: int,
    stochastic: bool,
) -> None:
    """Show one robot; ends after `episodes`, after `seconds` of its time or when the window is closed.

    Args:
        camera: name in `CAMERAS`, of the first view; the mouse moves on from there.
    """
    env = make_locomotion_env(evaluation_config(config), 1, seed)
    env.commands.fix(command)
    if place is not None:
        env.place(*env.terrain.place(*place))
    generator = torch.Generator(env.device).manual_seed(seed) if stochastic else None
    actor = RecurrentPolicy(on_device(policy, env.device), 1, env.device, generator)
    model = build_render_model(
        env.robot, env.terrain, (int(env.terrain_type[0]), int(env.terrain_level[0]))
    )
    data = mujoco.MjData(model)
    results, left = rollout(actor, env, env.start_episodes_together()), episodes
    with mujoco.viewer.launch_passive(model, data, show_left_ui=False) as window:
        window.cam.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        window.cam.trackbodyid = model.body(config.robot.base_body).id
        window.cam.distance, window.cam.elevation = _DISTANCE, _ELEVATION
        if camera is not None:
            style = CAMERAS[camera]
            window.cam.distance, window.cam.elevation = style.distance, style.elevation
            window.cam.azimuth = style.azimuth
        due = time.perf_counter()
        steps_left = math.inf if seconds is None else round(seconds / env.dt)
        while window.is_running() and left != 0 and steps_left > 0:
            next(results)
            steps_left -= 1
            if left is not None and bool(actor.starts.any()):
                left -= 1
            pose_robot(model, data, env.robot, env.simulator.state, 0)
            window.sync()
            due += env.dt
            time.sleep(max(due - time.perf_counter(), 0.0))
