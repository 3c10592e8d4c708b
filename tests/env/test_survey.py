"""Survey: attitude and heights follow the state, also of the robots that a step resets."""

from __future__ import annotations

import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.survey import Survey
from legged_ppo.terrain.height_map import HeightMap

NAMES = ("projected_gravity", "yaw", "base_height", "foot_height", "clearance")


def test_after_a_step_that_resets_some_robots_it_is_that_of_the_present_state() -> None:
    changes = ["+preset=debug", "terrain=course", "task.episode_length_s=0.4", "sim.threads=1"]
    env = make_locomotion_env(load_config(CONFIG_DIR / "phase1_fast.yaml", changes), 24, seed=1)
    env.reset()
    resets = 0
    for _ in range(12):
        before = env.survey.clearance
        result = env.step(torch.full((24, 12), 0.3))
        done = result.terminated | result.truncated
        resets += int(done.any() and not done.all())
        present = Survey(env.simulator, env.placement, env.scandots)
        for name in NAMES:
            torch.testing.assert_close(getattr(env.survey, name), getattr(present, name))
        assert not torch.equal(env.survey.clearance, before)
    assert resets > 3


def test_over_a_hole_heights_are_those_above_the_ground_beside_it() -> None:
    changes = ["+preset=debug", "terrain=full", "terrain.easiest_gap_depth=0.3", "sim.threads=1"]
    env = make_locomotion_env(load_config(CONFIG_DIR / "phase1_fast.yaml", changes), 64, seed=1)
    env.reset()
    types, state = env.terrain.types, env.simulator.state
    # Feet in steps of 7 cm from the middle of the tile outwards, bases over the first ones.
    out = torch.arange(4) * 0.07 + torch.arange(64)[:, None] % 16 * 0.14
    state.foot_pos[..., 0] = env.placement.origin[:, :1] + out
    state.foot_pos[..., 1:] = torch.stack(
        [env.placement.origin[:, 1:2].expand(-1, 4), out - 0.5], -1
    )
    state.base_pos[:, :2] = state.foot_pos[:, 0, :2]
    env.survey.take()
    points = torch.cat([state.base_pos[:, None, :2], state.foot_pos[..., :2]], 1)
    ground = HeightMap(env.terrain, env.device)(points, env.placement.tile)
    avoided = {types.index("gaps"), types.index("stepping_stones")}
    holes = torch.tensor([int(column) in avoided for column in env.terrain_type])
    deep, footing = ground < -0.1, torch.where(holes[:, None], ground.clamp(min=0.0), ground)
    torch.testing.assert_close(env.survey.foot_height, state.foot_pos[..., 2] - footing[:, 1:])
    torch.testing.assert_close(env.survey.base_height, state.base_pos[:, 2] - footing[:, 0])
    assert deep[holes].any() and deep[~holes].any(), (
        "pits and stairs go on counting from their ground"
    )
