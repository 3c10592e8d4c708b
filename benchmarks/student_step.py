"""What a collected step of a student costs beside one of its teacher.

    OMP_NUM_THREADS=1 python benchmarks/student_step.py --teacher PATH [--robots N] [--rows R] [--columns C]

Collects rollouts of the teacher by PPO's collector without a camera, and labelled windows of a student by the
collector of Phase 2, in turn, on the ground and with the robots of the teacher's recipe. Seconds are processor
time of this process, which neighbours disturb less than the clock. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import machine

from legged_ppo.algorithms.collector import Collector
from legged_ppo.algorithms.distillation import Distillation, DistillationCollector, take_over
from legged_ppo.algorithms.rollout_buffer import RolloutBuffer
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import Config
from legged_ppo.evaluation.task import make_env
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.models.trunks import SCANDOTS
from legged_ppo.training.mirrored_env import required_symmetry
from legged_ppo.training.teacher import foundation_of, load_teacher


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--robots", type=int, default=256)
    parser.add_argument("--rows", type=int, default=29)
    parser.add_argument("--columns", type=int, default=43)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size = [
        f"task.observations.depth.{name}={getattr(arguments, name)}" for name in ("rows", "columns")
    ]
    foundation = foundation_of(arguments.teacher, ())
    config = load_config(CONFIG_DIR / "phase2_monolithic.yaml", size, foundation)
    plain = copy.deepcopy(config)
    plain.task.observations.depth.enabled = False
    works = {
        "teacher, collected by PPO": _teacher(plain, arguments.teacher, arguments.robots),
        **_student(config, arguments.teacher, arguments.robots),
    }
    for work in works.values():
        work()  # compiles, and fills the buffer
    seconds = {
        name: statistics.median(_measured(work) for _ in range(arguments.rounds))
        for name, work in works.items()
    }
    steps = arguments.robots * config.ppo.rollout_length
    size_text = f"{arguments.robots} robots, {arguments.rows} x {arguments.columns} pixels"
    print(f"{size_text}; commit {machine(torch.device('cpu'))['commit']}\n")
    print("| work | microseconds of processor time a robot's step | steps/s on one core |")
    print("| --- | --- | --- |")
    for name, spent in seconds.items():
        print(f"| {name} | {1e6 * spent / steps:.0f} | {steps / spent:,.0f} |")


def _measured(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _buffer(config: Config, env: Environment) -> RolloutBuffer:
    ppo = config.ppo
    return RolloutBuffer(
        ppo.rollout_length,
        ppo.bptt_length,
        env.num_envs,
        env.num_actions,
        env.device,
        env.env_groups,
    )


def _teacher(config: Config, path: Path, robots: int) -> Callable[[], object]:
    env = make_env(config, robots, 0)
    policy = load_teacher(path, config, env).policy
    collector = Collector(env, policy, torch.Generator().manual_seed(0), contextlib.nullcontext)
    buffer = _buffer(config, env)
    return lambda: collector.collect(buffer)


def _student(config: Config, path: Path, robots: int) -> dict[str, Callable[[], object]]:
    env = make_env(config, robots, 0)
    teacher = load_teacher(path, config, env).policy
    student = ActorCritic(env.obs_dims, env.num_actions, config.policy)
    take_over(student, teacher)
    generator = torch.Generator().manual_seed(0)
    symmetry, dots = required_symmetry(config, env), env.obs_dims[SCANDOTS]
    assert isinstance(dots, int)
    learner = Distillation(
        student,
        config.distillation,
        "float32",
        generator,
        dots,
        Equivariance(student, symmetry) if symmetry else None,
    )
    collector = DistillationCollector(
        env, student, teacher, generator, contextlib.nullcontext, config.distillation
    )
    collector.teacher_share = 1.0  # an untrained student would fall all the time
    buffer = _buffer(config, env)
    nothing = torch.zeros(robots)
    return {
        "student, collected and labelled": lambda: collector.collect(buffer),
        "student, learned from": lambda: learner.update(buffer, nothing, 0.5),
    }


if __name__ == "__main__":
    main()
