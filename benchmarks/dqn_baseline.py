"""Our PPO and A2C beside Stable-Baselines3's DQN on LunarLander-v3: learning curves of several seeds in one plot.

    pip install -c constraints.txt -e ".[gym]" stable-baselines3==2.9.2
    python benchmarks/dqn_baseline.py --steps 100_000 --seeds 1 2 3 --out docs/experiments/images/dqn_baseline.png

Every policy is evaluated deterministically on the same 20 episodes at each tenth of the steps. DQN has the
settings of rl-baselines3-zoo, PPO and A2C those of configs/gym/ with the number of steps changed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.evaluation.task import task_of
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.training.trainer import Trainer

ENV, EPISODES, POINTS = "LunarLander-v3", 20, 10
Curve = list[tuple[int, float]]
"""Steps and mean returns"""


def run_ours(recipe: str, steps: int, seed: int, *overrides: str) -> Curve:
    """Train a recipe of configs/gym/ and read its evaluations."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            *overrides,
            f"training.total_timesteps={steps}",
            f"training.evaluation_freq={steps // POINTS}",
            f"training.evaluation_episodes={EPISODES}",
            f"training.seed={seed}",
            f"training.log_dir={folder}",
            "training.wandb=disabled",
            "training.log_interval=1_000_000",
        ]
        config = load_config(CONFIG_DIR / "gym" / f"{recipe}.yaml", settings)
        run = RunDirectory.create(config, recipe)
        Trainer(config, task_of(config).make_env(config.training.num_envs, seed), run).train()
        rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    judged = [row for row in rows if row.get("Eval/mean_return") is not None]
    return [(row["env_steps"], row["Eval/mean_return"]) for row in judged]


def run_dqn(steps: int, seed: int) -> Curve:
    """Stable-Baselines3's DQN at the settings of its zoo."""
    import gymnasium
    from stable_baselines3 import DQN
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    model = DQN(
        "MlpPolicy",
        gymnasium.make(ENV),
        learning_rate=6.3e-4,
        batch_size=128,
        buffer_size=50_000,
        learning_starts=0,
        gamma=0.99,
        target_update_interval=250,
        train_freq=4,
        gradient_steps=-1,
        exploration_fraction=0.12,
        exploration_final_eps=0.1,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )
    curve: Curve = []
    for _ in range(POINTS):
        model.learn(steps // POINTS, reset_num_timesteps=False, progress_bar=False)
        judge = Monitor(gymnasium.make(ENV))
        judge.reset(seed=seed + 1000)
        mean, _ = evaluate_policy(model, judge, EPISODES, deterministic=True)
        curve.append((model.num_timesteps, float(mean)))
    return curve


def draw(curves: dict[str, list[Curve]], path: Path) -> None:
    """Mean over the seeds, and the range between the lowest and the highest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.2))
    axis = figure.subplots()
    for name, color in zip(curves, ("#0072B2", "#D55E00", "#009E73"), strict=False):
        seeds = list(zip(*curves[name], strict=True))
        x = [statistics.fmean(step for step, _ in point) / 1000 for point in seeds]
        returns = [[value for _, value in point] for point in seeds]
        axis.plot(x, [statistics.fmean(r) for r in returns], "o-", color=color, label=name)
        low, high = [min(r) for r in returns], [max(r) for r in returns]
        axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axis.axhline(200, color="grey", linewidth=0.8, linestyle="--")
    axis.set_xlabel("environment steps [thousands]")
    axis.set_ylabel(f"mean return of {EPISODES} episodes")
    axis.set_title(
        f"{ENV}: mean and range of {len(next(iter(curves.values())))} seeds", fontsize=11
    )
    axis.grid(alpha=0.25)
    axis.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("dqn_baseline.png"))
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command lines do
    torch.set_num_threads(1)
    runners: dict[str, Callable[[int], Curve]] = {
        "PPO": lambda seed: run_ours("lunarlander_ppo", arguments.steps, seed),
        "A2C": lambda seed: run_ours("lunarlander_a2c", arguments.steps, seed),
        "DQN (Stable-Baselines3)": lambda seed: run_dqn(arguments.steps, seed),
    }
    curves: dict[str, list[Curve]] = {name: [] for name in runners}
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for seed in arguments.seeds:
        for name, run in runners.items():
            begin = time.perf_counter()
            curves[name].append(run(seed))
            seconds[name].append(time.perf_counter() - begin)
            last = curves[name][-1][-1]
            print(
                f"seed {seed} {name}: {last[1]:.1f} at {last[0]:,} steps, {seconds[name][-1]:.0f} s"
            )
    draw(curves, arguments.out)
    rows: dict[str, Any] = {"curves": curves, "seconds": seconds}
    arguments.out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
