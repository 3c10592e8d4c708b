"""rsl_rl's own runner trains on our environment, and our trainer on rsl_rl's."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from rsl_rl.runners import OnPolicyRunner

from legged_ppo import evaluate, load_policy, train
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.interop.rsl_rl import RslRlEnv
from legged_ppo.interop.vec_env import FromRslRl
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.run_directory import LATEST, RunDirectory
from legged_ppo.training.trainer import Trainer

ROBOTS, STEPS, ITERATIONS = 128, 16, 50
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


# To stand still is learned at once.
EASY = [
    "task.commands.standing_fraction=1.0",
    "task.randomization.push_interval_s=0",
    "ppo.symmetry=none",  # no environment of rsl_rl defines one
]


def make_config(*more: str) -> Config:
    return load_config(CONFIG_DIR / "phase1_quickstart.yaml", ["sim.threads=1", *EASY, *more])


@pytest.fixture
def env() -> RslRlEnv:
    return RslRlEnv(make_locomotion_env(make_config(), ROBOTS, seed=1))


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


def test_the_runner_logs_reward_terms_of_ended_episodes(env: RslRlEnv) -> None:
    name = "Episode/rew_tracking_lin_vel"
    log = env.step(torch.zeros(ROBOTS, 12))[3]["log"]
    lengths = torch.zeros(ROBOTS, dtype=torch.int64)
    column = env.env.episode_metrics.index(name)
    sums = torch.zeros(2)
    for robots in (3, 40):
        lengths[:robots] = env.max_episode_length - 1
        env.episode_length_buf = lengths
        before = env.env.step

        def step(actions: torch.Tensor, before: Any = before) -> Any:
            result = before(actions)
            sums.add_(result.info["episode"][[0, column]])
            return result

        env.env.step = step  # type: ignore[method-assign]
        log = env.step(torch.zeros(ROBOTS, 12))[3]["log"]
        env.env.step = before  # type: ignore[method-assign]
    assert sums[0] == 43
    torch.testing.assert_close(log[name], sums[1] / sums[0], rtol=0.02, atol=0.0)


class Drifting:
    """A cart of legged_gym's interface: it drifts, actions push it back; `version` 2 returns extras instead of
    privileged observations."""

    num_actions, max_episode_length, device = 1, 20, "cpu"

    def __init__(self, version: int, num_envs: int = 64) -> None:
        self.version, self.num_envs = version, num_envs
        self.place = torch.zeros(self.num_envs, 1)
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.int64)

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.place, 2.0 * self.place

    def get_observations(self) -> Any:
        extras = {"observations": {"critic": 2.0 * self.place}}
        return self.place if self.version == 1 else (self.place, extras)

    def step(self, actions: torch.Tensor) -> tuple[Any, ...]:
        self.place = self.place + 0.1 + 0.1 * actions.clamp(-3.0, 3.0)
        self.episode_length_buf += 1
        reward = -self.place[:, 0].abs()
        fell, late = (
            self.place[:, 0].abs() > 3.0,
            self.episode_length_buf >= self.max_episode_length,
        )
        done = fell | late
        self.place = self.place * ~done[:, None]
        self.episode_length_buf *= ~done
        logged = {"place": self.place.mean(), "rew_place": reward.mean()}
        extras = {"time_outs": late & ~fell, "episode": logged}
        if self.version == 1:
            return self.place, 2.0 * self.place, reward, done, extras
        extras["observations"] = {"critic": 2.0 * self.place}
        return self.place, reward, done, extras


class Logging(Drifting):
    """Returns the next of `logs` in every step."""

    logs: list[dict[str, Any]]

    def step(self, actions: torch.Tensor) -> tuple[Any, ...]:
        return *super().step(actions)[:-1], self.logs.pop(0)


def test_what_an_environment_logs_becomes_metrics() -> None:
    foreign = Logging(1)
    env = FromRslRl(foreign)
    foreign.logs = [
        {"episode": {"rew_place": torch.tensor(1.0), "level": 2.0}},
        {},
        {"episode": {"rew_place": torch.tensor([2.0, 4.0]), "/Track/error": 1.0}},
        {"log": {"Episode_Reward/turn": 5}},
    ]
    assert env.metrics() == {}
    while foreign.logs:
        env.step(torch.zeros(64, 1))
    expected = {
        "Episode/rew_place": 2.0,
        "Env/level": 2.0,
        "Env/Track/error": 1.0,
        "Episode/rew_turn": 5.0,
    }
    for _ in range(2):  # without a new value the mean stays
        assert {name: float(value) for name, value in env.metrics().items()} == expected
    foreign.logs = [{"log": {"level": 7}}]
    env.step(torch.zeros(64, 1))
    assert float(env.metrics()["Env/level"]) == 7.0


def test_there_and_back_is_the_same_environment() -> None:
    direct = make_locomotion_env(make_config(), ROBOTS, seed=1)
    adapted = FromRslRl(RslRlEnv(make_locomotion_env(make_config(), ROBOTS, seed=1)))
    assert adapted.obs_dims == direct.obs_dims
    obs, other = direct.reset(), adapted.reset()
    limit = torch.zeros(ROBOTS, dtype=torch.int64)
    limit[:5] = direct.max_episode_length - 3
    direct.episode_length.copy_(limit)
    adapted.env.episode_length_buf = limit
    for step in range(6):
        action = torch.full((ROBOTS, 12), 0.1 * step)
        a, b = direct.step(action), adapted.step(action)
        obs, other = a.obs, b.obs
        for name in obs:
            assert torch.equal(obs[name], other[name])
        assert torch.equal(a.reward, b.reward)
        assert torch.equal(a.terminated, b.terminated) and torch.equal(a.truncated, b.truncated)
        torch.testing.assert_close(a.info["episode"][:3], b.info["episode"])
        assert b.truncated.any() == (step == 2) and b.final_obs is None


def test_our_trainer_learns_on_an_environment_of_rsl_rl(tmp_path: Path) -> None:
    steps = ITERATIONS * ROBOTS * STEPS
    config = make_config(
        f"training.log_dir={tmp_path}",
        f"training.num_envs={ROBOTS}",
        f"training.total_timesteps={steps}",
        "policy.gru_hidden=32",
    )
    env = FromRslRl(RslRlEnv(make_locomotion_env(config, ROBOTS, seed=1)))
    run = RunDirectory.create(config, "foreign")
    assert Trainer(config, env, run, scorer=None).train()
    rows = [json.loads(line) for line in run.metrics.open()]
    assert rows[-1]["Env/Track/lin_vel_error"] < 0.8 * rows[0]["Env/Track/lin_vel_error"]
    # A longer run goes on from it, with new episodes.
    config.training.total_timesteps = 2 * steps
    saved = load_checkpoint(run.checkpoints / LATEST)
    resumed = Trainer(config, env, run, saved, scorer=None)
    assert resumed.counters.iteration == ITERATIONS and resumed.collector.starts.all()


@pytest.mark.parametrize("version", [1, 2])
def test_environments_of_older_interfaces_are_learned_from(version: int, tmp_path: Path) -> None:
    foreign = Drifting(version)
    env = FromRslRl(foreign)
    assert env.obs_dims == {"policy": 1, "privileged": 1}
    config = make_config(
        f"training.log_dir={tmp_path}",
        "training.num_envs=64",
        f"training.total_timesteps={30 * 64 * STEPS}",
        "policy.gru_hidden=8",
    )
    run = RunDirectory.create(config, "foreign")
    trainer = Trainer(config, env, run, scorer=None)
    assert len(foreign.episode_length_buf.unique()) > 10, "clocks are spread"
    assert trainer.train()
    assert "Episode/rew_place" in run.last_row()
    rows = [json.loads(line) for line in run.metrics.open()]
    assert abs(rows[-1]["Env/place"]) < 0.5 * abs(rows[0]["Env/place"])
    assert rows[-1]["Train/mean_reward"] > 0.5 * rows[0]["Train/mean_reward"]


def test_a_recipe_trains_and_evaluates_an_environment_of_rsl_rl_through_an_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("my_drift")
    module.ENVIRONMENTS = {"drift": lambda config, n, seed, device: FromRslRl(Drifting(2, n))}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_drift", module)
    config = make_config(
        "extensions=[my_drift]",
        "environment=drift",
        f"training.log_dir={tmp_path}",
        "training.num_envs=16",
        f"training.total_timesteps={3 * 16 * STEPS}",
        "training.report=false",
        "policy.gru_hidden=8",
    )
    policy = load_policy(train(config, device="cpu"), ["extensions=[my_drift]"])
    assert policy.path.name == "phase1_best.pth"
    assert 1 <= evaluate(policy, episodes=8)["overall"]["mean_length"] <= 20
