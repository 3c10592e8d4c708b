"""What is learned on Gymnasium's tasks and how long it takes, ours and Stable-Baselines3's, seed by seed.

    pip install -c constraints.txt -e ".[gym]" stable-baselines3==2.9.2 sb3-contrib==2.9.2
    python benchmarks/learning.py --task cartpole_novel [--seeds 1 2 3 4 5] [--alone] [--json FILE]

Both are trained to the end and their final policies evaluated, deterministically, on the same number of
episodes; the time is that of training alone, on one thread. The peer runs at the settings of rl-baselines3-zoo.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import TransformObservation

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.evaluation.task import task_of
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.training.trainer import Trainer

EPISODES = 100


@dataclass
class Task:
    """A recipe of ours, and the peer that stands against it."""

    recipe: str
    overrides: list[str] = field(default_factory=list)
    peer: Callable[[Task, int], Any] | None = None
    """Makes the peer's model for a seed; None runs ours alone."""
    steps: int = 100_000
    env: str = "CartPole-v1"
    observe: list[int] = field(default_factory=list)


_ZOO_CARTPOLE: dict[str, Any] = {
    "n_steps": 32,
    "batch_size": 256,
    "gae_lambda": 0.8,
    "gamma": 0.98,
    "n_epochs": 20,
    "ent_coef": 0.0,
    "learning_rate": lambda left: left * 0.001,
    "clip_range": lambda left: left * 0.2,
}


def sb3_cartpole_novel(task: Task, seed: int) -> Any:
    from sb3_contrib import RecurrentPPO

    return RecurrentPPO(
        "MlpLstmPolicy",
        _normalized(task, 8, seed),
        **_ZOO_CARTPOLE,
        policy_kwargs={
            "ortho_init": False,
            "activation_fn": torch.nn.ReLU,
            "lstm_hidden_size": 64,
            "enable_critic_lstm": True,
            "net_arch": {"pi": [64], "vf": [64]},
        },
        seed=seed,
        device="cpu",
    )


def sb3_cartpole(task: Task, seed: int) -> Any:
    return _sb3_ppo(
        task,
        seed,
        num_envs=8,
        **_ZOO_CARTPOLE,
    )


def sb3_lunarlander(task: Task, seed: int) -> Any:
    return _sb3_ppo(
        task,
        seed,
        num_envs=16,
        n_steps=1024,
        batch_size=64,
        gae_lambda=0.98,
        gamma=0.999,
        n_epochs=4,
        ent_coef=0.01,
    )


def _sb3_ppo(task: Task, seed: int, num_envs: int, **settings: Any) -> Any:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env(task.env, num_envs, seed=seed)
    return PPO("MlpPolicy", env, seed=seed, device="cpu", **settings)


def _normalized(task: Task, num_envs: int, seed: int) -> Any:
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    return VecNormalize(make_vec_env(lambda: _partial(task), num_envs, seed=seed))


def _partial(task: Task) -> gymnasium.Env[Any, Any]:
    """The environment, of whose observation only `observe` is seen."""
    env = gymnasium.make(task.env)
    if not task.observe:
        return env
    whole = env.observation_space
    assert isinstance(whole, gymnasium.spaces.Box)
    space = gymnasium.spaces.Box(whole.low[task.observe], whole.high[task.observe])
    return TransformObservation(env, lambda obs: obs[task.observe], space)


TASKS = {
    "cartpole_novel_50k": Task(
        "cartpole_novel_gru",
        ["training.total_timesteps=50_000"],
        sb3_cartpole_novel,
        50_000,
        observe=[0, 2],
    ),
    "cartpole_novel": Task("cartpole_novel_gru", [], sb3_cartpole_novel, observe=[0, 2]),
    "cartpole_novel_memoryless": Task("cartpole_novel_gru", ["policy.gru_layers=0"]),
    "cartpole": Task("cartpole_ppo", [], sb3_cartpole),
    "lunarlander": Task("lunarlander_ppo", [], sb3_lunarlander, 1_000_000, "LunarLander-v3"),
    "lunarlander_a2c": Task("lunarlander_a2c"),
    "pendulum_novel": Task("pendulum"),
    "hopper": Task("hopper"),
}


def run_ours(task: Task, seed: int) -> tuple[float, float]:
    """Mean return of the final policy, and the seconds of its training (without evaluations)."""
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(
            CONFIG_DIR / "gym" / f"{task.recipe}.yaml",
            [
                *task.overrides,
                f"training.seed={seed}",
                f"training.log_dir={folder}",
                "training.wandb=disabled",
                "training.log_interval=1_000_000",
            ],
        )
        env = task_of(config).make_env(config.training.num_envs, seed)
        trainer = Trainer(config, env, RunDirectory.create(config, task.recipe), scorer=None)
        begin = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - begin
    return task_of(config).evaluate(trainer.policy, EPISODES, 12345)["overall"][
        "mean_return"
    ], seconds


def run_peer(task: Task, seed: int) -> tuple[float, float]:
    from stable_baselines3.common.evaluation import evaluate_policy

    assert task.peer is not None
    model = task.peer(task, seed)
    begin = time.perf_counter()
    model.learn(task.steps)
    seconds = time.perf_counter() - begin
    statistics_of = model.get_vec_normalize_env()
    if statistics_of is not None:
        statistics_of.training = statistics_of.norm_reward = False
    model.env.seed(12345)
    returns, _ = evaluate_policy(model, model.env, EPISODES, deterministic=True, warn=False)
    return float(np.mean(returns)), seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--alone", action="store_true", help="without the peer")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command lines do
    torch.set_num_threads(1)
    task = TASKS[arguments.task]
    runners = {"legged_ppo": run_ours} | (
        {"peer": run_peer} if task.peer and not arguments.alone else {}
    )
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        for name, run in runners.items():
            value, seconds = run(task, seed)
            rows.append({"name": name, "seed": seed, "return": value, "seconds": seconds})
            print(f"seed {seed} {name:>10}: {value:7.1f} in {seconds:6.1f} s", flush=True)
    for name in runners:
        found = [row for row in rows if row["name"] == name]
        returns = [row["return"] for row in found]
        print(
            f"{arguments.task} {name}: median {statistics.median(returns):.1f}, worst {min(returns):.1f}, "
            f"{statistics.median(row['seconds'] for row in found):.1f} s"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
