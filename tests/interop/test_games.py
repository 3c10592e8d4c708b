"""MiniGrid and Super Mario Bros. on our trainer, and successes that the environment's info tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import GymConfig
from legged_ppo.evaluation.returns import evaluate_returns
from legged_ppo.evaluation.task import task_of
from legged_ppo.interop.games import NoopStart
from legged_ppo.interop.gymnasium import GymnasiumEnv
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.training.run import train

ROOT = Path(__file__).resolve().parents[2]


class Coin(gymnasium.Env[Any, Any]):
    """Episodes of two steps without a reward, of which every second one succeeds."""

    observation_space = Box(-1.0, 1.0, (2,), np.float32)
    action_space = Discrete(2)

    def __init__(self) -> None:
        self.episode, self.count = -1, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        info = {"is_success": self.episode % 2 == 0, "steps": self.count}
        return np.zeros(2, np.float32), 0.0, self.count == 2, False, info


gymnasium.register("Coin-v0", entry_point=Coin)


def coins(num_envs: int, **settings: Any) -> GymnasiumEnv:
    return GymnasiumEnv(GymConfig(id="Coin-v0", **settings), num_envs, seed=1, gamma=0.99)


@pytest.mark.parametrize("processes", [False, True])
def test_the_info_of_the_last_step_tells_a_success(processes: bool) -> None:
    env = coins(3, success_info="is_success", processes=processes)
    env.reset()
    action = torch.eye(2)[[0, 1, 0]]
    found = [env.step(action).info for _ in range(4)]
    env.close()
    assert [info["success"].tolist() for info in found] == [
        [False] * 3,
        [True] * 3,
        [False] * 3,
        [False] * 3,
    ]
    assert [info["episode"][3] for info in found] == [0, 3, 0, 0]


def test_an_evaluation_counts_them() -> None:
    policy = ActorCritic({"observation": 2}, 2, load_config("gym/cartpole_ppo").policy)

    def make(num_envs: int, seed: int, device: torch.device) -> GymnasiumEnv:
        return coins(num_envs, success_info="is_success", success_return=1.0)

    assert evaluate_returns(policy, make, 6, 1)["overall"]["success_rate"] == 1.0

    def unsuccessful(num_envs: int, seed: int, device: torch.device) -> GymnasiumEnv:
        return coins(num_envs, success_return=1.0)

    assert evaluate_returns(policy, unsuccessful, 6, 1)["overall"]["success_rate"] == 0.0


def test_a_key_that_the_info_lacks_is_named_with_those_that_it_has() -> None:
    env = coins(2, success_info="succes")
    env.reset()
    env.step(torch.eye(2))
    with pytest.warns(UserWarning, match="success_info=succes: .* is_success, steps"):
        result = env.step(torch.eye(2))
    assert not result.info["success"].any()


def test_noops_at_the_start_make_episodes_differ_and_depend_on_the_seed() -> None:
    env = NoopStart(gymnasium.make("CartPole-v1"), most=5)
    first = [env.reset(seed=seed)[0] for seed in (1, 2, 1)]
    assert np.array_equal(first[0], first[2]) and not np.array_equal(first[0], first[1])
    steps = {env.reset(seed=seed) and env.unwrapped.steps_beyond_terminated for seed in range(5)}  # type: ignore[attr-defined]
    assert steps == {None}, "the pole stands at the start of every episode"


def test_minigrid_trains(tmp_path: Path) -> None:
    pytest.importorskip("minigrid")
    tiny = ["training.num_envs=2", "training.total_timesteps=512", "training.report=false"]
    tiny += ["training.evaluation_episodes=2", "training.wandb=disabled", "ppo.num_minibatches=2"]
    place = [f"training.log_dir={tmp_path}", "training.run_name=run"]
    recipe = ROOT / "configs" / "gym" / "minigrid_gru.yaml"
    config = load_config(recipe, [*tiny, *place, "gym.kwargs.task=MiniGrid-Empty-5x5-v0"])
    assert train(config, device="cpu") == tmp_path / "run"
    env = task_of(config).make_env(2, seed=1)
    assert env.obs_dims == {"observation": 147} and env.num_actions == 7


def test_mario_is_seen_in_gray_and_ends_by_the_flag() -> None:
    pytest.importorskip("gym_super_mario_bros")
    config = load_config(ROOT / "configs" / "gym" / "mario_gru.yaml", ["gym.processes=false"])
    env = task_of(config).make_env(2, seed=1)
    obs = env.reset()
    assert obs["image"].shape == (2, 1, 64, 64) and env.num_actions == 7
    right = torch.eye(7)[[1, 3]]
    rewards = sum(env.step(right).reward for _ in range(10))
    assert (rewards > 0).all(), "to go right is rewarded"
