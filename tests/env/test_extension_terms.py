"""Rewards, terminations and environments of a recipe's extensions in the control step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_extension_env, make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.errors import ConfigError

Kinematic = Callable[..., LocomotionEnv]
Write = Callable[[str, str], Path]
MODULE = """
    import torch
    from legged_ppo.env.locomotion import LocomotionEnv
    from legged_ppo.runtime.owned_state import OwnedState
    from legged_ppo.terrain.tile import Box, Tile

    calls = []

    def sideways(x):
        calls.append(1)
        return x.command[:, 1]

    def too_wide(x):
        return x.command

    class Steps(OwnedState):
        owned = ("count",)
        def __init__(self, num_envs, device):
            self.count = torch.zeros(num_envs, device=device)
        def __call__(self, x):
            self.count += 1.0
            return self.count.clone()
        def reset(self, mask):
            self.count.masked_fill_(mask, 0.0)

    def low(x):
        return x.state.base_pos[:, 2] < 0.1

    class Mine(LocomotionEnv):
        pass

    class Posts:
        spawn_radius = 0.5
        def __init__(self, config, height=0.1):
            self.height = height
        def build(self, difficulty, rng):
            return Tile([Box((1.0, -0.5, 0.0), (1.5, 0.5, self.height))])

    TERRAINS = {"posts": Posts}
    COMMANDS = {"left": lambda unit, config: torch.ones_like(unit[:, :3]) * unit.new_tensor([0, 1, 0])}
    REWARDS = {"sideways": sideways, "steps": Steps, "too_wide": too_wide, "posts": Posts}
    TERMINATIONS = {"low": low, "sideways": sideways}
    ENVIRONMENTS = {"mine": Mine, "made": lambda config, num_envs, seed, device: "no environment"}
