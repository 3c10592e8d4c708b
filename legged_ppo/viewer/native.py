"""MuJoCo's interactive viewer: the policy walks in real time and is driven by keys until the window is closed."""

from __future__ import annotations

import math
import queue
from typing import Any

import mujoco
import mujoco.viewer

from legged_ppo.config.schema import Config
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.viewer.arrows import add_arrow, velocity_arrows
from legged_ppo.viewer.cameras import CAMERAS
from legged_ppo.viewer.driving import Command
from legged_ppo.viewer.live import LiveRollout, Pace
from legged_ppo.viewer.scene import build_render_model, pose_robot

_DISTANCE, _ELEVATION = 2.0, -20.0
"""m, deg of the camera, which tracks the robot"""
_PUSH = 1.0
"""m/s"""
_KEYS = {
    265: "forward",
    264: "back",
    263: "turn left",
    262: "turn right",
    ord(","): "left",
    ord("."): "right",
    257: "stop",
    ord("/"): "push",
    259: "reset",
    32: "pause",
}
"""GLFW's codes. Letters and digits are taken: they switch MuJoCo's own drawing options."""
KEYS_HELP = (
    "keys: up and down drive, left and right turn, comma and full stop step sideways, Enter stops, "
    "/ pushes, Backspace resets, Space pauses"
)


def view(
    policy: ActorCritic,
    config: Config,
    *,
    episodes: int | None,
    seconds: float | None = None,
    camera: str | None = None,
    command: Command | None,
    place: tuple[str, int] | None,
    seed: int,
    stochastic: bool,
) -> None:
    """Show one robot; ends after `episodes`, after `seconds` of its time or when the window is closed.

    Args:
        episodes: None: only falls end episodes.
        camera: name in `CAMERAS`, of the first view; the mouse moves on from there.
    """
    live = LiveRollout(
        policy,
        config,
        command=command,
        place=place,
        seed=seed,
        stochastic=stochastic,
        endless=episodes is None,
    )
    env, left, paused = live.env, episodes, False
    model = build_render_model(
        env.robot, env.terrain, (int(env.terrain_type[0]), int(env.terrain_level[0]))
    )
    data = mujoco.MjData(model)
    pressed: queue.SimpleQueue[int] = queue.SimpleQueue()  # from the window's thread
    window = mujoco.viewer.launch_passive(
        model, data, key_callback=pressed.put, show_left_ui=False, show_right_ui=False
    )
    with window:
        _aim(window.cam, model.body(config.robot.base_body).id, camera)
        pace = Pace(env.dt)
        steps_left = math.inf if seconds is None else round(seconds / env.dt)
        while window.is_running() and left != 0 and steps_left > 0:
            while not pressed.empty():
                paused ^= _press(live, _KEYS.get(pressed.get(), ""))
            if not paused:
                live.step()
                steps_left -= 1
                if left is not None and bool(live.ended.any()):
                    left -= 1
            pose_robot(model, data, env.robot, env.simulator.state, 0)
            _draw_arrows(window, live)
            window.sync()
            pace.wait()


def _press(live: LiveRollout, action: str) -> bool:
    """Do what a key stands for; True where it pauses or goes on."""
    if action == "push":
        live.push(_PUSH)
    elif action == "reset":
        live.restart()
    elif action and action != "pause":
        live.command(live.driver.press(action))
    return action == "pause"


def _aim(view: Any, body: int, camera: str | None) -> None:
    view.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    view.trackbodyid = body
    view.distance, view.elevation = _DISTANCE, _ELEVATION
    if camera is not None:
        style = CAMERAS[camera]
        view.distance, view.elevation = style.distance, style.elevation
        view.azimuth = style.azimuth


def _draw_arrows(window: Any, live: LiveRollout) -> None:
    """Command and velocity of the robot, in the scene that the window adds to the model's."""
    state = live.env.simulator.state
    arrows = velocity_arrows(
        state.base_pos[0].cpu().numpy(),
        state.base_quat[0].cpu().numpy(),
        live.env.commands.command[0].cpu().numpy(),
        state.base_lin_vel[0].cpu().numpy(),
    )
    with window.lock():
        window.user_scn.ngeom = 0
        for arrow in arrows:
            add_arrow(window.user_scn, arrow)
