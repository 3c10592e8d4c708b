"""What a second process costs: steps of an environment that does nothing, in this process and in a worker.

The worker imports this file too, in an interpreter that may have neither torch nor legged_ppo.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from typing import Any

import numpy as np


class Idle:
    """Arrays of a robot's size, returned unchanged."""

    device = "cpu"

    def __init__(self, num_envs: int, width: int, num_actions: int) -> None:
        self.num_envs, self.num_actions = num_envs, num_actions
        self._obs = np.ones((num_envs, width), np.float32)
        self._reward = np.ones(num_envs, np.float32)
        self._dones = np.zeros(num_envs, np.int64)

    def get_observations(self) -> dict[str, Any]:
        return {"policy": self._obs}

    def step(self, actions: Any) -> tuple[Any, ...]:
        return {"policy": self._obs}, self._reward, self._dones, {"time_outs": self._dones}


def milliseconds(vec_env: Any, steps: int) -> float:
    """Time of a step, after some that are not counted."""
    import torch

    from legged_ppo.interop.vec_env import FromRslRl

    env = FromRslRl(vec_env)
    actions = torch.zeros(env.num_envs, env.num_actions)
    for counted in (max(1, steps // 10), steps):
        start = time.perf_counter()
        for _ in range(counted):
            env.step(actions)
    env.close()
    return 1000.0 * (time.perf_counter() - start) / steps


def main() -> None:
    import torch

    from legged_ppo.interop.remote.client import RemoteVecEnv

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--robots", type=int, default=4096)
    parser.add_argument("--width", type=int, default=48, help="numbers that a robot observes")
    parser.add_argument("--actions", type=int, default=12)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--python", default=sys.executable, help="the worker's interpreter")
    arguments = parser.parse_args()
    sizes = {
        "num_envs": arguments.robots,
        "width": arguments.width,
        "num_actions": arguments.actions,
    }
    torch.set_num_threads(1)
    here = milliseconds(Idle(**sizes), arguments.steps)
    remote = RemoteVecEnv(f"{__file__}:Idle", sizes, arguments.python)
    version = remote.python
    there = milliseconds(remote, arguments.steps)
    print(f"{arguments.robots} robots, {arguments.width} observations, {arguments.steps} steps")
    for place, time_ms in (
        (f"this process ({platform.python_version()})", here),
        (f"a worker ({version})", there),
    ):
        rate = 1000.0 * arguments.robots / time_ms
        print(f"{place:28} {time_ms:8.3f} ms a step {rate:14,.0f} robot steps/s")


if __name__ == "__main__":
    main()
