"""Observation groups of a recipe's extensions: widths, lasting state, symmetry, values that are not finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from legged_ppo.config.extensions import BUILT_IN
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.errors import ConfigError
from legged_ppo.interface import ROTATION, SignedPermutation
from legged_ppo.models.actor_critic import ActorCritic

Kinematic = Callable[..., LocomotionEnv]
Write = Callable[[str, str], Path]
MODULE = """
    import torch
    from legged_ppo.env.extension_groups import ObservationGroup
    from legged_ppo.env.symmetry import joint_permutation
    from legged_ppo.interface import SignedPermutation
    from legged_ppo.runtime.owned_state import OwnedState

    class Heights(OwnedState):
        owned = ("past",)
        def __init__(self, num_envs, device):
            self.past = torch.zeros(num_envs, 3, 1, device=device)
        def __call__(self, x):
            self.past.copy_(self.past.roll(1, dims=1))
            self.past[:, 0, 0] = x.state.base_pos[:, 2]
            return self.past.flatten(1).clone()
        def reset(self, mask):
            self.past.masked_fill_(mask[:, None, None], 0.0)

    one = SignedPermutation.of_signs(1.0, 1.0, 1.0)
    OBSERVATIONS = {
        "heights": ObservationGroup(Heights, width=3, mirror=one),
        "joints": ObservationGroup(
            lambda x: x.state.joint_pos, width=lambda robot: robot.num_joints, mirror=joint_permutation
        ),
        "speed": ObservationGroup(lambda x: x.state.base_lin_vel, width=3, privileged=True),
        "wide": ObservationGroup(lambda x: x.state.joint_pos, width=3, mirror=joint_permutation),
    }
"""


@pytest.fixture
def extended(quiet: Config, write_module: Write) -> Config:
    write_module("my_groups", MODULE)
    quiet.extensions = ["my_groups"]
    return quiet


def started(config: Config, kinematic: Kinematic, *groups: str) -> LocomotionEnv:
    config.task.observations.groups = list(groups)
    env = kinematic(config, 3)
    env.start_episodes_together()
    return env


def test_no_extension_can_take_the_name_of_a_built_in_group(
    quiet: Config, kinematic: Kinematic
) -> None:
    quiet.task.observations.depth.enabled = True
    assert set(BUILT_IN["observations"]) == {*kinematic(quiet, 1).obs_dims, "image"}


def test_groups_follow_the_built_in_ones_and_reach_the_actor(
    extended: Config, kinematic: Kinematic
) -> None:
    env = started(extended, kinematic, "joints", "heights")
    assert list(env.obs_dims)[-2:] == ["joints", "heights"] and env.obs_dims["joints"] == 12
    obs = env.step(torch.zeros(3, 12)).obs
    assert {name: group.shape[1] for name, group in obs.items()} == dict(env.obs_dims)
    assert torch.equal(obs["joints"], env.simulator.state.joint_pos)
    trunk = ActorCritic(env.obs_dims, 12, extended.policy).trunk
    assert {"joints", "heights"} <= set(trunk.groups)


def test_a_privileged_group_is_appended_to_what_the_critic_alone_sees(
    extended: Config, kinematic: Kinematic
) -> None:
    plain = started(extended, kinematic).obs_dims
    env = started(extended, kinematic, "speed")
    assert dict(env.obs_dims) == plain | {"privileged": plain["privileged"] + 3}
    env.simulator.state.base_lin_vel[:] = torch.tensor([1.0, 2.0, 3.0])
    assert env.step(torch.zeros(3, 12)).obs["privileged"][0, -3:].tolist() == [1.0, 2.0, 3.0]


def test_a_group_with_history_takes_one_sample_a_step_and_starts_anew_with_the_episode(
    extended: Config, kinematic: Kinematic
) -> None:
    env = started(extended, kinematic, "heights")
    height = env.simulator.state.base_pos[:, 2]
    height.fill_(1.0)
    env.step(torch.zeros(3, 12))
    height.fill_(2.0)
    env.simulator.state.termination_contact[1] = True
    result = env.step(torch.zeros(3, 12))
    first = float(env.simulator.state.base_pos[1, 2])
    assert result.obs["heights"][0, :2].tolist() == [2.0, 1.0]
    assert result.obs["heights"][1].tolist() == [first, 0.0, 0.0]
    assert result.final_obs is not None and result.final_obs["heights"][1, :2].tolist() == [2, 1]
    env.simulator.state.termination_contact[1] = False
    later = env.step(torch.zeros(3, 12)).obs["heights"]
    assert later[0].tolist() == [2.0, 2.0, 1.0] and later[1].tolist() == [first, first, 0.0]


def test_the_history_is_part_of_the_checkpoint(extended: Config) -> None:
    extended.task.observations.groups = ["heights"]
    env, resumed = (make_locomotion_env(extended, 2, seed) for seed in (0, 1))
    env.reset()
    env.step(torch.zeros(2, 12))
    resumed.load_state_dict(env.state_dict())
    expected, found = (each.step(torch.full((2, 12), 0.1)).obs for each in (env, resumed))
    assert torch.equal(expected["heights"], found["heights"]) and expected["heights"][:, 2].all()


def test_an_observation_that_is_not_finite_ends_its_robot_alone(
    extended: Config, kinematic: Kinematic
) -> None:
    env = started(extended, kinematic, "speed")
    env.extension_groups._compute["speed"] = lambda x: torch.where(
        (torch.arange(3) == 1)[:, None], torch.nan, x.state.base_lin_vel
    )
    result = env.step(torch.zeros(3, 12))
    assert not result.terminated.any() and result.obs["privileged"].isfinite().all()
    assert env.step(torch.zeros(3, 12)).terminated.tolist() == [False, True, False]


def test_mirrors_extend_the_symmetry(extended: Config, kinematic: Kinematic) -> None:
    env = started(extended, kinematic, "joints", "heights")
    symmetry = env.symmetry
    torch.testing.assert_close(symmetry.observations["joints"].order, symmetry.actions.order)
    assert set(symmetry.observations) == set(env.obs_dims)


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ("speed", "task.observations.groups: got 'speed', expected a group with a mirror"),
        ("wide", r"OBSERVATIONS\['wide'\]\): got 'a mirror of width 12', expected the group's"),
    ],
)
def test_symmetry_without_a_mirror_of_the_width_is_refused(
    extended: Config, kinematic: Kinematic, group: str, line: str
) -> None:
    extended.task.observations.groups = [group]
    env = kinematic(extended, 3)
    with pytest.raises(ConfigError, match=line):
        _ = env.symmetry


def test_a_privileged_mirror_is_appended_too(extended: Config, kinematic: Kinematic) -> None:
    plain = kinematic(extended, 1).symmetry.observations["privileged"]
    import my_groups  # type: ignore[import-not-found]

    group = my_groups.ObservationGroup(lambda x: x.state.base_ang_vel, 3, ROTATION, True)
    my_groups.OBSERVATIONS["speed"] = group
    env = started(extended, kinematic, "speed")
    found = env.symmetry.observations["privileged"]
    expected = SignedPermutation.joined([plain, ROTATION])
    assert torch.equal(found.order, expected.order) and torch.equal(found.sign, expected.sign)


def test_a_group_of_another_width_is_reported_in_one_line(
    extended: Config, kinematic: Kinematic
) -> None:
    extended.task.observations.groups = ["wide"]
    with pytest.raises(ConfigError, match=r"OBSERVATIONS\['wide'\]\): got '\(3, 12\) torch.float"):
        kinematic(extended, 3).reset()
