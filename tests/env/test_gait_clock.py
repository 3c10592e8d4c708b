"""The gait clock: a phase that robots on the move observe, and the gait that it asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from legged_ppo.config.schema import Config, GaitConfig
from legged_ppo.config.validation import validate
from legged_ppo.env.gait_clock import GaitClock
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.env.rewards import moving
from legged_ppo.env.symmetry import clock_reflection
from legged_ppo.errors import ConfigError
from legged_ppo.interface import SignedPermutation

LEFT_RIGHT = SignedPermutation(torch.tensor([1, 0, 3, 2]), torch.ones(4))


def clock(num_envs: int = 3, **changes: object) -> GaitClock:
    generator = torch.Generator().manual_seed(0)
    return GaitClock(GaitConfig(**{"frequency": 2.0} | changes), num_envs, 4, 0.02, generator)  # type: ignore[arg-type]


def test_the_phase_advances_with_the_frequency_and_wraps() -> None:
    one = clock()
    for _ in range(30):
        one.step()
    torch.testing.assert_close(one.phase, torch.full((3,), 0.2))  # 1.2 strides in 0.6 s


def test_a_robot_that_is_to_stand_does_not_observe_the_clock() -> None:
    one = clock(2)
    one.phase.fill_(1 / 12)
    seen = one.observation(torch.tensor([True, False]))
    torch.testing.assert_close(seen, torch.tensor([[0.5, math.sqrt(0.75)], [0.0, 0.0]]))


def test_without_a_frequency_nothing_is_observed() -> None:
    one = clock(2, frequency=0.0)
    assert one.observation(torch.ones(2, dtype=torch.bool)).shape == (2, one.size) == (2, 0)


def test_diagonal_feet_swing_together_in_a_trot() -> None:
    one = clock(4)
    one.phase.copy_(torch.tensor([0.0, 0.25, 0.5, 0.75]))
    expected = [[0.0, -1, -1, 0.0], [0.5, -1, -1, 0.5], [-1, 0.0, 0.0, -1], [-1, 0.5, 0.5, -1]]
    torch.testing.assert_close(one.swing(), torch.tensor(expected))


def test_an_episode_begins_with_either_pair_of_feet() -> None:
    one = clock(1000)
    one.phase.fill_(0.3)
    mask = torch.arange(1000) < 900
    one.reset(mask)
    assert set(one.phase[mask].tolist()) == {0.0, 0.5}
    assert 0.4 < float((one.phase[mask] == 0.5).float().mean()) < 0.6
    assert torch.all(one.phase[~mask] == torch.tensor(0.3))


def test_a_mirrored_trot_is_half_a_stride_later() -> None:
    (reflection,) = clock_reflection(GaitConfig(frequency=2.0), LEFT_RIGHT)
    one = clock(1)
    moving = torch.ones(1, dtype=torch.bool)
    one.phase.fill_(0.1)
    seen, swing = one.observation(moving), one.swing()
    one.phase.fill_(0.6)
    torch.testing.assert_close(reflection(seen), one.observation(moving))
    torch.testing.assert_close(LEFT_RIGHT(swing), one.swing())


def test_a_mirrored_pronk_is_itself_and_a_walk_has_no_mirror_image_of_this_kind() -> None:
    pronk = GaitConfig(frequency=2.0, offsets=[0.0] * 4)
    (reflection,) = clock_reflection(pronk, LEFT_RIGHT)
    assert reflection.sign.tolist() == [1.0, 1.0]
    with pytest.raises(ConfigError, match=r"task\.gait\.offsets"):
        clock_reflection(GaitConfig(frequency=2.0, offsets=[0.0, 0.4, 0.75, 0.25]), LEFT_RIGHT)


def test_the_task_observes_the_clock_and_restores_it(
    quiet: Config, kinematic: Callable[..., LocomotionEnv]
) -> None:
    quiet.task.gait.frequency = 2.0
    env = kinematic(quiet, 2)
    env.reset()
    for _ in range(7):
        obs = env.step(torch.zeros(2, 12)).obs["commands"]
    assert obs.shape == (2, env.obs_dims["commands"]) == (2, 5)
    torch.testing.assert_close(obs[:, 3:], env.clock.observation(moving(env.commands.command)))
    saved, phase = env.state_dict(), env.clock.phase.clone()
    env.step(torch.zeros(2, 12))
    assert not torch.equal(env.clock.phase, phase)
    env.load_state_dict(saved)
    assert torch.equal(env.clock.phase, phase)


def test_a_phase_for_each_foot_is_required() -> None:
    with pytest.raises(ConfigError, match=r"task\.gait\.offsets.*4 phases"):
        clock(offsets=[0.0, 0.5])


@pytest.mark.parametrize(
    ("gait", "weights", "key"),
    [
        ({"frequency": 30.0}, {}, "task.gait.frequency"),
        ({}, {"gait_phase": 1.0}, "task.rewards.gait_phase"),
        ({}, {"swing_height": -1.0}, "task.rewards.swing_height"),
    ],
)
def test_a_clock_that_cannot_be_followed_is_refused(
    gait: dict[str, float], weights: dict[str, float], key: str
) -> None:
    config = Config()
    config.task.gait = replace(config.task.gait, **gait)  # type: ignore[arg-type]
    config.task.rewards = replace(config.task.rewards, **weights)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as error:
        validate(config)
    assert error.value.key == key


def test_an_episode_that_ends_begins_at_half_strides_and_others_go_on(
    quiet: Config, kinematic: Callable[..., LocomotionEnv]
) -> None:
    quiet.task.gait.frequency = 2.0
    env = kinematic(quiet, 2)
    env.start_episodes_together()
    env.clock.phase.fill_(0.2)
    env.simulator.state.termination_contact[0] = True
    assert env.step(torch.zeros(2, 12)).terminated.tolist() == [True, False]
    assert float(env.clock.phase[0]) in (0.0, 0.5)
    assert float(env.clock.phase[1]) == pytest.approx(0.24)
