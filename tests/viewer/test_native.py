"""The interactive viewer, with a window that only counts."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any, ClassVar

import mujoco
import mujoco.viewer
import numpy as np
import pytest

from legged_ppo.config.schema import Config
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.viewer.driving import Command
from legged_ppo.viewer.live import LiveRollout
from legged_ppo.viewer.native import view


class Window:
    """Records the heights of the base that it is synchronised with and the arrows; presses a key a step."""

    keys: ClassVar[list[int]] = []

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, **options: Any) -> None:
        self.cam, self.data, self.options = SimpleNamespace(), data, options
        self.user_scn = mujoco.MjvScene(model, maxgeom=10)
        self.heights: list[float] = []
        self.arrows: list[int] = []
        self._keys = iter(self.keys)

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: type | BaseException | TracebackType | None) -> None: ...

    def is_running(self) -> bool:
        return True

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def sync(self) -> None:
        self.heights.append(float(self.data.qpos[2]))
        self.arrows.append(self.user_scn.ngeom)
        for key in itertools.islice(self._keys, 1):
            self.options["key_callback"](key)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Those that were opened."""
    found: list[Window] = []

    def launch(*parts: Any, **options: Any) -> Window:
        found.append(Window(*parts, **options))
        return found[-1]

    monkeypatch.setattr(mujoco.viewer, "launch_passive", launch)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return found


def test_the_viewer_shows_every_step_and_ends_after_the_episodes(
    config: Config, make_policy: Callable[..., ActorCritic], windows: list[Window]
) -> None:
    config.task.episode_length_s = 0.1
    policy = make_policy(config)
    view(policy, config, episodes=2, command=None, place=("rough", 1), seed=0, stochastic=False)
    steps = round(0.1 / (config.sim.dt * config.sim.decimation)) + 1  # one more, as in evaluations
    (window,) = windows
    assert len(window.heights) == 2 * steps
    assert len(np.unique(window.heights)) == len(window.heights), "the robot moves"
    assert window.options["show_left_ui"] is window.options["show_right_ui"] is False


def test_keys_drive_the_robot_and_arrows_show_it(
    config: Config,
    make_policy: Callable[..., ActorCritic],
    windows: list[Window],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    up, right, enter, space = 265, 262, 257, 32
    monkeypatch.setattr(Window, "keys", [up, up, up, right, space, up, space, enter, 999])
    given = []
    command = LiveRollout.command

    def noted(self: LiveRollout, value: Command | None) -> None:
        given.append(value)
        command(self, value)

    monkeypatch.setattr(LiveRollout, "command", noted)
    view(
        make_policy(config),
        config,
        episodes=None,
        seconds=0.2,
        command=None,
        place=("flat", 0),
        seed=0,
        stochastic=False,
    )
    (window,) = windows
    assert given == [
        (0.1, 0.0, 0.0),
        (0.2, 0.0, 0.0),
        (0.3, 0.0, 0.0),
        (0.3, 0.0, -0.2),
        (0.4, 0.0, -0.2),
        (0.0, 0.0, 0.0),
    ]
    assert max(window.arrows[3:8]) == 2, "one of the command, one of the velocity"
    assert len(window.heights) == round(0.2 / 0.02) + 2, "two frames of standing still, paused"
    assert window.heights[5] == window.heights[6]
