"""The interactive viewer, with a window that only counts."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any

import mujoco
import mujoco.viewer
import numpy as np
import pytest

from legged_ppo.config.schema import Config
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.viewer.native import view


class Window:
    """Records the heights of the base that it is synchronised with."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, **_: Any) -> None:
        self.cam, self.data = SimpleNamespace(), data
        self.heights: list[float] = []

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: type | BaseException | TracebackType | None) -> None: ...

    def is_running(self) -> bool:
        return True

    def sync(self) -> None:
        self.heights.append(float(self.data.qpos[2]))


def test_the_viewer_shows_every_step_and_ends_after_the_episodes(
    config: Config, make_policy: Callable[..., ActorCritic], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[Window] = []

    def launch(*parts: Any, **options: Any) -> Window:
        windows.append(Window(*parts, **options))
        return windows[-1]

    monkeypatch.setattr(mujoco.viewer, "launch_passive", launch)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    config.task.episode_length_s = 0.1
    policy = make_policy(config)
    view(policy, config, episodes=2, command=None, place=("rough", 1), seed=0, stochastic=False)
    steps = round(0.1 / (config.sim.dt * config.sim.decimation)) + 1  # one more, as in evaluations
    (window,) = windows
    assert len(window.heights) == 2 * steps
    assert len(np.unique(window.heights)) == len(window.heights), "the robot moves"
