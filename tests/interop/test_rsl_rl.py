"""rsl_rl's own runner trains on our environment."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from rsl_rl.runners import OnPolicyRunner

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_env
from legged_ppo.interop.rsl_rl import RslRlEnv

ROBOTS, STEPS, ITERATIONS = 64, 16, 50
MODEL = {
    "class_name": "MLPModel",
    "hidden_dims": [64, 32],
    "activation": "elu",
    "obs_normalization": True,
}
RUNNER: dict[str, Any] = {
    "num_steps_per_env": STEPS,
    "save_interval": 1000,
    "obs_groups": {
        "actor": ["proprioception", "commands"],
        "critic": ["proprioception", "commands", "privileged"],
    },
    "actor": {
        **MODEL,
        "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 1.0},
    },
    "critic": MODEL,
    "algorithm": {
        "class_name": "PPO",
        "num_learning_epochs": 3,
        "num_mini_batches": 2,
        "learning_rate": 1e-3,
        "schedule": "adaptive",
        "desired_kl": 0.015,
    },
}


@pytest.fixture
def env() -> RslRlEnv:
    # To stand still is learned at once.
    easy = ["task.commands.standing_fraction=1.0", "task.randomization.push_interval_s=0"]
    config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", ["sim.threads=1", *easy])
    return RslRlEnv(make_env(config, ROBOTS, seed=1))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Operators this small are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("recurrent", [False, True], ids=["mlp", "gru"])
def test_the_runner_learns_on_our_robots(env: RslRlEnv, recurrent: bool) -> None:
    settings = copy.deepcopy(RUNNER)
    if recurrent:
        for part in ("actor", "critic"):
            settings[part] |= {"class_name": "RNNModel", "rnn_type": "gru", "rnn_hidden_dim": 32}
    torch.manual_seed(1)
    rewards: list[float] = []
    step = env.step

    def recording_step(actions: torch.Tensor) -> Any:
        result = step(actions)
        rewards.append(float(result[1].mean()))
        return result

    env.step = recording_step  # type: ignore[method-assign]
    OnPolicyRunner(env, settings, log_dir=None, device="cpu").learn(
        ITERATIONS, init_at_random_ep_len=True
    )
    early, late = (torch.tensor(part).mean() for part in (rewards[:80], rewards[-80:]))
    assert len(rewards) == ITERATIONS * STEPS
    assert late > early + 0.02, (early, late)


def test_time_limits_are_reported_and_episodes_start_anew(env: RslRlEnv) -> None:
    lengths = torch.zeros(ROBOTS, dtype=torch.int64)
    lengths[3] = env.max_episode_length - 1
    env.episode_length_buf = lengths
    obs, reward, dones, extras = env.step(torch.zeros(ROBOTS, 12))
    assert extras["time_outs"].nonzero().flatten().tolist() == [3] and dones[3] == 1
    assert env.episode_length_buf[3] == 0 and (env.episode_length_buf[:3] == 1).all()
    assert obs["proprioception"].shape == (ROBOTS, env.env.obs_dims["proprioception"])
    assert reward.shape == (ROBOTS,) and torch.isfinite(extras["log"]["/Track/lin_vel_error"])
