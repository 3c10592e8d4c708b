"""Research code outside the package: `my_recipe.yaml`, beside this file, names these terms and their weights.

legged-ppo train --config examples/my_recipe.yaml
"""

from dataclasses import dataclass

import numpy as np
import torch

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.env.extension_groups import ObservationGroup
from legged_ppo.env.rewards import RewardInputs
from legged_ppo.interface import SignedPermutation
from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.terrain.tile import Box, Tile


class ActionJerk(OwnedState):
    """Reward: squared second difference of the actions. It keeps the last change, so it is a class."""

    owned = ("change",)

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.change = torch.zeros(num_envs, 12, device=device)

    def __call__(self, x: RewardInputs) -> torch.Tensor:
        change = x.action - x.last_action
        jerk = (change - self.change).square().sum(1)
        self.change.copy_(change)
        return jerk

    def reset(self, mask: torch.Tensor) -> None:
        self.change.masked_fill_(mask[:, None], 0.0)


def sits(x: RewardInputs) -> torch.Tensor:
    """Termination: the base is closer than 0.12 m to the ground."""
    return x.base_height < 0.12


@dataclass
class Bumps:
    """Terrain: bars across the tile, ahead of the robots and behind them, higher on each level."""

    config: TerrainConfig
    height: float = 0.05
    spawn_radius: float = 0.5

    def build(self, difficulty: float, rng: np.random.Generator) -> Tile:
        top = self.height * difficulty
        bars = [Box((x, -2.0, 0.0), (x + 0.3, 2.0, top)) for x in (-1.8, 1.5)]
        return Tile(bars, feature=f"{100 * top:.3g} cm")


FEET = SignedPermutation(torch.tensor([1, 0, 3, 2]), torch.ones(4))  # left <-> right
REWARDS = {"action_jerk": ActionJerk}
OBSERVATIONS = {"air_time": ObservationGroup(lambda x: x.air_time, width=4, mirror=FEET)}
TERRAINS = {"bumps": Bumps}
TERMINATIONS = {"sits": sits}
