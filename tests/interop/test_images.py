"""Environments that show pictures: what of them reaches the policy, and that it learns from it."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import GymConfig
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.task import task_of
from legged_ppo.interop.gymnasium import FrameSkip, GymnasiumEnv
from legged_ppo.interop.images import are_images, image_shape, pack_images
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.trunks import IMAGE
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.trainer import Trainer

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "gym" / "carracing_gru.yaml"
EDGE, STEPS = 40, 6


class Flash(gymnasium.Env[np.ndarray, np.int64]):
    """The first picture of an episode is bright on the left or on the right; a reward of 1 for every action
    that names the side, which later pictures do not show."""

    observation_space = gymnasium.spaces.Box(0, 255, (EDGE, EDGE, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.side, self.time = int(self.np_random.integers(2)), 0
        picture = np.zeros((EDGE, EDGE, 3), np.uint8)
        picture[:, self.side * EDGE // 2 : (self.side + 1) * EDGE // 2] = 200
        return picture, {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        picture = np.full((EDGE, EDGE, 3), 10 * self.time, np.uint8)
        return picture, float(action == self.side), self.time == STEPS, False, {}


if "Flash-v0" not in gymnasium.registry:
    gymnasium.register("Flash-v0", Flash)


def test_pictures_are_shrunk_by_areas_and_weighed_by_luminance() -> None:
    observed = np.zeros((2, 80, 72, 3), np.uint8)
    observed[0, :40, :, 1] = 100
    observed[1, ::2] = 50
    space = gymnasium.spaces.Box(0, 255, (80, 72, 3), np.uint8)
    plain = pack_images(GymConfig(), space, observed)
    assert plain.shape == (2, 3, 80, 72) and plain.is_contiguous()
    assert torch.equal(plain[0, 1], torch.as_tensor(observed[0, :, :, 1]))
    small = pack_images(GymConfig(image_size=40, grayscale=True), space, observed)
    assert small.shape == (2, 1, 40, 40) and small.dtype == torch.uint8
    assert (small[0, 0, :20] == 59).all() and (small[0, 0, 20:] == 0).all()  # 0.587 * 100
    assert (small[1] == 25).all()  # every other line, and weights of 1 together


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((48, 40), (1, 48, 40)), ((4, 48, 40), (4, 48, 40)), ((48, 40, 4), (4, 48, 40))],
)
def test_gray_pictures_and_stacked_frames_are_pictures_too(
    shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
    config = GymConfig(grayscale=True)  # of colours, which there are none of
    observed = np.random.default_rng(0).integers(0, 255, (2, *shape), np.uint8)
    packed = pack_images(config, space, observed)
    assert image_shape(config, space) == wanted == tuple(packed.shape[1:])
    first = (
        observed[:, :, :, 1] if shape[-1] == 4 else observed[:, 1] if len(shape) == 3 else observed
    )
    assert torch.equal(packed[:, min(1, wanted[0] - 1)], torch.as_tensor(first))


def test_bytes_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="stacked frames"):
        are_images(gymnasium.spaces.Box(0, 255, (4, 84, 84, 3), np.uint8))
    assert not are_images(gymnasium.spaces.Box(0, 255, (128,), np.uint8)), "Atari's memory"


def test_an_episode_ends_with_its_own_last_picture() -> None:
    env = GymnasiumEnv(GymConfig(id="Flash-v0", grayscale=True), 2, seed=1, gamma=0.99)
    assert env.obs_dims == {IMAGE: (1, EDGE, EDGE)}
    env.reset()
    for _ in range(STEPS):
        result = env.step(torch.eye(2))
    assert result.terminated.all()
    assert (result.final_obs[IMAGE] == 10 * STEPS).all()
    assert (result.obs[IMAGE].flatten(1).amax(1) == 200).all()


def test_a_skipped_frame_repeats_the_action() -> None:
    env = GymnasiumEnv(GymConfig(id="Flash-v0", frame_skip=3), 2, seed=1, gamma=0.99)
    env.reset()
    rewards = env.step(torch.eye(2)).reward + env.step(1.0 - torch.eye(2)).reward
    assert rewards.tolist() == [3.0, 3.0]  # each side was named once, for three frames


class Clock(gymnasium.Env[np.ndarray, np.int64]):
    """Shows the time, which is up after 10 steps."""

    observation_space = gymnasium.spaces.Box(-100.0, 100.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        seen = np.array([self.time, -self.time], np.float32)
        return seen, 1.0, False, self.time == 10, {}


def test_a_skip_shows_a_vector_that_was_and_ends_with_the_episode() -> None:
    env = FrameSkip(Clock(), 4)
    env.reset()
    steps = [env.step(np.int64(0)) for _ in range(3)]
    assert [step[0].tolist() for step in steps] == [[4, -4], [8, -8], [10, -10]]
    assert [(step[1], step[3]) for step in steps] == [(4.0, False), (4.0, False), (2.0, True)]


def test_a_skip_shows_the_brighter_of_the_last_two_pictures() -> None:
    env = FrameSkip(Flash(), 4)
    first, _ = env.reset(seed=1)
    assert (env.step(np.int64(0))[0] == 40).all()
    short = FrameSkip(Flash(), STEPS + 5)
    short.reset(seed=1)
    picture, _, terminated, *_ = short.step(np.int64(0))
    assert terminated and (picture == 10 * STEPS).all() and first.max() == 200


def test_a_sequence_of_pictures_is_its_steps() -> None:
    config = load_config(RECIPE).policy
    policy = ActorCritic({IMAGE: (1, EDGE, EDGE)}, 3, config)
    assert policy.normalizer is None
    pictures = torch.randint(0, 256, (5, 4, 1, EDGE, EDGE), dtype=torch.uint8)
    starts = torch.zeros(5, 4, dtype=torch.bool)
    starts[2, 1] = True
    state = policy.initial_state(4, torch.device("cpu"))
    whole, values, after = policy.sequence({IMAGE: pictures}, state, starts)
    for t in range(5):
        one, value, state = policy.step({IMAGE: pictures[t]}, state, starts[t])
        torch.testing.assert_close(one.mode, whole.mode[t])
        torch.testing.assert_close(value, values[t])
    torch.testing.assert_close(state, after)


def test_it_learns_a_task_that_requires_memory_of_an_image(tmp_path: Path) -> None:
    overrides = [
        "gym.id=Flash-v0",
        "gym.image_size=0",
        "gym.frame_skip=1",
        "gym.normalize_reward=false",
        "ppo.rollout_length=24",
        "ppo.bptt_length=12",
        "ppo.gamma=0.5",
        "training.num_envs=16",
        "training.total_timesteps=9600",
        "training.wandb=disabled",
        f"training.log_dir={tmp_path}",
    ]
    config = load_config(RECIPE, overrides)
    config.gym.kwargs.clear()
    env = task_of(config).make_env(16, seed=1)
    trainer = Trainer(config, env, RunDirectory.create(config, "flash"), scorer=None)
    assert trainer.train()
    returns = trainer.episodes[-1][1] / trainer.episodes[-1][0]
    assert returns > 0.9 * STEPS  # 3 without memory


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["gym.image_size=20"], "gym.image_size"),
        (["gym.observe=[0]"], "gym.observe"),
        (["gym.id=CartPole-v1", "gym.image_size=0"], "gym.grayscale"),
        (["gym.id=CartPole-v1", "gym.grayscale=false"], "gym.image_size"),
    ],
)
def test_what_cannot_be_shown_is_refused(overrides: list[str], key: str) -> None:
    config = load_config(RECIPE, ["gym.id=Flash-v0", "gym.frame_skip=1", *overrides])
    config.gym.kwargs.clear()
    with pytest.raises(ConfigError) as error:
        task_of(config).make_env(2, seed=1)
    assert error.value.key == key
