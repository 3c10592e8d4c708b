"""The terrain curriculum: every robot's level, moved at the end of each of its episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from legged_ppo.config.schema import CurriculumConfig
from legged_ppo.runtime import distributed
from legged_ppo.runtime.owned_state import OwnedState

_SOLVED_PROGRESS = 0.7
"""Share of the commanded path that a solved episode covers."""
_STANDING_PATH = 0.5
"""Commanded path [m] of an episode below which no progress is asked for."""
_FRONTIER_RATE = 0.5
"""Solve rate from which a level counts as reached."""
_FRONTIER_EPISODES = 10
"""Episodes from which a solve rate is believed."""


@dataclass
class EpisodeOutcome:
    """The episodes that N robots are in, [N] each; what counts is that of the robots that ended."""

    progress: torch.Tensor
    """m along the command, over all commands of the episode"""
    commanded: torch.Tensor
    """m that the commands asked for in that time"""
    farthest: torch.Tensor
    """m, largest distance from the start along x or y"""
    fell: torch.Tensor
    """bool"""
    share: torch.Tensor
    """how much of the full episode length has passed, in [0, 1]"""

    @property
    def solved(self) -> torch.Tensor:
        """[N] bool, no fall and at least 70 % of the commanded path."""
        return ~self.fell & covered_path(self.progress, self.commanded)


def covered_path(progress: torch.Tensor, commanded: torch.Tensor) -> torch.Tensor:
    """Whether robots covered 70 % of their commanded paths [m]; paths under 0.5 m (standing, turning
    on the spot) ask for nothing."""
    return (progress >= _SOLVED_PROGRESS * commanded) | (commanded < _STANDING_PATH)


class TerrainCurriculum(OwnedState):
    """Levels of N robots and the solve rates by type and level.

    Rules, at the end of an episode:

    - `progress`: up for at least `promote` of the commanded path, without a fall; down for less than
      `demote` of the path that the whole episode would have asked for. The path is integrated over all
      commands, unlike in legged_gym, whose demotion looks at the last one only.
    - `success`: up for a solved episode, down for one that is not.
    - `none`: levels stay.

    To go up, a robot must also have been `distance` away from its start, so that circles on the flat
    middle of a tile count for nothing. A robot that would go above the last level gets a random one.
    """

    owned = ("types", "levels", "solve_rate", "episodes")

    def __init__(
        self, config: CurriculumConfig, types: torch.Tensor, levels: torch.Tensor, shape: torch.Size
    ) -> None:
        self.config, self.types, self.levels = config, types, levels
        self.solve_rate = torch.zeros(shape, device=types.device)
        """[types, levels], over the last `window` episodes or so"""
        self.episodes = torch.zeros(shape, device=types.device)
        """[types, levels], episodes that ended"""

    def update(
        self, ended: torch.Tensor, outcome: EpisodeOutcome, generator: torch.Generator
    ) -> None:
        """Count the ended episodes [N] bool and move those robots' levels."""
        self._count(ended, outcome.solved)
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

    def metrics(self, names: list[str]) -> dict[str, torch.Tensor]:
        """Mean level, frontier level and solve rate of each type, and the mean level overall.

        The frontier is the highest level whose solve rate over ten episodes or more is at least one half,
        -1 if there is none; unlike the mean it does not fall when robots that solved the last level are
        spread again.
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
        """The matrix of types and levels as plain lists, over all ranks, each of which must ask: solve
        rates (None where nobody has been; ranks weigh by their episodes), episodes that ended, and where
        the robots are now."""
        cells = self.types * self.solve_rate.shape[1] + self.levels
        robots = distributed.sum_(torch.bincount(cells, minlength=self.solve_rate.numel()))
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
        """Take every `shares`-th robot, from the `share`-th on, of curricula of which this one is a part."""
        types, levels = (
            torch.cat([state[name] for state in states])[share::shares]
            for name in ("types", "levels")
        )
        order = types.argsort(stable=True)  # as `Terrain.assign` has them
        self.types.copy_(types[order])
        self.levels.copy_(levels[order])
        counts = torch.stack([state["episodes"] for state in states])
        rates = torch.stack([state["solve_rate"] for state in states])
        total = counts.sum(0)
        self.solve_rate.copy_((rates * counts).sum(0) / total.clamp(min=1.0))
        self.episodes.copy_(total / shares)

    def _moves(self, outcome: EpisodeOutcome) -> tuple[torch.Tensor, torch.Tensor]:
        if self.config.rule == "success":
            return outcome.solved, ~outcome.solved
        up = ~outcome.fell & (outcome.progress >= self.config.promote * outcome.commanded)
        # A fall cuts the path short; held against the whole episode's it counts as little progress.
        whole = outcome.commanded / torch.where(outcome.fell, outcome.share, 1.0).clamp(min=1e-3)
        down = (outcome.progress < self.config.demote * whole) & (whole > _STANDING_PATH)
        return up & ~down, down

    def _count(self, ended: torch.Tensor, solved: torch.Tensor) -> None:
        """Move the solve rates towards the ended episodes', by 1 / window for each."""
        cells = self.types * self.solve_rate.shape[1] + self.levels
        new, wins = torch.zeros(2, self.solve_rate.numel(), device=cells.device)
        new.index_add_(0, cells, ended.float())
        wins.index_add_(0, cells, (ended & solved).float())
        new, wins = new.view_as(self.episodes), wins.view_as(self.episodes)
        self.episodes += new
        recent = 1.0 - (1.0 - 1.0 / self.config.window) ** new
        weight = torch.maximum(recent, new / self.episodes.clamp(min=1.0))
        weight = torch.where(new > 0, weight, 0.0)
        self.solve_rate.lerp_(wins / new.clamp(min=1.0), weight)
