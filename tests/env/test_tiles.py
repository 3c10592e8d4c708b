"""Robots and their tiles: where they start, what the engine hears of it, the way out and in again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from rollouts import actions, assert_same_results, rollout

from legged_ppo.config.schema import (
    Config,
    CurriculumConfig,
    TerrainConfig,
)
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.terrain.tile import RIM

Kinematic = Callable[..., LocomotionEnv]


def test_levels_are_shared_out_among_another_number_of_ranks(busy: Config) -> None:
    parts = [make_locomotion_env(busy, 6, seed=seed) for seed in (0, 1)]
    for level, env in enumerate(parts):
        env.placement.curriculum.levels[:] = level
    everyone = make_locomotion_env(busy, 12, seed=2)
    everyone.load_levels([env.state_dict() for env in parts])
    assert everyone.terrain_type.tolist() == [0] * 6 + [1] * 6
    assert everyone.terrain_level.tolist() == [0] * 3 + [1] * 3 + [0] * 3 + [1] * 3
    everyone.reset()
    assert not everyone.step(actions(everyone, 0)).terminated.any()


def test_robots_start_on_their_tiles_at_the_spawn_height(busy: Config) -> None:
    env = make_locomotion_env(busy, 16, seed=0)
    env.reset()
    position = env.simulator.state.base_pos
    origins = torch.tensor(env.terrain.origins).float()[env.terrain_type, env.terrain_level]
    assert 1.5 < (position - origins)[:, :2].abs().max() <= 6.0 / 2 - RIM
    below = env.placement.heights(position[:, None, :2], env.placement.tile)[:, 0]
    clearance = position[:, 2] - below
    assert (clearance >= busy.robot.spawn_height - 1e-6).all()
    flat = env.terrain_type == env.terrain.types.index("flat")
    torch.testing.assert_close(clearance[flat], torch.full((8,), busy.robot.spawn_height))
    assert set(zip(env.terrain_type.tolist(), env.terrain_level.tolist(), strict=True)) == {
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    }


def test_commands_know_the_robots_on_their_types(busy: Config) -> None:
    busy.task.commands.forward_types = [*busy.terrain.proportions, "gaps"][-2:]
    env = make_locomotion_env(busy, 16, seed=0)
    forward, flat = env.commands.on_forward, env.commands.on_flat
    named = [env.terrain.types[i] in busy.task.commands.forward_types for i in env.terrain_type]
    assert forward.tolist() == named and 0 < sum(named) < 16
    assert torch.equal(flat, env.terrain_type == env.terrain.types.index("flat"))
    env.place(env.terrain.types.index("flat"), 0)
    assert flat.all() and not forward.any(), "the masks that commands hold follow the robots"


def test_the_engine_hears_of_new_tiles_before_robots_are_reset_there(
    busy: Config, kinematic: Kinematic
) -> None:
    busy.terrain.curriculum = CurriculumConfig(rule="success", distance=0.0)
    env = kinematic(busy, 8)
    env.start_episodes_together()
    env.placement.curriculum.levels[:] = 0
    env.placement.find_tiles()
    before = env.placement.tile.clone()
    env.commands.fix((0.0, 0.0, 0.0))  # standing still is a success
    rollout(env, range(env.max_episode_length))
    assert (env.placement.tile == before + 1).all()
    assert torch.equal(env.simulator.tiles_at_reset, env.placement.tile)  # type: ignore[attr-defined]


def test_a_state_continues_in_an_environment_that_began_on_other_tiles(busy: Config) -> None:
    env, resumed = make_locomotion_env(busy, 6, seed=0), make_locomotion_env(busy, 6, seed=1)
    env.place(1, 1)
    env.reset()
    rollout(env, range(5))
    resumed.load_state_dict(env.state_dict())
    assert_same_results(rollout(env, range(5, 15)), rollout(resumed, range(5, 15)))


def test_no_foot_begins_in_rough_ground(quiet: Config) -> None:
    quiet.terrain = TerrainConfig(proportions={"rough": 1.0}, roughness=[0.15, 0.15])
    env = make_locomotion_env(quiet, 64, seed=0)
    env.start_episodes_together()
    feet = env.simulator.state.foot_pos
    gap = feet[..., 2] - env.placement.heights(feet[..., :2], env.placement.tile)
    standing = robot_on_the_plane(quiet)
    assert gap.min() > standing - 0.02 and gap.max() > standing + 0.05


def robot_on_the_plane(quiet: Config) -> float:
    """Height [m] at which its feet begin."""
    env = make_locomotion_env(replace(quiet, terrain=TerrainConfig()), 1, seed=0)
    env.start_episodes_together()
    return float(env.simulator.state.foot_pos[..., 2].min())


def test_robots_that_leave_their_tile_come_in_at_the_opposite_edge(quiet: Config) -> None:
    env, reference = make_locomotion_env(quiet, 3, seed=0), make_locomotion_env(quiet, 3, seed=0)
    for each in (env, reference):
        each.start_episodes_together()
        rollout(each, range(3))
    size, origin = quiet.terrain.tile_size, env.placement.origin[1, :2]
    # The second robot stands just inside an edge and moves out; its world is flat and repeats.
    for each, x in ((env, size / 2 - 1e-4), (reference, -size / 2 + 1e-4)):
        each.simulator.groups[0].batch.qpos[1, :2] = origin.double().numpy() + np.array([x, 0.3])  # type: ignore[attr-defined]
        each.simulator.groups[0].batch.qvel[1, 0] = 1.0  # type: ignore[attr-defined]
    result, expected = (each.step(actions(each, 3)) for each in (env, reference))
    for name in result.obs:
        torch.testing.assert_close(result.obs[name], expected.obs[name], atol=2e-3, rtol=1e-3)
    here = env.simulator.state
    assert (here.base_pos[1, 0] - origin[0]) < -size / 2 + 0.05
    assert (
        env.placement.wrapped[1].tolist() == [-size, 0.0]
        and not env.placement.wrapped[[0, 2]].any()
    )
    reach = (here.foot_pos[1, :, :2] - here.base_pos[1, :2]).norm(dim=1)
    assert reach.max() < 0.5, "the feet came along"
    walked = env.position[1] - (origin + torch.tensor([size / 2, 0.3]))
    assert walked.abs().max() < 0.05
