"""Images of robots: a render model posed from the simulator's state, and a camera.

The model is compiled apart from the physics', with sky, light and the robot's visual geoms, so it
costs the simulation nothing and serves every simulator.
"""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np

from legged_ppo.robots.spec import RobotSpec
from legged_ppo.sim.simulator import SimState
from legged_ppo.terrain.grid import Terrain
from legged_ppo.viewer.arrows import add_arrow, heading_of, velocity_arrows
from legged_ppo.viewer.cameras import Camera

_SUN_POSITION = (-1.2, -1.6, 6.0)
"""Position [m] of the sun about the robot. It is a wide spotlight: under a directional light the
ground shades itself in stripes, with Mesa at least."""
_SUN_CUTOFF, _SHADOW_SHARE = 80.0, 0.25
"""Half angle [deg] of its cone, which lights all that is seen, and the share that has shadows."""
_VIEW_DISTANCE = 40.0
"""m"""
_ZENITH, _NADIR = [0.36, 0.56, 0.82], [0.90, 0.94, 0.97]
_MAX_GEOMS = 4000


def build_render_model(
    robot: RobotSpec, terrain: Terrain, place: tuple[int, int], width: int = 640, height: int = 480
) -> Any:
    """`MjModel` of robot, ground, sky and sun; its images have at most width x height pixels.

    The ground is the tile in column and row `place` and its copies around it, as a robot there meets it.
    """
    spec = robot.mjspec()
    terrain.add_endless(spec, *place)
    if terrain.tiles[place[0]][place[1]].patch is not None:
        spec.geom("ground").pos[2] -= 0.02  # else it flickers through the field's flat rim
    for ground in spec.worldbody.geoms:
        ground.group = 0  # else it has the group of the robot's default class, which may be hidden
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=_ZENITH,
        rgb2=_NADIR,
        width=256,
        height=256 * 6,
    )
    _add_lights(spec.body(robot.config.base_body))
    model = spec.compile()
    _set_quality(model.vis, width, height)
    model.stat.extent = 1.0  # clipping and shadow distances are in units of it
    return model


def _set_quality(visual: Any, width: int, height: int) -> None:
    visual.global_.offwidth, visual.global_.offheight = width, height
    visual.quality.shadowsize, visual.quality.offsamples = 1024, 0
    visual.headlight.ambient[:] = 0.45, 0.46, 0.48
    visual.headlight.diffuse[:] = 0.22, 0.22, 0.24
    visual.headlight.specular[:] = 0.05
    visual.rgba.haze[:3] = (np.array(_ZENITH) + _NADIR) / 2  # the sky's color at the horizon
    visual.map.znear, visual.map.zfar = 0.02, _VIEW_DISTANCE
    visual.map.shadowscale, visual.map.haze = _SHADOW_SHARE, 0.5


def _add_lights(base: Any) -> None:
    """A sun high above, so that a foot's height shows in its shadow, and a low light without
    shadows for the robot's sides."""
    base.add_light(
        name="sun",
        type=mujoco.mjtLightType.mjLIGHT_SPOT,
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM,
        pos=_SUN_POSITION,
        dir=[-x for x in _SUN_POSITION],
        cutoff=_SUN_CUTOFF,
        exponent=0.0,
        castshadow=True,
        diffuse=[0.62, 0.61, 0.57],
        specular=[0.3, 0.3, 0.3],
    )
    base.add_light(
        name="fill",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        mode=mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM,
        pos=[0.0, 0.0, 2.0],
        dir=[0.6, 0.7, -0.5],
        castshadow=False,
        diffuse=[0.28, 0.28, 0.30],
        specular=[0.1, 0.1, 0.1],
    )


def pose_robot(model: Any, data: Any, robot: RobotSpec, state: SimState, index: int) -> None:
    """Put the robot of a render model where robot `index` of the simulator is."""
    joints = [model.joint(name).id for name in robot.config.joints]
    data.qpos[:3] = state.base_pos[index].cpu().numpy()
    data.qpos[3:7] = state.base_quat[index].cpu().numpy()
    data.qpos[model.jnt_qposadr[joints]] = state.joint_pos[index].cpu().numpy()
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)


