"""CPU time of a control step, compiled and in torch, in turn within one process and on one thread.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/control_step.py --config configs/phase1_fast.yaml

`physics` is the engine's step, `reset` the engine's part of new episodes, `task` everything else. Actions are
random and small; episodes end and start again. The figures are the medians of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from legged_ppo.config.loading import load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv

PARTS = ("physics", "reset", "task")


class Timed:
    """An environment whose calls of the engine are timed."""

    def __init__(self, env: LocomotionEnv) -> None:
        self.env, self.spent = env, dict.fromkeys(PARTS, 0.0)
        engine: Any = env.simulator
        engine.step = self._timed("physics", engine.step)
        engine.reset = self._timed("reset", engine.reset)
        env.reset()

    def _timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            result = method(*arguments, **options)
            self.spent[part] += time.thread_time() - start
            return result

        return called

    def run(self, actions: list[torch.Tensor]) -> dict[str, float]:
        """Milliseconds of a step in each part."""
        self.spent = dict.fromkeys(PARTS, 0.0)
        start = time.thread_time()
        for each in actions:
            self.env.step(each)
        whole = time.thread_time() - start
        self.spent["task"] = whole - self.spent["physics"] - self.spent["reset"]
        return {part: 1e3 * spent / len(actions) for part, spent in self.spent.items()}


def measure(config_file: str, robots: int, rounds: int, overrides: list[str]) -> None:
    config = load_config(config_file, ["sim.engine=simd", "sim.threads=1", *overrides])
    envs = {}
    for name in ("compiled", "torch"):
        env = make_locomotion_env(config, robots, seed=0)
        if name == "torch":
            env.kernels = {}
        envs[name] = Timed(env)
    draw = torch.Generator().manual_seed(0)
    actions = [
        0.3 * torch.randn(robots, envs["torch"].env.num_actions, generator=draw) for _ in range(50)
    ]
    for timed in envs.values():
        timed.run(actions)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in envs}
    for _ in range(rounds):
        for name, timed in envs.items():
            found[name].append(timed.run(actions))
    for name, figures in found.items():
        medians = {part: statistics.median(f[part] for f in figures) for part in PARTS}
        best = min(f["task"] for f in figures)
        row = ", ".join(f"{part} {ms:.2f}" for part, ms in medians.items())
        print(f"{config_file} {robots} robots, {name}: {row} ms a step (task at best {best:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", default="configs/phase1_fast.yaml")
    parser.add_argument("--robots", default="256,1024")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    for robots in map(int, arguments.robots.split(",")):
        measure(arguments.config, robots, arguments.rounds, arguments.overrides)


if __name__ == "__main__":
    main()
