"""The configuration schema: one dataclass per section, every field with its unit and meaning.

Values are in SI units and radians. A key that is not here is an error.
"""

from legged_ppo.config.schema.depth import DepthConfig
from legged_ppo.config.schema.distillation import DistillationConfig
from legged_ppo.config.schema.gym import GymConfig
from legged_ppo.config.schema.policy import PolicyConfig
from legged_ppo.config.schema.ppo import PPOConfig
from legged_ppo.config.schema.recipe import Config
from legged_ppo.config.schema.robot import RobotConfig
from legged_ppo.config.schema.sim import SimConfig
from legged_ppo.config.schema.task import (
    CommandConfig,
    GaitConfig,
    ObservationConfig,
    RandomizationConfig,
    RewardConfig,
    ScandotsConfig,
    TaskConfig,
)
from legged_ppo.config.schema.terrain import CurriculumConfig, TerrainConfig
from legged_ppo.config.schema.training import TrainingConfig

__all__ = [
    "CommandConfig",
    "Config",
    "CurriculumConfig",
    "DepthConfig",
    "DistillationConfig",
    "GaitConfig",
    "GymConfig",
    "ObservationConfig",
    "PPOConfig",
    "PolicyConfig",
    "RandomizationConfig",
    "RewardConfig",
    "RobotConfig",
    "ScandotsConfig",
    "SimConfig",
    "TaskConfig",
    "TerrainConfig",
    "TrainingConfig",
]
