"""Our update against rsl_rl's on the same synthetic rollouts, in turn within one process.

    python benchmarks/learner.py [--device cuda:0] [--json FILE]

Inputs 181, actions 12, GRU 256, heads [128], 24 steps, 5 epochs of 4 minibatches, KL-adaptive rate.
`default`: each with its own default, one GRU shared by actor and critic here, two networks there; `two`:
two networks here too. A figure is the median time of an update (returns included) over the rounds; the
ratio is the median of the rounds' ratios, above 1 where ours is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from rsl_rl import algorithms as rsl_rl
from tensordict import TensorDict

from legged_ppo.allocator import keep_freed_memory
from legged_ppo.config.schema import PolicyConfig, PPOConfig
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.ppo.rollout_buffer import RolloutBuffer
from legged_ppo.ppo.update import PPO

STEPS, INPUTS, ACTIONS, GRU, HEAD = 24, 181, 12, 256, 128
EPOCHS, MINIBATCHES = 5, 4
RATE = 1e-3


class Rollout:
    """Observations [T + 1, N, 181], rewards [T, N] and ends [T, N] bool."""

    def __init__(self, robots: int, reset_rate: float, device: torch.device) -> None:
        g = torch.Generator(device).manual_seed(0)
        kwargs: dict[str, Any] = {"generator": g, "device": device}
        self.obs = torch.randn(STEPS + 1, robots, INPUTS, **kwargs)
        self.rewards = torch.randn(STEPS, robots, **kwargs)
        self.ends = torch.rand(STEPS, robots, **kwargs) < reset_rate
        self.device = device


def our_update(rollout: Rollout, critic_memory: str) -> Callable[[], Any]:
    """A function that does one update on the rollout."""
    torch.manual_seed(0)
    device, robots = rollout.device, rollout.obs.shape[1]
    policy_config = PolicyConfig(
        gru_hidden=GRU,
        actor_hidden=[HEAD],
        critic_hidden=[HEAD],
        critic_memory=critic_memory,
        scandots_latent=0,
        normalize_observations=False,
    )
    policy = ActorCritic({"proprioception": INPUTS}, ACTIONS, policy_config).to(device)
    config = PPOConfig(
        rollout_length=STEPS,
        bptt_length=STEPS,
        num_epochs=EPOCHS,
        num_minibatches=MINIBATCHES,
        schedule="adaptive",
        learning_rate=RATE,
        value_coef=1.0,
    )
    generator = torch.Generator(device).manual_seed(0)
    ppo = PPO(policy, config, generator)
    buffer = RolloutBuffer(STEPS, STEPS, robots, ACTIONS, device)
    state = policy.initial_state(robots, device)
    starts = torch.ones(robots, dtype=torch.bool, device=device)
    with torch.no_grad():
        for t in range(STEPS):
            obs = policy.normalize({"proprioception": rollout.obs[t]})
            buffer.store_inputs(t, obs, state, starts)
            distribution, values, state = policy.step(obs, state, starts)
            actions = distribution.sample(generator)
            buffer.store_action(t, actions, distribution.log_prob(actions), values)
            starts = rollout.ends[t]
            never = torch.zeros_like(starts)
            buffer.store_outcome(t, rollout.rewards[t], starts, never, torch.zeros_like(values))
        last = policy.normalize({"proprioception": rollout.obs[-1]})
        _, next_value, _ = policy.step(last, state, starts)
    return lambda: ppo.update(buffer, next_value, 0.0)


def rsl_rl_update(rollout: Rollout) -> Callable[[], Any]:
    """The same with rsl_rl's classes."""
    torch.manual_seed(0)
    device, robots = str(rollout.device), rollout.obs.shape[1]
    network = {
        "class_name": "RNNModel",
        "hidden_dims": [HEAD],
        "rnn_type": "gru",
        "rnn_hidden_dim": GRU,
        "obs_normalization": False,
    }
    gaussian = {"class_name": "GaussianDistribution", "init_std": 1.0}
    settings = {
        "num_steps_per_env": STEPS,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**network, "distribution_cfg": gaussian},
        "critic": dict(network),
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": EPOCHS,
            "num_mini_batches": MINIBATCHES,
            "learning_rate": RATE,
            "schedule": "adaptive",
        },
        "multi_gpu": None,
    }
    packed = [TensorDict({"policy": obs}, batch_size=[robots]) for obs in rollout.obs]
    env = SimpleNamespace(num_envs=robots, num_actions=ACTIONS, device=device)
    with contextlib.redirect_stdout(io.StringIO()):
        algorithm = rsl_rl.PPO.construct_algorithm(packed[0], env, settings, device)
    with torch.inference_mode():
        for t in range(STEPS):
            algorithm.act(packed[t])
            algorithm.process_env_step(
                packed[t + 1], rollout.rewards[t], rollout.ends[t].long(), {}
            )

    def update() -> None:
        algorithm.storage.step = STEPS  # an update leaves the data and resets the counter
        with torch.inference_mode():
            algorithm.compute_returns(packed[-1])
        algorithm.update()

    return update


def seconds(update: Callable[[], Any], device: torch.device) -> float:
    begin = time.perf_counter()
    update()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def compare(
    robots: int, reset_rate: float, nets: str, device: torch.device, rounds: int
) -> dict[str, Any]:
    rollout = Rollout(robots, reset_rate, device)
    ours = our_update(rollout, "shared" if nets == "default" else "own")
    theirs = rsl_rl_update(rollout)
    for update in (ours, theirs):
        seconds(update, device)
    pairs = [(seconds(ours, device), seconds(theirs, device)) for _ in range(rounds)]
    return {
        "robots": robots,
        "reset_rate": reset_rate,
        "nets": nets,
        "device": str(device),
        "ours_s": statistics.median(a for a, _ in pairs),
        "rsl_rl_s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--robots", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--reset-rate", type=float, nargs="+", default=[0.002, 0.02])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command lines do
    rows = []
    print(f"{'robots':>6} {'resets':>6} {'nets':>8} {'ours':>9} {'rsl_rl':>9}  ratio")
    for robots, reset_rate, nets in itertools.product(
        arguments.robots, arguments.reset_rate, ("default", "two")
    ):
        device = torch.device(arguments.device)
        row = compare(robots, reset_rate, nets, device, arguments.rounds)
        rows.append(row)
        print(
            f"{robots:6} {reset_rate:6.3f} {nets:>8} {row['ours_s']:7.2f} s "
            f"{row['rsl_rl_s']:7.2f} s  {row['ratio']:5.2f}",
            flush=True,
        )
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
