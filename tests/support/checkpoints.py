"""Fixtures: small policies, recipes and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.runs.checkpoint import save_checkpoint
from legged_ppo.viewer import gl_backend


@pytest.fixture
def config() -> Config:
    """Two terrain types, two levels, episodes of 1.5 s, a small network."""
    config = Config()
    config.terrain.proportions = {"flat": 0.5, "rough": 0.5}
    config.terrain.num_levels = 2
    config.task.episode_length_s = 1.5
    config.policy.gru_hidden = 16
    config.policy.actor_hidden = [16]
    return config


@pytest.fixture(scope="session")
def make_policy() -> Callable[[Config], ActorCritic]:
    """An untrained policy for a recipe: its mode is to stand, nearly."""

    def make(config: Config) -> ActorCritic:
        torch.manual_seed(0)
        env = make_locomotion_env(config, 1, 0)
        policy = ActorCritic(env.obs_dims, env.num_actions, config.policy)
        if config.ppo.symmetry == "equivariant":
            Equivariance(policy, env.symmetry).initialize()
        return policy.requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def make_checkpoint(
    make_policy: Callable[[Config], ActorCritic],
) -> Callable[[Path, Config], Path]:
    """Writes an untrained policy as a checkpoint."""

    def make(path: Path, config: Config) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        env = make_locomotion_env(config, 1, 0)
        payload = {
            "config": asdict(config),
            "obs_dims": env.obs_dims,
            "num_actions": env.num_actions,
            "policy": make_policy(config).state_dict(),
            "counters": {"iteration": 3, "env_steps": 4096},
        }
        save_checkpoint(path, payload)
        return path

    return make


@pytest.fixture
def backend() -> str:
    """An OpenGL back end that draws; tests that need one are skipped without."""
    try:
        return gl_backend.use_working_backend()
    except gl_backend.RenderingUnavailable as error:
        pytest.skip(str(error))
