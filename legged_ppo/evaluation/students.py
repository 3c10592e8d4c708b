"""A run of Phase 2 measured: teacher, student before and after its fine-tuning, and ablations of its sight.

All of them on the same robots, ground and commands, so that they are compared episode by episode.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation import sight
from legged_ppo.evaluation.evaluator import collect_episodes
from legged_ppo.evaluation.statistics import Episodes, ratio_figure, summarize_by_terrain
from legged_ppo.evaluation.tiles import restricted
from legged_ppo.evaluation.trained_policy import TrainedPolicy, load_policy
from legged_ppo.models.depth_encoder import DEPTH
from legged_ppo.runs.run_directory import RunDirectory, find_checkpoint

_log = logging.getLogger(__name__)

TEACHER = "teacher"


@dataclass(frozen=True)
class Contestant:
    """A policy, and how its sight is changed."""

    name: str
    policy: TrainedPolicy
    make_sight: Callable[[], sight.Sight] | None = None


def contestants_of(
    run: str | Path,
    others: Sequence[str] = (),
    overrides: Sequence[str] = (),
    *,
    device: str = "cpu",
    log_dir: str = "logs",
) -> list[Contestant]:
    """Who is measured, the teacher first: of a run of Phase 2, and the policies of `others` (a student without
    memory, a blind one) under its conditions.

    Args:
        run: its folder, a checkpoint in it, or "latest"; the student is its best checkpoint, or the named one.
        overrides: changes of the student's recipe, as in `load_policy`.

    Raises:
        ConfigError: a bad checkpoint, or a run that is not of Phase 2.
    """
    path = find_checkpoint(run, log_dir, "--phase2")
    folder = RunDirectory.of_checkpoint(path)
    if folder is None or not folder.teacher.is_file():
        raise ConfigError("--phase2", str(run), "a run of train_phase2.py, with its teacher.pth")
    student = load_policy(path, overrides, device=device)
    conditions = student.config

    def loaded(name: str, other: str | Path) -> Contestant:
        found = load_policy(other, overrides, device=device, log_dir=log_dir, conditions=conditions)
        return Contestant(name, found)

    found = [loaded(TEACHER, folder.teacher)]
    if folder.distilled.is_file():
        found.append(loaded("distilled", folder.distilled))
    found.append(Contestant("student", student))
    if DEPTH in student.network.obs_dims:
        found += [Contestant(name, student, make) for name, make in _ablations(conditions)]
    return found + [loaded(_label(other), other) for other in others]


def _ablations(config: Config) -> list[tuple[str, Callable[[], sight.Sight]]]:
    late = round(sight.DELAY / (config.sim.dt * config.sim.decimation))
    return [
        ("depth blanked", sight.blanked),
        ("depth of another", sight.of_another_robot),
        (f"depth {sight.DELAY:g} s late", lambda: sight.delayed(late)),
    ]


def _label(path: str) -> str:
    """The run's name of a checkpoint, else that of the file."""
    found = RunDirectory.of_checkpoint(Path(path)) if Path(path).is_file() else None
    return found.root.name if found else Path(path).stem


def measure(
    contestants: Sequence[Contestant],
    episodes: int,
    seed: int,
    *,
    terrain: str | None = None,
    level: int | None = None,
    stochastic: bool = False,
    by_cell: bool = False,
) -> dict[str, Any]:
    """Figures of every contestant, and its success relative to the first one's.

    Args:
        episodes, seed, stochastic, by_cell: as in `collect_episodes`.
        terrain, level: as in `Task.evaluate`.

    Returns:
        {name: {"overall", "terrain", ... as `summarize_by_terrain`, "relative_success": {TYPE or "overall":
        {"ratio": sum of its successes over the first one's, "ci95": interval over pairs of episodes}}}}; a ratio
        to no success is None.
    """
    result: dict[str, Any] = {}
    first: Episodes | None = None
    for each in contestants:
        _log.info("evaluating: %s", each.name)
        config, place = restricted(each.policy.config, terrain, level)
        found, ground = collect_episodes(
            each.policy.network,
            config,
            episodes,
            seed,
            place=place,
            stochastic=stochastic,
            by_cell=by_cell,
            make_sight=each.make_sight,
        )
        first = found if first is None else first
        groups = {"overall": np.ones(len(found), dtype=bool)}
        groups |= {name: found.terrain_type == i for i, name in enumerate(ground.types)}
        relative = {
            name: _relative(found.success[mask], first.success[mask])
            for name, mask in groups.items()
            if mask.any()
        }
        result[each.name] = summarize_by_terrain(found, ground) | {"relative_success": relative}
    return result


def _relative(success: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    ratio, interval = ratio_figure(success.astype(np.float64), reference.astype(np.float64))
    return {"ratio": ratio, "ci95": interval}
