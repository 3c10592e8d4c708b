"""Survey: attitude and heights follow the state, also of the robots that a step resets."""

from __future__ import annotations

import torch

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.survey import Survey

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
