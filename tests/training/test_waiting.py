"""A rollout and an update do not wait for the device, seen on the CPU: no operator of theirs needs a value.

On a GPU each such operator would let the queue run empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode
from waiting import waits_for_device

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.trainer import Trainer


class NoWaiting(TorchDispatchMode):
    """Refuses the operators that a GPU's queue would have to run empty for."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert not waits_for_device(func, args), f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def trainer(tmp_path: Path, small_warp: list[str], as_on_gpu: None) -> Trainer:
    often = ["task.episode_length_s=0.2", "task.commands.resample_time_s=0.1"]
    config = load_config(CONFIG_DIR / "phase1_fast.yaml", [*small_warp, *often])
    assert config.ppo.schedule == "adaptive"
    env = make_locomotion_env(config, config.training.num_envs, seed=0)
    return Trainer(config, env, RunDirectory(tmp_path / "run"), scorer=None)


def test_neither_a_rollout_nor_an_update_asks_for_a_value(trainer: Trainer) -> None:
    with NoWaiting():
        next_value, sums = trainer.collector.collect(trainer.buffer)
        trainer.ppo.update(trainer.buffer, next_value, progress=0.5)
    assert sums["episode"][0] >= trainer.env.num_envs  # resets were among it
