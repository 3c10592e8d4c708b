"""Count what a GPU would launch for a collected control step and for a minibatch; runs on a CPU, without a GPU.

    python benchmarks/kernels.py --config configs/phase1_fast.yaml [--json FILE] [key=value ...]

Torch: operators that launch at least one kernel on a GPU, which views and allocations do not; composite operators
count by their parts. A few (sorts, sums over all entries) launch two or three kernels and count as one. The code
takes the branches that it takes on a GPU. Per step means per control step of a rollout of all robots; `rollout`
is what a rollout adds once.

Warp: kernels, copies and fills of the engine's graphs, the solver's loop once. Nothing of the engine is computed,
so that no kernel is compiled; no count depends on the state of the robots.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import warp as wp
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode

from legged_ppo.algorithms import collector
from legged_ppo.algorithms.collector import Collector
from legged_ppo.algorithms.optimizer import GuardedAdamW
from legged_ppo.algorithms.ppo import PPO
from legged_ppo.config.loading import load_config
from legged_ppo.env import commands, locomotion
from legged_ppo.env.commands import VelocityCommands
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.models import gru_operators, recurrence
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.lanes.use import operators_only
from legged_ppo.sim import indexing
from legged_ppo.sim.warp.engine import MujocoWarp
from legged_ppo.training.trainer import Trainer

PARTS: dict[str, tuple[type, tuple[str, ...]]] = {
    "env.step": (LocomotionEnv, ("step",)),
    "env.measure": (LocomotionEnv, ("_measure", "_measured_finite")),
    "env.reward": (LocomotionEnv, ("_reward_inputs", "_reward")),
    "env.observe": (LocomotionEnv, ("_conclude", "_observe")),
    "env.reset": (LocomotionEnv, ("_reset",)),
    "commands": (VelocityCommands, ("step", "resample", "steer")),
    "engine": (MujocoWarp, ("step", "reset", "randomize", "assign", "translate", "push")),
    "policy": (ActorCritic, ("normalize", "step", "sequence")),
    "collect": (Collector, ("collect",)),
    "minibatch": (PPO, ("optimize",)),
    "optimizer": (GuardedAdamW, ("step",)),
}
"""Methods whose operators count as the part's, unless they are in a method of another part that they call."""
Found = Counter[tuple[tuple[str, ...], str]]
SIZES = ("sim.contacts=48", "sim.constraints=160", "sim.convex_pairs=24")
SMALL = ("sim.engine=mujoco_warp", "training.num_envs=16", "training.wandb=disabled", *SIZES)


class Launches(TorchDispatchMode):
    """Counts operators by the parts that they are in, the innermost last, and by name."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()
        self._stack = stack
        self.found: Found = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if launches(func):
            self.found[tuple(self._stack), func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def launches(func: Any) -> bool:
    """Whether an operator computes anything: it is neither a view of its argument nor an allocation."""
    name = func.overloadpacket.__name__
    if name.startswith(("empty", "new_empty", "_unsafe_view", "_reshape_alias")):
        return False
    aliases = [result.alias_info for result in func._schema.returns]
    return not any(alias is not None and not alias.is_write for alias in aliases)


@contextlib.contextmanager
def parts() -> Iterator[list[str]]:
    """Follow which parts the program is in."""
    stack: list[str] = []

    def within(part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            stack.append(part)
            try:
                return method(*args, **kwargs)
            finally:
                stack.pop()

        return called

    with contextlib.ExitStack() as patches:
        for part, (kind, names) in PARTS.items():
            for name in names:
                method = within(part, getattr(kind, name))
                patches.enter_context(mock.patch.object(kind, name, method))
        yield stack


@contextlib.contextmanager
def as_on_gpu() -> Iterator[None]:
    """Take the branches of a GPU, and leave out the engine's graphs."""

    def supported() -> list[str]:
        return ["cpu", "cuda"]

    with operators_only(), contextlib.ExitStack() as patches:

        def put(of: object, name: str, value: object) -> None:
            patches.enter_context(mock.patch.object(of, name, value))

        for module in (commands, locomotion, indexing):
            put(module, "any_without_sync", lambda mask: True)
        for module in (collector, locomotion):
            put(module, "rows_without_sync", lambda mask: torch.arange(len(mask)))
        put(collector, "finite_without_sync", lambda tensors: False)
        put(gru_operators, "_tanh_", torch.tanh_)
        put(recurrence, "has_kernels_for", lambda x: True)
        put(recurrence, "multiprocessors", lambda device: 1)
        put(_foreach_utils, "_get_foreach_kernels_supported_devices", supported)
        put(MujocoWarp, "_run", lambda engine, launch: None)
        yield


