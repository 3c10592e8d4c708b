"""The terrain curriculum: the level of each robot, updated at the end of each episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from legged_ppo.config.schema import CurriculumConfig
from legged_ppo.runtime import distributed
from legged_ppo.runtime.owned_state import OwnedState

_SOLVED_SHARE = 0.7
"""Share of the commanded path that a solved episode covers."""
STANDING_PATH = 0.5
"""Commanded path [m] of an episode below which no distance is required."""
_FRONTIER_RATE = 0.5
"""Solve rate from which a level counts as reached."""
_FRONTIER_EPISODES = 10
"""Episodes below which a solve rate is not used for the frontier."""


@dataclass
class EpisodeOutcome:
    """Statistics of the current episodes of N robots, [N] each; read for the robots whose episode ended."""

    path_distance: torch.Tensor
    """m covered along the commanded path, over all commands of the episode"""
    commanded: torch.Tensor
    """m, length of the commanded path over the same time"""
    farthest: torch.Tensor
    """m, largest distance from the start along x or y"""
    fell: torch.Tensor
    """bool, the episode ended by a fall"""
    share: torch.Tensor
    """elapsed share of the full episode length, in [0, 1]"""

    @property
    def solved(self) -> torch.Tensor:
        """[N] bool, no fall and at least 70 % of the commanded path."""
        return ~self.fell & covered_path(self.path_distance, self.commanded)


def covered_path(path_distance: torch.Tensor, commanded: torch.Tensor) -> torch.Tensor:
    """Whether robots covered at least 70 % of their commanded paths [m]. Paths under 0.5 m (standing,
    turning on the spot) count as covered."""
    return (path_distance >= _SOLVED_SHARE * commanded) | (commanded < STANDING_PATH)


class TerrainCurriculum(OwnedState):
    """The levels of N robots, and the solve rate of each (terrain type, level).

    Rules, at the end of an episode:

    - `progress`: up if the robot covered at least `promote` of the commanded path without a fall; down if
      it covered less than `demote` of the commanded path of a full episode. The path is integrated over
      all commands; legged_gym's demotion uses the last command only.
    - `success`: up after a solved episode, down after any other.
    - `none`: levels are constant.

    A promotion also requires that the robot has been `distance` [m] away from its start, so that circles
    on the flat middle of a tile do not count. A robot promoted beyond the last level gets a random one.
    """

    owned = ("types", "levels", "solve_rate", "episodes")

    def __init__(
        self, config: CurriculumConfig, types: torch.Tensor, levels: torch.Tensor, shape: torch.Size
    ) -> None:
        self.config, self.types, self.levels = config, types, levels
        self.solve_rate = torch.zeros(shape, device=types.device)
        """[types, levels], exponential average over about `window` episodes"""
        self.episodes = torch.zeros(shape, device=types.device)
        """[types, levels], number of ended episodes"""

    def move(
        self, ended: torch.Tensor, outcome: EpisodeOutcome, generator: torch.Generator
    ) -> None:
        """Update the levels of the robots whose episodes ended, [N] bool."""
        if self.config.rule == "none":
            return
        up, down = self._moves(outcome)
        up &= outcome.farthest >= self.config.distance
        highest = self.solve_rate.shape[1] - 1
        moved = self.levels + up.long() - down.long()
        drawn = torch.rand(moved.shape, generator=generator, device=moved.device)
        anywhere = (drawn * (highest + 1)).long().clamp(max=highest)
        moved = torch.where(moved > highest, anywhere, moved.clamp(min=0))
        torch.where(ended, moved, self.levels, out=self.levels)

    def counted(
        self, ended: torch.Tensor, solved: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What `count` adds up: each robot's tile [N] int64, and whether its episode ended and whether it was
        solved [2, N]."""
        index = self.types * self.solve_rate.shape[1] + self.levels
        return index, torch.stack([ended, ended & solved]).float()

    def count(self, tile: torch.Tensor, ended: torch.Tensor) -> None:
        """Update the solve rates with the ended episodes, each with weight 1 / window; see `counted`."""
        sums = torch.zeros(2, self.solve_rate.numel(), device=tile.device)
        new, wins = sums.index_add_(1, tile, ended).view(2, *self.episodes.shape)
        self.episodes += new
        recent = 1.0 - (1.0 - 1.0 / self.config.window) ** new
        weight = torch.maximum(recent, new / self.episodes.clamp(min=1.0))  # 0 without new ones
        self.solve_rate.lerp_(wins / new.clamp(min=1.0), weight)

    def metrics(self, names: list[str]) -> dict[str, torch.Tensor]:
        """Mean level, frontier level and solve rate of each type, and the mean level overall.

        The frontier is the highest level with a solve rate of at least 0.5 over at least ten episodes, or
        -1. Unlike the mean level, it does not drop when robots that solved the last level get random ones.
        """
        metrics = {"Curriculum/mean_level": self.levels.float().mean()}
        numbers = torch.arange(self.solve_rate.shape[1], device=self.levels.device)
        for i, name in enumerate(names):
            here = self.types == i
            count = here.sum().clamp(min=1)
            rates = self.solve_rate[i]
            metrics[f"Curriculum/level_{name}"] = (self.levels * here).sum() / count
            reached = (rates >= _FRONTIER_RATE) & (self.episodes[i] >= _FRONTIER_EPISODES)
            frontier = torch.where(reached, numbers, -1).max()
            metrics[f"Curriculum/frontier_{name}"] = frontier.float()
            solve = torch.where(here, rates[self.levels], 0.0).sum() / count
            metrics[f"Curriculum/solve_{name}"] = solve
        return metrics

    def report(self, names: list[str]) -> dict[str, Any]:
        """Solve rates (None without episodes), ended episodes and present robots of each (terrain type,
        level), as nested lists [types][levels].

        Sums over all ranks, weighting solve rates by episodes; every rank must call it.
        """
        index = self.types * self.solve_rate.shape[1] + self.levels
        robots = distributed.sum_(torch.bincount(index, minlength=self.solve_rate.numel()))
        solved = distributed.sum_(self.solve_rate * self.episodes)
        episodes = distributed.sum_(self.episodes.clone())
        rates = (solved / episodes).tolist()  # 0 / 0 is NaN
        return {
            "types": names,
            "solve_rate": [[None if r != r else round(r, 4) for r in row] for row in rates],
            "episodes": episodes.round().long().tolist(),
            "robots": robots.view_as(self.solve_rate).tolist(),
        }

    def load_share(self, states: list[dict[str, torch.Tensor]], share: int, shares: int) -> None:
        """Load this rank's part of the curricula of another number of ranks: every `shares`-th robot from
        the `share`-th on, with the statistics of all. Of another number of robots, each type's robots take
        levels that are spread like theirs."""
        types, levels = (
            torch.cat([state[name] for state in states])[share::shares]
            for name in ("types", "levels")
        )
        if len(types) == len(self.types):
            order = types.argsort(stable=True)  # the order of `Terrain.assign`
            self.types.copy_(types[order])
            self.levels.copy_(levels[order])
        else:
            self._spread(types, levels)
        counts = torch.stack([state["episodes"] for state in states])
        rates = torch.stack([state["solve_rate"] for state in states])
        total = counts.sum(0)
        self.solve_rate.copy_((rates * counts).sum(0) / total.clamp(min=1.0))
        self.episodes.copy_(total / shares)

    def _spread(self, types: torch.Tensor, levels: torch.Tensor) -> None:
        """Give the robots of each type levels at even ranks among those of other robots [M] of that type."""
        for column in types.unique():
            given, own = levels[types == column].sort().values, self.types == column
            count = int(own.sum())
            ranks = (torch.arange(count, device=own.device) + 0.5) * len(given) / max(count, 1)
            self.levels[own] = given[ranks.long()]

    def _moves(self, outcome: EpisodeOutcome) -> tuple[torch.Tensor, torch.Tensor]:
        if self.config.rule == "success":
            return outcome.solved, ~outcome.solved
        up = ~outcome.fell & (outcome.path_distance >= self.config.promote * outcome.commanded)
        # A fall cuts the commanded path short; extrapolating it to a full episode demotes after falls.
        whole = outcome.commanded / torch.where(outcome.fell, outcome.share, 1.0).clamp(min=1e-3)
        down = (outcome.path_distance < self.config.demote * whole) & (whole > STANDING_PATH)
        return up & ~down, down
