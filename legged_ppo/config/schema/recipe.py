"""The whole recipe: one dataclass per section."""

from __future__ import annotations

from dataclasses import dataclass, field

from legged_ppo.config.schema.bounds import names
from legged_ppo.config.schema.distillation import DistillationConfig
from legged_ppo.config.schema.gym import GymConfig
from legged_ppo.config.schema.policy import PolicyConfig
from legged_ppo.config.schema.ppo import PPOConfig
from legged_ppo.config.schema.robot import RobotConfig
from legged_ppo.config.schema.sim import SimConfig
from legged_ppo.config.schema.task import TaskConfig
from legged_ppo.config.schema.terrain import TerrainConfig
from legged_ppo.config.schema.training import TrainingConfig


@dataclass
class Config:
    """A whole recipe."""

    robot: RobotConfig = field(default_factory=RobotConfig)
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    sim: SimConfig = field(default_factory=SimConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    gym: GymConfig = field(default_factory=GymConfig)
    extensions: list[str] = names([])
    """Modules with rewards, observation groups, terminations, terrain types, command samplers, environments and
    callbacks of your own (docs/extending.md)."""
    environment: str = ""
    """Environment of the extensions that is trained on; empty: `LocomotionEnv`."""

    @property
    def subject(self) -> str:
        """What is trained: the Gymnasium environment, the extensions' environment, or the robot."""
        return self.gym.id or self.environment or self.robot.name