def make_trainer(config_file: str, overrides: list[str], folder: str) -> Trainer:
    config = load_config(config_file, [*SMALL, *overrides, f"training.log_dir={folder}"])
    env = make_locomotion_env(config, config.training.num_envs, seed=0)
    return Trainer(config, env, RunDirectory.create(config, "kernels"), scorer=None)


def counted(work: Callable[[], Any]) -> Found:
    with parts() as stack, Launches(stack) as mode:
        work()
    return mode.found


def torch_launches(trainer: Trainer) -> dict[str, dict[str, Any]]:
    """Operators per step, once per rollout, and per minibatch, by part and by name."""
    ppo, buffer = trainer.ppo, trainer.buffer

    def collect() -> None:
        trainer.collector.collect(buffer)

    collect()
    whole = counted(collect)
    steps = buffer.rollout_length
    buffer.rollout_length = steps // 2
    half = counted(collect)
    buffer.rollout_length = steps
    step = Counter({k: round((n - half[k]) / (steps - steps // 2)) for k, n in whole.items()})
    once = Counter({k: n - steps * step[k] for k, n in whole.items()})
    next_value, _ = trainer.collector.collect(buffer)
    ppo.estimate_advantages(buffer, next_value)
    for _ in range(2):  # the first makes the optimizer's moments
        ids = next(buffer.minibatch_ids(ppo.minibatches_per_epoch(buffer), trainer.generator))
        minibatch = counted(lambda ids=ids: ppo.optimize(buffer, ids))  # type: ignore[misc]
    return {"step": summary(step), "rollout": summary(once), "minibatch": summary(minibatch)}


def summary(found: Found) -> dict[str, Any]:
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for (stack, name), count in found.items():
        alone[stack[-1]] += count
        within.update(dict.fromkeys(stack, count))
        names[name] += count
    parts = {part: (n, within[part]) for part, n in alone.most_common() if within[part]}
    return {"all": sum(names.values()), "parts": parts, "names": dict(names.most_common(12))}


def warp_launches(engine: MujocoWarp) -> dict[str, int]:
    """Nodes of the engine's graphs; a copy between arrays, a fill and a kernel are one each."""
    count = 0

    def node(*args: Any, **kwargs: Any) -> None:
        nonlocal count
        count += 1

    def once(condition: Any, while_body: Callable[..., None], **kwargs: Any) -> None:
        while_body(**kwargs)

    found = {}
    with contextlib.ExitStack() as patches:
        for of, name in (
            *((wp, name) for name in ("launch", "launch_tiled", "copy")),
            *((wp.array, name) for name in ("zero_", "fill_")),
        ):
            patches.enter_context(mock.patch.object(of, name, node))
        patches.enter_context(mock.patch.object(wp, "capture_while", once))
        patches.enter_context(wp.ScopedDevice("cpu"))
        for name in engine._graphs:
            count = 0
            getattr(engine, name)()
            found[name.removeprefix("_launch_")] = count
    return found


def show(figures: dict[str, Any]) -> None:
    for title, row in figures["torch"].items():
        print(f"torch, per {title}: {row['all']}")
        for part, (alone, within) in row["parts"].items():
            print(
                f"    {part:12} {alone:5}"
                + (f"  ({within} with what it calls)" if within > alone else "")
            )
        print("   ", ", ".join(f"{name} {n}" for name, n in row["names"].items()))
    print("warp:", ", ".join(f"{name} {n} nodes" for name, n in figures["warp"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--config", default="configs/phase1_fast.yaml")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder, as_on_gpu():
        trainer = make_trainer(arguments.config, arguments.overrides, folder)
        assert isinstance(trainer.env, LocomotionEnv)
        engine = trainer.env.simulator
        assert isinstance(engine, MujocoWarp)
        figures = {"torch": torch_launches(trainer), "warp": warp_launches(engine)}
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