class RobotScene:
    """Renders robots of one environment; the first of `robots` is followed.

    Call `use_working_backend` first.

    Args:
        place: column and row of the tile that is shown.
        robots: indices of the robots in the simulator's state, all of them on that tile.
        frame_time: s between frames, for the camera's motion.
    """

    def __init__(
        self,
        robot: RobotSpec,
        terrain: Terrain,
        place: tuple[int, int],
        robots: list[int],
        *,
        width: int,
        height: int,
        frame_time: float,
        camera: Camera | None = None,
    ) -> None:
        self._robots, self._frame_time = robots, frame_time
        self._style = camera or Camera()
        self._model = build_render_model(robot, terrain, place, width, height)
        self._data = mujoco.MjData(self._model)
        self._robot = robot
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.elevation = self._style.distance, self._style.elevation
        self._option = mujoco.MjvOption()
        self._heading: float | None = None
        self._target: np.ndarray | None = None
        self._tile_size = terrain.config.tile_size
        self._renderer = mujoco.Renderer(self._model, height, width, max_geom=_MAX_GEOMS)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_HAZE] = True

    def frame(self, state: SimState, commands: np.ndarray | None = None) -> np.ndarray:
        """Image [height, width, 3] uint8 of the state.

        Args:
            commands: [N, 3] velocity commands of all robots, drawn as green arrows beside the blue
                ones of the actual velocity; None draws no arrows.
        """
        followed, *others = self._robots
        pose_robot(self._model, self._data, self._robot, state, followed)
        self._follow(state, followed)
        self._renderer.update_scene(self._data, self._camera, self._option)
        for robot in others:
            pose_robot(self._model, self._data, self._robot, state, robot)
            self._add_robot()
        if commands is not None:
            for robot in self._robots:
                self._add_arrows(state, robot, commands[robot])
        return self._renderer.render()

    def cut(self) -> None:
        """Let the camera jump to the robot in the next frame, as after a reset."""
        self._heading = self._target = None

    def close(self) -> None:
        self._renderer.close()

    def __enter__(self) -> RobotScene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add_robot(self) -> None:
        mujoco.mjv_addGeoms(
            self._model,
            self._data,
            self._option,
            mujoco.MjvPerturb(),
            int(mujoco.mjtCatBit.mjCAT_DYNAMIC),
            self._renderer.scene,
        )

    def _follow(self, state: SimState, robot: int) -> None:
        """Move the camera towards its place behind and beside the robot."""
        target = state.base_pos[robot].cpu().numpy().astype(np.float64) - (0.0, 0.0, 0.06)
        if self._target is not None:
            # Where the robot came in at the opposite edge of its tile, so does the camera.
            jump = np.round((target - self._target)[:2] / self._tile_size) * self._tile_size
            self._camera.lookat[:2] += jump
        self._target = target
        heading = heading_of(state.base_quat[robot].cpu().numpy())
        if self._heading is None:
            self._heading = heading
            self._camera.lookat[:] = target
        share = 1.0 - math.exp(-self._frame_time / self._style.follow_time)
        self._camera.lookat += share * (target - self._camera.lookat)
        share = 1.0 - math.exp(-self._frame_time / self._style.turn_time)
        self._heading += share * math.remainder(heading - self._heading, math.tau)
        self._camera.azimuth = math.degrees(self._heading) + self._style.azimuth

    def _add_arrows(self, state: SimState, robot: int, command: np.ndarray) -> None:
        base = state.base_pos[robot].cpu().numpy().astype(np.float64)
        quat = state.base_quat[robot].cpu().numpy()
        velocity = state.base_lin_vel[robot].cpu().numpy()
        for arrow in velocity_arrows(base, quat, command, velocity):
            add_arrow(self._renderer.scene, arrow)