"""


@pytest.fixture
def extended(quiet: Config, write_module: Write) -> Config:
    """Robots whose only reward terms are those that a test adds."""
    write_module("my_terms", MODULE)
    quiet.extensions = ["my_terms"]
    for name, value in vars(quiet.task.rewards).items():
        if isinstance(value, float) and not name.endswith(("target", "sigma", "limit")):
            setattr(quiet.task.rewards, name, 0.0)
    return quiet


def started(kinematic: Kinematic, config: Config, num_envs: int = 3) -> LocomotionEnv:
    env = kinematic(config, num_envs)
    env.start_episodes_together()
    env.commands.command[:, 1] = torch.arange(num_envs) - 1.0
    return env


def test_an_extra_reward_is_weighted_summed_and_reported_like_a_built_in_one(
    extended: Config, kinematic: Kinematic
) -> None:
    extended.task.rewards.extra = {"sideways": -2.0, "steps": 0.5}
    env = started(kinematic, extended)
    assert env.episode_metrics[-2:] == ["Episode/rew_sideways", "Episode/rew_steps"]
    reward = env.step(torch.zeros(3, 12)).reward
    torch.testing.assert_close(reward, 0.02 * torch.tensor([2.5, 0.5, -1.5]))
    torch.testing.assert_close(env.statistics.totals[:, -2:].sum(1), reward)


def test_a_reward_of_weight_zero_is_not_computed(extended: Config, kinematic: Kinematic) -> None:
    extended.task.rewards.extra = {"sideways": 0.0, "steps": 1.0}
    env = started(kinematic, extended)
    import my_terms  # type: ignore[import-not-found]

    env.step(torch.zeros(3, 12))
    assert my_terms.calls == [] and env.reward_terms == {"steps": 1.0}


def test_a_stateful_term_starts_anew_with_its_robots_episode(
    extended: Config, kinematic: Kinematic
) -> None:
    extended.task.rewards.extra = {"steps": 1.0}
    env = started(kinematic, extended)
    env.step(torch.zeros(3, 12))
    env.simulator.state.termination_contact[1] = True
    env.step(torch.zeros(3, 12))
    env.simulator.state.termination_contact[1] = False
    reward = env.step(torch.zeros(3, 12)).reward
    torch.testing.assert_close(reward, 0.02 * torch.tensor([3.0, 1.0, 3.0]))


def test_the_state_of_a_term_is_part_of_the_checkpoint(extended: Config) -> None:
    extended.task.rewards.extra = {"steps": 1.0}
    env, resumed = (make_locomotion_env(extended, 2, seed) for seed in (0, 1))
    env.reset()
    for _ in range(3):
        env.step(torch.zeros(2, 12))
    resumed.load_state_dict(env.state_dict())
    expected, found = (each.step(torch.full((2, 12), 0.1)) for each in (env, resumed))
    assert torch.equal(expected.reward, found.reward) and expected.reward.max() > 0.07


def test_a_recipe_without_stateful_terms_stores_nothing_of_extensions(quiet: Config) -> None:
    assert "extensions" not in make_locomotion_env(quiet, 1, seed=0).state_dict()


def test_an_extra_termination_ends_the_episode_as_a_fall(
    extended: Config, kinematic: Kinematic
) -> None:
    extended.task.rewards.extra, extended.task.rewards.termination = {"sideways": 0.0}, -5.0
    extended.task.rewards.survival = 1.0
    extended.task.terminations = ["low"]
    env = started(kinematic, extended)
    env.simulator.state.base_pos[2, 2] = 0.05
    result = env.step(torch.zeros(3, 12))
    assert result.terminated.tolist() == [False, False, True]
    assert result.truncated.tolist() == [False] * 3
    torch.testing.assert_close(result.reward, torch.tensor([0.02, 0.02, -5.0]))
    assert result.info["episode"][env.episode_metrics.index("Episode/fall_rate")] == 1


@pytest.mark.parametrize(
    ("section", "value", "line"),
    [
        ("rewards", "too_wide", r"REWARDS\['too_wide'\]\): got '\(3, 3\) torch.float32', expected"),
        ("terminations", "sideways", r"got '\(3,\) torch.float32', expected .* torch.bool"),
    ],
)
def test_a_term_of_another_shape_or_type_is_reported_in_one_line(
    extended: Config, kinematic: Kinematic, section: str, value: str, line: str
) -> None:
    extended.task.rewards.extra = {"sideways": 1.0}
    if section == "rewards":
        extended.task.rewards.extra = {value: 1.0}
    else:
        extended.task.terminations = [value]
    env = started(kinematic, extended)
    with pytest.raises(ConfigError, match=line):
        env.step(torch.zeros(3, 12))


def test_a_class_without_owned_state_is_refused(extended: Config, kinematic: Kinematic) -> None:
    extended.task.rewards.extra = {"posts": 1.0}
    with pytest.raises(ConfigError, match=r"extensions \(posts\): got 'Posts', expected a class"):
        kinematic(extended, 1)


def test_terrain_types_and_samplers_are_those_that_the_recipe_names(extended: Config) -> None:
    extended.task.rewards.survival = 1.0
    extended.task.commands.sampler = "left"
    extended.terrain.proportions = {"posts": 1.0}
    extended.terrain.parameters = {"posts": {"height": 0.3}}
    env = make_locomotion_env(extended, 2, seed=0)
    assert env.terrain.heights.max() == pytest.approx(0.3)
    env.start_episodes_together()
    assert env.commands.command.tolist() == [[0.0, 1.0, 0.0]] * 2


def test_environment_names_a_subclass_or_a_function(extended: Config) -> None:
    extended.task.rewards.survival, extended.environment = 1.0, "mine"
    env = make_locomotion_env(extended, 2, seed=0)
    assert type(env).__name__ == "Mine" and env.reset()["commands"].shape == (2, 3)
    extended.environment = "made"
    with pytest.raises(ConfigError, match="got 'made returned a str', expected an Environment"):
        make_extension_env(extended, 2, seed=0)
    with pytest.raises(ConfigError, match="expected a subclass of LocomotionEnv"):
        make_locomotion_env(extended, 2, seed=0)
    extended.environment = "mime"
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        make_extension_env(extended, 2, seed=0)
