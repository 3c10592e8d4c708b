"""A policy in the loop with a simulated robot: sensors, observation, graph, joint targets, physics."""

from __future__ import annotations

import math

import numpy as np

from legged_ppo.config.schema import CommandConfig
from legged_ppo.deploy.commands import Commands
from legged_ppo.deploy.observations import Observer, projected_gravity, yaw_of
from legged_ppo.deploy.policy_file import OnnxPolicy
from legged_ppo.deploy.scene import Tile
from legged_ppo.deploy.simulation import Simulation
from legged_ppo.errors import ConfigError


class Walker:
    """One robot that follows commands.

    Args:
        noise: source of the sensor noise of the training; None: none.
        source: name of the policy's file, for errors.
    """

    def __init__(
        self,
        policy: OnnxPolicy,
        simulation: Simulation,
        source: str,
        noise: np.random.Generator | None = None,
    ) -> None:
        self.policy, self.simulation = policy, simulation
        self.observer = Observer(policy.metadata, source, noise)
        self.dt = policy.metadata.dt
        self._least_gravity = -math.cos(policy.metadata.config["task"]["max_tilt"])
        self._config = command_config(policy.metadata.commands, source)
        self.restart(simulation.tiles[0], np.random.default_rng(0))

    def restart(
        self,
        tile: Tile,
        random: np.random.Generator,
        command: np.ndarray | None = None,
        *,
        drawn: bool = False,
    ) -> None:
        """Begin an episode on a tile.

        Args:
            command: [3], of the whole episode; None draws commands from `random` as training does.
            drawn: draw place, heading, pose and velocity too; else the robot stands in the tile's middle.
        """
        task = self.policy.metadata.config["task"]
        where, yaw, joints, velocity = (0.0, 0.0), 0.0, None, None
        if drawn:
            spread = task["randomization"]
            x, y = tile.spawn_radius * random.uniform(-1, 1, 2)
            where, yaw = (float(x), float(y)), float(random.uniform(-math.pi, math.pi))
            joints = spread["init_joint_pos"] * random.uniform(-1, 1, len(self.observer.action))
            velocity = spread["init_velocity"] * random.uniform(-1, 1, 6)
        self.sensors = self.simulation.reset(
            tile, offset=where, yaw=yaw, joint_offsets=joints, velocity=velocity
        )
        self.commands = Commands(self._config, self.dt, random, tile.terrain_type)
        if command is not None:
            self.commands.fix(command)
        self.commands.restart(self.yaw)
        self.observer.restart(random.integers(2) / 2)
        self.policy.restart()
        self.fell = False

    @property
    def yaw(self) -> float:
        """rad, heading of the robot"""
        return yaw_of(self.sensors.orientation)

    def act(self) -> None:
        """Observe, compute joint targets and let the physics run for one control step; the command stays."""
        groups = self.observer(self.sensors, self.commands.command)
        targets, action = self.policy.act(groups)
        sound = bool(np.isfinite(targets).all())
        if sound:
            self.simulation.step(targets)
        if not sound or self.simulation.blown_up:
            self.fell = True
            return
        self.sensors = self.simulation.sensors()
        self.observer.note(self.sensors, action)
        tilted = projected_gravity(self.sensors.orientation)[2] > self._least_gravity
        self.fell = bool(tilted) or self.simulation.touches_down


def command_config(values: dict[str, object], source: str) -> CommandConfig:
    """The section `task.commands` of the metadata.

    Raises:
        ConfigError: it has keys that this version does not know.
    """
    try:
        return CommandConfig(**values)  # type: ignore[arg-type]
    except TypeError as error:
        expected = f"a recipe of this version ({error})"
        raise ConfigError("commands", "damaged", expected, source=source) from None
