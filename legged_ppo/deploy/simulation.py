"""One robot in plain MuJoCo: joint targets in, sensor readings out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from legged_ppo.config.schema import RobotConfig, SimConfig
from legged_ppo.deploy.camera import Camera
from legged_ppo.deploy.metadata import Metadata
from legged_ppo.deploy.observations import Sensors, yaw_of
from legged_ppo.deploy.robot_figures import check_robot, figures_of
from legged_ppo.deploy.scene import Tile, read_tiles
from legged_ppo.errors import ConfigError
from legged_ppo.robots.spec import load_robot
from legged_ppo.sim.model import FOOT, TERMINATION, build_model, sensor_columns

_ROBOT_GROUP, _GROUND_GROUP = 4, 5
"""Groups of the geoms, which tell a ray the ground from the robot."""
_RAY_START = 5.0
"""Height [m] above the base from which rays look down at the ground."""
_FOOT_REACH = 0.1
"""Distance [m] from its place in the default pose within which a foot may begin, as in training."""


class Simulation:
    """A robot on the ground of a scene file, with the PD gains and the physics settings of its training.

    Args:
        metadata: of the policy.
        scene: MJCF with the robot and the ground.
        policy: name of the policy's file, for errors.
        noise: source of a depth camera's noise; None: none.

    Raises:
        ConfigError: the scene has another robot than the metadata, or no ground.
    """

    def __init__(
        self,
        metadata: Metadata,
        scene: Path,
        policy: str,
        noise: np.random.Generator | None = None,
    ) -> None:
        config = _section(RobotConfig, metadata.config["robot"] | {"mjcf": str(scene)}, policy)
        self.sim = _section(SimConfig, metadata.config["sim"], policy)
        robot = load_robot(config)
        check_robot(metadata.robot, figures_of(robot), policy, str(scene))
        solid = _solid_ground(robot.mjspec())
        if not solid:
            raise ConfigError("--scene", str(scene), "an MJCF with ground beside the robot")
        self.model = model = build_model(robot, lambda spec: _make_solid(spec, solid), self.sim)
        self.data = mujoco.MjData(model)
        self.tiles = read_tiles(model, scene)
        self.tile = self.tiles[0]
        self.scene = scene
        self._default, self._spawn_height = robot.default_joint_pos, config.spawn_height
        self._points = np.array(metadata.scandots).reshape(-1, 2)
        joints = [model.joint(name).id for name in config.joints]
        self._qpos, self._qvel = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        self._ends = np.array([c[0] for c in sensor_columns(model, TERMINATION)], dtype=int)
        names = [f"{FOOT}{name}:force" for name in config.foot_geoms]
        self._forces = np.array([sensor_columns(model, name)[0] for name in names])
        self._feet = [model.geom(name).id for name in config.foot_geoms]
        model.geom_group[:] = np.where(model.geom_bodyid == 0, _GROUND_GROUP, _ROBOT_GROUP)
        self._rays = np.zeros(mujoco.mjNGROUP, dtype=np.uint8)
        self._rays[_GROUND_GROUP] = 1
        self._camera = Camera(metadata.camera, metadata.dt, noise) if metadata.camera else None
        self.walked = np.zeros(2)
        """[2] m, position without the jumps at the tile's edges"""

    def reset(
        self,
        tile: Tile,
        *,
        offset: tuple[float, float] = (0.0, 0.0),
        yaw: float = 0.0,
        joint_offsets: np.ndarray | None = None,
        velocity: np.ndarray | None = None,
    ) -> Sensors:
        """Put the robot on a tile in its default pose, raised so that no foot begins in the ground.

        Args:
            offset: m, from the tile's origin.
            joint_offsets: [J] rad, added to the default pose.
            velocity: [6] m/s in the world, rad/s in the base frame.
        """
        model, data = self.model, self.data
        self.tile = tile
        mujoco.mj_resetData(model, data)
        data.qpos[:2] = np.add(tile.origin[:2], offset)
        data.qpos[3:7] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)
        data.qpos[self._qpos] = self._default
        mujoco.mj_kinematics(model, data)
        around = [-_FOOT_REACH, 0.0, _FOOT_REACH]
        points = [data.qpos[:2]]
        for foot in self._feet:
            points += [data.geom_xpos[foot, :2] + (x, y) for x in around for y in around]
        data.qpos[2] = 0.0  # rays start above the base
        data.qpos[2] = self._spawn_height + max(self._ground(np.array(points)))
        if joint_offsets is not None:
            data.qpos[self._qpos] += joint_offsets
        if velocity is not None:
            data.qvel[:6] = velocity
        data.ctrl[:] = self._default
        mujoco.mj_forward(model, data)
        self.walked = data.qpos[:2].copy()
        if self._camera:
            self._camera.restart()
        return self.sensors()

    def step(self, targets: np.ndarray) -> None:
        """One control step with joint targets [J] rad; a robot that leaves its tile enters opposite."""
        before = self.data.qpos[:2].copy()
        self.data.ctrl[:] = targets
        mujoco.mj_step(self.model, self.data, nstep=self.sim.decimation)
        self.walked = self.walked + (self.data.qpos[:2] - before)
        if math.isfinite(self.tile.size):
            local = (self.data.qpos[:2] - self.tile.origin[:2]) / self.tile.size
            self.data.qpos[:2] -= np.round(local) * self.tile.size

    def sensors(self) -> Sensors:
        """What the robot's sensors read, once a control step; the height sensor is ideal."""
        data, camera = self.data, self._camera
        return Sensors(
            orientation=data.qpos[3:7].copy(),
            angular_velocity=data.qvel[3:6].copy(),
            joint_pos=data.qpos[self._qpos],
            joint_vel=data.qvel[self._qvel],
            foot_force=np.linalg.norm(data.sensordata[self._forces], axis=1),
            clearance=self._clearance(),
            depth=camera(self.model, data, self._rays) if camera else np.zeros(0),
        )

    @property
    def velocity(self) -> np.ndarray:
        """[3] m/s of the base in its own frame, which no sensor reads; for figures alone."""
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, self.data.qpos[3:7])
        return self.data.qvel[:3] @ rotation.reshape(3, 3)

    @property
    def touches_down(self) -> bool:
        """A termination body touches the ground."""
        return bool((self.data.sensordata[self._ends] > 0).any())

    @property
    def blown_up(self) -> bool:
        """The state is not finite or too fast, as the training's engine counts it."""
        sound = np.abs(self.data.qvel).max() < self.sim.max_velocity
        return not (sound and np.isfinite(self.data.qpos).all())

    def _clearance(self) -> np.ndarray:
        if len(self._points) == 0:
            return np.zeros(0)
        yaw = yaw_of(self.data.qpos[3:7])
        turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        return self.data.qpos[2] - self._ground(self.data.qpos[:2] + self._points @ turn.T)

    def _ground(self, points: np.ndarray) -> np.ndarray:
        """Height [P] m of the ground at points [P, 2] m of the endless tile; 0 where there is none."""
        if math.isfinite(self.tile.size):
            corner = np.array(self.tile.origin[:2]) - self.tile.size / 2
            points = corner + (points - corner) % self.tile.size
        top = self.data.qpos[2] + _RAY_START
        down, hit = np.array([0.0, 0.0, -1.0]), np.zeros(1, dtype=np.int32)
        heights = np.zeros(len(points))
        for i, (x, y) in enumerate(points):
            start = np.array([x, y, top])
            depth = mujoco.mj_ray(self.model, self.data, start, down, self._rays, 1, -1, hit)
            if depth >= 0.0:
                heights[i] = top - depth
        return heights


def _section(kind: type, values: dict[str, object], policy: str) -> Any:
    """A section of the recipe from its values.

    Raises:
        ConfigError: it has keys that this version does not know.
    """
    try:
        return kind(**values)
    except TypeError as error:
        expected = f"a recipe of this version ({error})"
        raise ConfigError("config", kind.__name__, expected, source=policy) from None


def _solid_ground(spec: mujoco.MjSpec) -> list[int]:
    """Indices of the world's geoms that collide."""
    geoms = enumerate(spec.worldbody.geoms)
    return [i for i, geom in geoms if geom.contype or geom.conaffinity]


def _make_solid(spec: mujoco.MjSpec, solid: list[int]) -> None:
    """Let the ground collide with the robot, as the terrain does that the package makes."""
    geoms = list(spec.worldbody.geoms)
    for i in solid:
        geoms[i].contype, geoms[i].conaffinity = 1, 0
