"""The seam between robots and environments of other kinds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import legged_ppo
from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation import task
from legged_ppo.evaluation.evaluator import evaluate_policy, evaluation_config
from legged_ppo.evaluation.task import task_of
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.sim.mujoco_c import MujocoC
from legged_ppo.sim.simd.engine import Simd

PACKAGE = Path(legged_ppo.__file__).parent
READERS = {
    "config/schema/recipe.py": "the subject's name",
    "evaluation/task.py": "the seam",
    "interop/gymnasium.py": "its messages",
    "interop/images.py": "its messages",
    "interop/games.py": "its documentation",
    "cli/report.py": "names what --evaluate would import",
    "evaluation/trained_policy.py": "refuses what a checkpoint would import",
    "training/run.py": "refuses a best checkpoint that would import another environment",
    "config/validation.py": "excludes `environment` beside it",
}


def test_only_the_seam_branches_on_the_environment() -> None:
    """Other readers of `gym.id` are named above, with what they read it for."""
    texts = {path.relative_to(PACKAGE): path.read_text() for path in PACKAGE.rglob("*.py")}
    found = {str(path) for path, text in texts.items() if re.search(r"gym\.id\b", text)}
    assert found == set(READERS)


def test_robots_refuse_a_distribution_of_choices(config: Config) -> None:
    config.policy.distribution = "categorical"
    with pytest.raises(ConfigError, match=r"another distribution for the actions of go2"):
        task_of(config).make_env(1, seed=0)


def test_returns_are_not_evaluated_by_terrain() -> None:
    task = task_of(load_config("configs/gym/cartpole_novel_gru.yaml"))
    env = task.make_env(1, seed=0)
    policy = ActorCritic(env.obs_dims, env.num_actions, task.config.policy)
    with pytest.raises(ConfigError, match="terrain: got 'rough', expected left out for CartPole"):
        task.evaluate(policy, 1, seed=0, terrain="rough")


def test_robots_are_evaluated_on_the_terrain_asked_for(
    config: Config, make_policy: Callable[..., ActorCritic]
) -> None:
    config.task.episode_length_s = 0.1
    policy = make_policy(config)
    for level, wanted in ((None, {"0", "1"}), (1, {"1"})):
        result = task_of(config).evaluate(policy, 4, seed=0, terrain="rough", level=level)
        assert set(result["terrain"]["rough"]["levels"]) == wanted and len(result["terrain"]) == 1
    with pytest.raises(ConfigError, match="level: got 1, expected a terrain type beside it"):
        task_of(config).evaluate(policy, 4, seed=0, level=1)


def test_policies_trained_in_lanes_are_scored_on_mujoco_c(
    config: Config, make_policy: Callable[..., ActorCritic], monkeypatch: pytest.MonkeyPatch
) -> None:
    config.task.episode_length_s = 0.1
    config.sim.engine, seen = "simd", []

    def noting(policy: ActorCritic, used: Config, *rest: int) -> dict[str, Any]:
        seen.append(used.sim.engine)
        return evaluate_policy(policy, used, *rest)

    monkeypatch.setattr(task, "evaluate_policy", noting)
    score = task_of(config).score(make_policy(config), 4, seed=0)
    assert seen == ["mujoco_c"] and config.sim.engine == "simd"
    assert set(score.metrics)


def test_robots_train_in_lanes_and_are_evaluated_on_mujoco_c(config: Config) -> None:
    config.sim.engine = "auto"
    env = task_of(config).make_env(2, seed=0)
    assert isinstance(env.simulator, Simd)  # type: ignore[attr-defined]
    evaluated = make_locomotion_env(evaluation_config(config), 1, seed=0)
    assert isinstance(evaluated.simulator, MujocoC)
