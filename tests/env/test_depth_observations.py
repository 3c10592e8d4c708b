"""The observation group `depth` of robots that walk, fall and are reset."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from rollouts import actions, assert_same_results, rollout

from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.overrides import apply_overrides
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.errors import ConfigError
from legged_ppo.robots.front import camera_mount
from legged_ppo.robots.spec import load_robot

SHAPE = (20, 30)


@pytest.fixture
def seeing(busy: Config) -> Config:
    depth = busy.task.observations.depth
    depth.enabled, (depth.rows, depth.columns) = True, SHAPE
    return busy


def test_without_the_camera_there_is_nothing_of_it(busy: Config) -> None:
    env = make_locomotion_env(busy, 2, seed=0)
    assert env.depth is None and "depth" not in env.obs_dims
    assert "depth" not in env.reset() and "depth" not in env.state_dict()


def test_the_group_has_its_shape_and_range_and_is_a_copy(seeing: Config) -> None:
    env = make_locomotion_env(seeing, 6, seed=0)
    assert env.obs_dims["depth"] == SHAPE
    first = env.reset()["depth"]
    kept = first.clone()
    results = rollout(env, range(40))
    assert torch.equal(first, kept)
    for result in results:
        for obs in (result.obs, result.final_obs or {}):
            image = obs["depth"]
            assert image.shape == (6, *SHAPE) and image.dtype == torch.float32
            assert image.min() >= -0.5 and image.max() <= 0.5 and image.std() > 0.1


def test_frames_last_for_their_period_and_episodes_begin_with_one(seeing: Config) -> None:
    env = make_locomotion_env(seeing, 12, seed=0)
    env.reset()
    before, fresh, ends = env.reset()["depth"], 0, 0
    for result in rollout(env, range(60)):
        assert result.final_obs is not None
        done = result.terminated | result.truncated
        changed = (result.final_obs["depth"] != before).flatten(1).any(1)
        fresh += int(changed.sum())
        reset = (result.obs["depth"] != result.final_obs["depth"]).flatten(1).any(1)
        assert torch.equal(reset, done)
        ends, before = ends + int(done.sum()), result.obs["depth"]
    assert ends > 5
    assert 0.15 < fresh / (12 * 60) < 0.22, "10 Hz in steps of 20 ms"


def test_a_restored_environment_sees_the_same(seeing: Config) -> None:
    env = make_locomotion_env(seeing, 6, seed=0)
    env.reset()
    rollout(env, range(13))
    state = env.state_dict()
    onward = rollout(env, range(13, 45))
    other = make_locomotion_env(seeing, 6, seed=1)
    other.reset()
    other.load_state_dict(state)
    assert_same_results(onward, rollout(other, range(13, 45)))


def test_the_state_of_the_camera_keeps_its_memory(
    kinematic: Callable[..., LocomotionEnv], seeing: Config
) -> None:
    env = kinematic(seeing, 6)
    assert env.depth is not None
    before = {name: each.data_ptr() for name, each in env.depth.owned_tensors().items()}
    env.reset()
    rollout(env, range(40))
    env.load_state_dict(env.state_dict())
    assert {name: each.data_ptr() for name, each in env.depth.owned_tensors().items()} == before


def test_mirrored_robots_see_mirrored_images(
    kinematic: Callable[..., LocomotionEnv], quiet: Config
) -> None:
    """On level ground, two robots that roll to opposite sides."""
    depth = quiet.task.observations.depth
    depth.enabled, depth.position_error, depth.angle_error_deg = True, 0.0, 0.0
    env = kinematic(quiet, 2)
    env.reset()
    state = env.simulator.state
    state.base_pos[:, :2] = env.placement.origin[:, :2]
    quat = torch.tensor([[0.98, 0.15, 0.1, 0.0], [0.98, -0.15, 0.1, 0.0]])
    state.base_quat.copy_(torch.nn.functional.normalize(quat))
    image = [env.step(torch.zeros(2, 12)).obs["depth"] for _ in range(12)][-1]
    reflect = env.symmetry.observations["depth"]
    assert not torch.allclose(image[0], image[1], atol=0.05)
    torch.testing.assert_close(reflect(image)[0], image[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("robot", "front"), [("go2", 0.331), ("a1", 0.275)])
def test_the_camera_is_at_the_robots_front(robot: str, front: float) -> None:
    config = load_config(CONFIG_DIR / "phase1_quickstart.yaml", [f"robot={robot}"])
    mount = camera_mount(load_robot(config.robot))
    assert mount == pytest.approx((front, 0.0, 0.03), abs=1e-3)
    assert camera_mount(load_robot(config.robot), [0.2, 0.01, 0.05]) == (0.2, 0.01, 0.05)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("far=0.2", "near (0.3 m)"),
        ("rows=0", "a number > 0"),
        ("columns=100000", "at most 1024"),
        ("horizontal_fov_deg=180", "at most 170"),
        ("position=[0.3,0,-0.4]", "on the ground"),
        ("position=[0.3,0]", "[x, y, z]"),
        ("pitch_deg=100", "from -90 to 90"),
        ("period_s=[0.2,0.1]", "low <= high"),
        ("latency_s=[0,3]", "delays up to 2 s"),
        ("holes=1.5", "from 0 to 1"),
        ("noise=-1", "a number >= 0"),
    ],
)
def test_a_camera_that_cannot_be_is_refused_with_its_key(override: str, expected: str) -> None:
    config = Config()
    config.task.observations.depth.near = 0.3
    with pytest.raises(ConfigError) as caught:
        apply_overrides(config, [f"task.observations.depth.{override}"])
    assert caught.value.key == f"task.observations.depth.{override.partition('=')[0]}"
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_state_of_another_shape_is_not_loaded(seeing: Config) -> None:
    env = make_locomotion_env(seeing, 2, seed=0)
    env.reset()
    env.step(actions(env, 0))
    state = env.state_dict()
    seeing.task.observations.depth.rows = 10
    other = make_locomotion_env(seeing, 2, seed=0)
    with pytest.raises(RuntimeError, match=r"reading: saved with shape \(2, 20, 30\)"):
        other.load_state_dict(state)
