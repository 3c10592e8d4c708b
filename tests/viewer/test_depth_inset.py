"""The depth image in a video: in its corner, right way round, and without any effect on the robot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import torch
from PIL import Image, ImageFont

from legged_ppo.config.schema import Config, TerrainConfig
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.viewer.depth_inset import DepthInset
from legged_ppo.viewer.video import render_episodes

SIZE = (800, 450)
RED = np.array([1, 0, -1])


def drawn(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """A frame with the image, as floats, and its part with the image alone."""
    env = make_locomotion_env(config, 1, seed=0)
    env.start_episodes_together()
    image = Image.new("RGB", SIZE, (128, 128, 128))
    DepthInset(env, 14, ImageFont.load_default(size=17)).draw(image)
    frame = np.asarray(image).astype(int)
    height = round(224 * 58 / 87)
    return frame, frame[450 - 14 - height : 450 - 14, 14 : 14 + 224]


def test_near_ground_is_red_below_and_the_distance_dark_above(quiet: Config) -> None:
    quiet.task.observations.depth.pitch_deg = 10.0
    frame, inset = drawn(quiet)
    assert ((inset @ RED)[-20:] > 50).all(), "the ground before the feet"
    assert (inset[:10].sum(2) < 200).all(), "beyond 2 m"
    assert (frame[:, 300:] == 128).all() and (frame[:200] == 128).all(), "a corner alone"


def test_an_observed_camera_shows_what_the_policy_sees(quiet: Config) -> None:
    quiet.task.observations.depth.enabled = True
    env = make_locomotion_env(quiet, 1, seed=0)
    env.start_episodes_together()
    assert env.depth is not None
    inset, image = DepthInset(env, 14, ImageFont.load_default(size=17)), Image.new("RGB", SIZE)
    env.depth.reading.fill_(0.5)
    inset.draw(image)
    assert (np.asarray(image)[-30, 20:200].sum(1) < 200).all(), "all far"


def test_a_video_has_the_image_of_any_policy(
    backend: str, quiet: Config, make_policy: Callable[..., ActorCritic], tmp_path: Path
) -> None:
    quiet.terrain = TerrainConfig(proportions={"stairs_up": 1.0})
    files = [tmp_path / f"{name}.mp4" for name in ("plain", "depth")]
    policy = make_policy(quiet)
    for file in files:
        render_episodes(policy, quiet, [file], seconds=0.2, show_depth=file is files[1])
    plain, depth = (imageio.mimread(file)[-1].astype(int) for file in files)
    changed = np.abs(plain - depth).max(2) > 60
    inside = np.zeros_like(changed)
    inside[250:, :250] = True
    assert changed[inside].mean() > 0.3
    assert changed[~inside].mean() < 0.002, "the robot moves as it did"
    assert (depth[400:430, 20:200] @ RED > 20).mean() > 0.9


def test_a_camera_for_the_picture_draws_no_random_number(quiet: Config) -> None:
    env = make_locomotion_env(quiet, 1, seed=0)
    env.start_episodes_together()
    before = env.generator.get_state()
    DepthInset(env, 14, ImageFont.load_default(size=17)).draw(Image.new("RGB", SIZE))
    assert torch.equal(env.generator.get_state(), before)
