"""Fixtures: an untrained policy with a clock and memory, exported once for all tests of this folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.deploy.export import export_policy
from legged_ppo.models.actor_critic import ActorCritic


def recipe() -> Config:
    """Two terrain types of two levels, episodes of 2 s, a gait clock, a small network."""
    config = Config()
    config.terrain.proportions = {"flat": 0.5, "rough": 0.5}
    config.terrain.num_levels = 2
    config.task.episode_length_s = 2.0
    config.task.gait.frequency = 2.0
    config.sim.threads = 1
    config.policy.gru_hidden = 16
    config.policy.actor_hidden = [16]
    config.policy.critic_memory = "own"
    return config


def restless(policy: ActorCritic) -> ActorCritic:
    """With actions and statistics of the size of a trained policy's, so that errors would show."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        weight = policy.head.mean.weight
        weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
        if policy.normalizer is not None:
            mean = policy.normalizer.mean
            mean.copy_(0.2 * torch.randn(mean.shape, generator=generator))
            policy.normalizer.var.copy_(0.5 + torch.rand(mean.shape, generator=generator))
    return policy


@pytest.fixture(scope="session")
def deployed_config() -> Config:
    return recipe()


@pytest.fixture(scope="session")
def network(deployed_config: Config, make_policy: Callable[[Config], ActorCritic]) -> ActorCritic:
    return restless(make_policy(deployed_config))


@pytest.fixture(scope="session")
def exported(
    deployed_config: Config, network: ActorCritic, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`policy.onnx` with its trace and scene beside it."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("exported") / "policy.onnx"
    logging.getLogger("legged_ppo").setLevel(logging.INFO)
    origin = {"checkpoint": "phase1_best.pth", "env_steps": 4096}
    export_policy(network, deployed_config, path, checkpoint=origin)
    return path
