"""Our update against rsl_rl's on the same synthetic rollouts, in turn within one process.

    python benchmarks/learner.py [--device cuda:0] [--json FILE]

Inputs 181, actions 12, GRU 256, heads [128], 24 steps, 5 epochs of 4 minibatches, KL-adaptive rate.
`default`: each with its own default, one GRU shared by actor and critic here, two networks there; `two`:
two networks here too. A figure is the median time over the rounds in seconds, of an update (returns
included) and of a rollout's collection (networks, sampling and storing, without an environment); the ratio
is the median of the rounds' ratios, above 1 where ours is faster. Set OMP_NUM_THREADS for the threads.
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

from legged_ppo.algorithms.ppo import PPO
from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.config.schema import PolicyConfig, PPOConfig
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.runtime.cuda_graphs import cuda_recorder
from legged_ppo.runtime.precision import network_precision

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


class Ours:
    def __init__(self, rollout: Rollout, critic_memory: str, precision: str) -> None:
        torch.manual_seed(0)
        self.rollout = rollout
        device, robots = rollout.device, rollout.obs.shape[1]
        policy_config = PolicyConfig(
            gru_hidden=GRU,
            actor_hidden=[HEAD],
            critic_hidden=[HEAD],
            critic_memory=critic_memory,
            scandots_latent=0,
            normalize_observations=False,
        )
        policy = ActorCritic({"proprioception": INPUTS}, ACTIONS, policy_config)
        self.policy = policy.to(device)
        config = PPOConfig(
            rollout_length=STEPS,
            bptt_length=STEPS,
            num_epochs=EPOCHS,
            num_minibatches=MINIBATCHES,
            schedule="adaptive",
            learning_rate=RATE,
            value_coef=1.0,
            precision=precision,
        )
        self.precision = lambda: network_precision(precision, device)
        self.generator = torch.Generator(device).manual_seed(0)
        recorder = cuda_recorder(device, [self.generator])
        self.ppo = PPO(self.policy, config, self.generator, recorder=recorder)
        self.buffer = RolloutBuffer(STEPS, STEPS, robots, ACTIONS, device)
        self.state = self.policy.initial_state(robots, device)
        self.starts = torch.ones(robots, dtype=torch.bool, device=device)
        self.collect()

    @torch.no_grad()
    def collect(self) -> None:
        """All of a rollout but the environment."""
        policy, buffer, rollout = self.policy, self.buffer, self.rollout
        never = torch.zeros_like(self.starts)
        for t in range(STEPS):
            obs = policy.normalize({"proprioception": rollout.obs[t]})
            buffer.store_inputs(t, obs, self.state, self.starts)
            with self.precision():
                distribution, values, self.state = policy.step(obs, self.state, self.starts)
            actions = distribution.sample(self.generator)
            buffer.store_action(t, actions, distribution.log_prob(actions), values)
            self.starts = rollout.ends[t]
            buffer.store_outcome(
                t, rollout.rewards[t], self.starts, never, torch.zeros_like(values)
            )
        last = policy.normalize({"proprioception": rollout.obs[-1]})
        with self.precision():
            _, self.next_value, _ = policy.step(last, self.state, self.starts)

    def update(self) -> None:
        self.ppo.update(self.buffer, self.next_value, 0.0)


class RslRl:
    """The same with rsl_rl's classes."""

    def __init__(self, rollout: Rollout) -> None:
        torch.manual_seed(0)
        self.rollout = rollout
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
        self.packed = [TensorDict({"policy": obs}, batch_size=[robots]) for obs in rollout.obs]
        env = SimpleNamespace(num_envs=robots, num_actions=ACTIONS, device=device)
        with contextlib.redirect_stdout(io.StringIO()):
            self.algorithm = rsl_rl.PPO.construct_algorithm(self.packed[0], env, settings, device)
        self.collect()

    @torch.inference_mode()
    def collect(self) -> None:
        rollout, algorithm = self.rollout, self.algorithm
        algorithm.storage.step = 0
        for t in range(STEPS):
            algorithm.act(self.packed[t])
            algorithm.process_env_step(
                self.packed[t + 1], rollout.rewards[t], rollout.ends[t].long(), {}
            )

    def update(self) -> None:
        self.algorithm.storage.step = STEPS  # an update leaves the data and resets the counter
        with torch.inference_mode():
            self.algorithm.compute_returns(self.packed[-1])
        self.algorithm.update()


def seconds(run: Callable[[], None], device: torch.device) -> float:
    begin = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def compare(ours: Ours, theirs: RslRl, rounds: int) -> dict[str, float]:
    """Medians of updates and of collections, and the medians of the rounds' ratios."""
    device = ours.rollout.device
    found = {}
    for prefix, one, other in (
        ("collection_", ours.collect, theirs.collect),
        ("", ours.update, theirs.update),
    ):
        pairs = [(seconds(one, device), seconds(other, device)) for _ in range(rounds + 1)][1:]
        found[f"{prefix}ours_s"] = statistics.median(a for a, _ in pairs)
        found[f"{prefix}rsl_rl_s"] = statistics.median(b for _, b in pairs)
        found[f"{prefix}ratio"] = statistics.median(b / a for a, b in pairs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--robots", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--reset-rate", type=float, nargs="+", default=[0.002, 0.02])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--precision", default="float32", help="ours: float32 (rsl_rl's), tf32 or bfloat16"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command lines do
    device = torch.device(arguments.device)
    rows = []
    print(f"{'':26} update{'':18}collection")
    print(f"{'robots':>6} {'resets':>6} {'nets':>8}  " + 2 * f"{'ours':>7} {'rsl_rl':>7}  ratio   ")
    for robots, reset_rate, nets in itertools.product(
        arguments.robots, arguments.reset_rate, ("default", "two")
    ):
        rollout = Rollout(robots, reset_rate, device)
        memory = "shared" if nets == "default" else "own"
        found = compare(
            Ours(rollout, memory, arguments.precision), RslRl(rollout), arguments.rounds
        )
        case = {
            "robots": robots,
            "reset_rate": reset_rate,
            "nets": nets,
            "device": str(device),
            "precision": arguments.precision,
        }
        rows.append(case | found)
        print(f"{robots:6} {reset_rate:6.3f} {nets:>8}", end="")
        for prefix in ("", "collection_"):
            times = f"{found[f'{prefix}ours_s']:7.3f} {found[f'{prefix}rsl_rl_s']:7.3f}"
            print(f"  {times}  {found[f'{prefix}ratio']:5.2f}", end="")
        print(flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
